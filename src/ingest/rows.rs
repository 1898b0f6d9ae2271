//! What the parsers write into: rows for the columns of one load, cut into chunks.

use std::time::Duration;

use bytes::Bytes;

use super::meter::Meter;
use super::queue::Closed;
use super::segment::{Chunk, Origin, RowIndex};
use crate::encode::{Dialect, FieldError, Kind, RowWriter};
use crate::engine::catalog::{Column, Table};
use crate::error::{DataError, Position, RowError};

/// A chunk is sent on when it has grown to this size: large enough that the driver passes it on uncopied and a system call is rare,
/// small enough that PostgreSQL never waits long for it.
const CHUNK_BYTES: usize = 192 << 10;

/// How much of a bad value is shown.
const SHOWN_VALUE_CHARS: usize = 200;

/// How many misfits are listed.
const SHOWN_MISFITS: usize = 100;

/// PostgreSQL's own limit of columns in a table.
pub(super) const FIELDS_MAX: usize = 1600;

/// Why a parser stopped before the end of the body.
#[derive(Debug)]
pub(super) enum Halt {
    /// the body is bad
    Data(DataError),
    /// a later stage is gone
    Closed,
}

impl From<DataError> for Halt {
    fn from(error: DataError) -> Halt {
        Halt::Data(error)
    }
}

impl From<RowError> for Halt {
    fn from(error: RowError) -> Halt {
        Halt::Data(DataError::Row(error))
    }
}

impl From<Closed> for Halt {
    fn from(_: Closed) -> Halt {
        Halt::Closed
    }
}

/// What the encoding stage sends on.
#[derive(Debug)]
pub(super) enum Feed {
    /// first of all: the target's columns, by their index, in the order of the fields
    Columns(Vec<usize>),
    /// rows
    Rows(Chunk),
}

/// Where chunks go.
pub(super) trait Emit {
    fn emit(&mut self, feed: Feed, bytes: usize) -> Result<(), Closed>;

    /// How long `emit` has had to wait so far.
    fn waited(&self) -> Duration;
}

/// One column of the load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// its index in the table
    pub(super) index: usize,
    pub(super) kind: Kind,
    /// a NULL is an error here and now
    pub(super) refuse_null: bool,
}

/// The rows of one load on their way into chunks.
pub(super) struct Rows<'a> {
    pub(super) table: &'a Table,
    pub(super) targets: Vec<Target>,
    pub(super) writer: RowWriter,
    index: RowIndex,
    meter: &'a Meter,
    emit: &'a mut dyn Emit,
    count: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(table: &'a Table, meter: &'a Meter, emit: &'a mut dyn Emit) -> Rows<'a> {
        Rows {
            table,
            targets: Vec::new(),
            writer: RowWriter::new(0, 0),
            index: RowIndex::default(),
            meter,
            emit,
            count: 0,
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.table.dialect
    }

    /// How long the rows have had to wait for the next stage so far.
    pub(super) fn waited(&self) -> Duration {
        self.emit.waited()
    }

    /// Rows finished so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Fixes the load's columns, by the names that the body gives; every misfit is listed at once.
    pub(super) fn begin(&mut self, names: &[String]) -> Result<(), Halt> {
        self.targets = resolve(self.table, names).map_err(DataError::Misfit)?;
        self.writer = RowWriter::new(self.targets.len() as u16, CHUNK_BYTES + CHUNK_BYTES / 8);
        let columns = self.targets.iter().map(|target| target.index).collect();
        self.emit.emit(Feed::Columns(columns), 0)?;
        Ok(())
    }

    /// Ends the row that was written last.
    #[inline]
    pub(super) fn finish_row(&mut self, origin: Origin) -> Result<(), Halt> {
        self.index.push(origin);
        self.count += 1;
        if self.writer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends on what there is.
    pub(super) fn flush(&mut self) -> Result<(), Halt> {
        if self.writer.is_empty() {
            return Ok(());
        }
        let mut index = std::mem::take(&mut self.index);
        index.shrink();
        let chunk = Chunk { data: Bytes::from(self.writer.take()), index };
        self.meter.rows_received.add(chunk.index.rows());
        let bytes = chunk.data.len() + chunk.index.memory_bytes();
        self.emit.emit(Feed::Rows(chunk), bytes)?;
        Ok(())
    }

    /// Says what is wrong with one field, in the words of the table.
    #[cold]
    pub(super) fn refuse(&self, target: Target, origin: Origin, value: Option<String>, error: FieldError) -> Halt {
        let column = &self.table.columns[target.index];
        let (sqlstate, reason) = match error {
            FieldError::Refused { sqlstate, reason } => (sqlstate, reason),
            FieldError::NotMine => {
                let reason = format!(
                    "this form of {} is not supported: write numbers in decimal, dates and times as in ISO 8601",
                    column.type_name
                );
                ("0A000", reason.into())
            }
        };
        let mut position = Position::from(origin);
        position.column = Some(column.name.clone());
        let error = RowError {
            position,
            value: value.map(|value| shorten(&value)),
            type_name: Some(column.type_name.clone()),
            sqlstate,
            reason,
        };
        error.into()
    }

    /// A NULL for a column that takes none.
    #[cold]
    pub(super) fn refuse_null(&self, target: Target, origin: Origin) -> Halt {
        let column = &self.table.columns[target.index].name;
        let reason = format!("null value in column \"{column}\" violates not-null constraint");
        self.refuse(target, origin, None, FieldError::refused("23502", reason))
    }
}

/// Shows a value from a body, which may be long and need not be text.
pub(super) fn shorten(value: &str) -> String {
    match value.char_indices().nth(SHOWN_VALUE_CHARS) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Keeps a list of misfits readable.
pub(super) fn shorten_list(mut misfits: Vec<String>) -> Vec<String> {
    if let Some(more) = misfits.len().checked_sub(SHOWN_MISFITS).filter(|more| *more > 0) {
        misfits.truncate(SHOWN_MISFITS);
        misfits.push(format!("… and {more} more"));
    }
    misfits
}

/// Finds each named column in the table.
///
/// # Errors
/// All that is wrong with the names.
pub(super) fn resolve(table: &Table, names: &[String]) -> Result<Vec<Target>, Vec<String>> {
    if names.len() > FIELDS_MAX {
        let count = names.len();
        return Err(vec![format!("{count} columns are more than the {FIELDS_MAX} that a table can have")]);
    }
    if names.is_empty() {
        return Err(vec!["the body has no columns".to_owned()]);
    }
    let mut misfits = Vec::new();
    let mut targets = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            misfits.push(format!("column \"{}\" is given more than once", shorten(name)));
            continue;
        }
        match target(table, name) {
            Ok(target) => targets.push(target),
            Err(misfit) => misfits.push(misfit),
        }
    }
    // Without them every row is refused; better to say so once, and before the first.
    let must_be_given = |column: &&Column| column.not_null && !column.has_default && !column.generated && table.null_is_final;
    let missing = table.columns.iter().filter(must_be_given).filter(|column| !names.contains(&column.name));
    misfits.extend(missing.map(|column| format!("column \"{}\" is NOT NULL without a default, and is not given", column.name)));
    if misfits.is_empty() { Ok(targets) } else { Err(shorten_list(misfits)) }
}

/// Finds one named column in the table.
///
/// # Errors
/// Why it cannot be loaded.
pub(super) fn target(table: &Table, name: &str) -> Result<Target, String> {
    let quoted = shorten(name);
    let index = table.columns.iter().position(|column| column.name == *name);
    let index = index.ok_or_else(|| {
        let alike = |column: &&Column| column.name.eq_ignore_ascii_case(name.trim());
        let meant = table.columns.iter().find(alike);
        let hint = meant.map(|column| format!(" (but \"{}\": case and blanks count)", column.name));
        format!("table {} has no column \"{quoted}\"{}", table.display_name(), hint.unwrap_or_default())
    })?;
    let column = &table.columns[index];
    if column.generated {
        return Err(format!("column \"{quoted}\" is generated, and takes no values"));
    }
    let unsupported = || format!("column \"{quoted}\" is of type {}, which is not supported", column.type_name);
    let kind = column.kind.ok_or_else(unsupported)?;
    Ok(Target { index, kind, refuse_null: column.not_null && table.null_is_final })
}
