//! What the parsers write into: rows for the columns of one load, cut into chunks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::meter::Meter;
use super::queue::Closed;
use super::rejects::Rejects;
use super::segment::{Chunk, Form, Origin, Originals, RowIndex, Values};
use crate::encode::{Dialect, FieldError, Kind, RowWriter, Shape, TextWriter, text_field};
use crate::engine::catalog::{Column, Table};
use crate::error::{DataError, Excess, Position, RowError, SpoolError};

/// A chunk is sent on when it has grown to this size: large enough that the driver passes it on uncopied and a system call is rare,
/// small enough that PostgreSQL never waits long for it.
const CHUNK_BYTES: usize = 192 << 10;

/// After a row that is not ours, this much goes to the server as text before our encoders are asked again …
const TEXT_STRETCH_BYTES: usize = 64 << 10;
/// … and each time that they have not kept going for this long since, four times as much: two COPY statements for every odd row would
/// cost more than reading all rows as text does.
const BINARY_RUN_BYTES: usize = 8 << 20;

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
    /// the body cannot be kept on disk
    Spool(SpoolError),
    /// more rows are bad than may be
    Excess(Excess),
    /// a later stage is gone
    Closed,
}

impl From<DataError> for Halt {
    fn from(error: DataError) -> Halt {
        Halt::Data(error)
    }
}

impl From<SpoolError> for Halt {
    fn from(error: SpoolError) -> Halt {
        Halt::Spool(error)
    }
}

impl From<RowError> for Halt {
    fn from(error: RowError) -> Halt {
        Halt::Data(DataError::Row(error))
    }
}

impl From<Excess> for Halt {
    fn from(excess: Excess) -> Halt {
        Halt::Excess(excess)
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
    /// the target's columns, by their index, in the order of the fields of the rows that follow
    Columns(Vec<usize>),
    /// rows
    Rows(Chunk),
    /// the body is bad after all those rows; should the server refuse one of them, that one came first
    Refused(DataError),
}

/// A line of the body that is no text in the encoding of the body.
#[derive(Debug)]
pub(super) struct NoText {
    pub(super) line: u64,
    pub(super) sqlstate: &'static str,
    pub(super) reason: String,
}

/// Where chunks go.
pub(super) trait Emit {
    fn emit(&mut self, feed: Feed, bytes: usize) -> Result<(), Closed>;

    /// How long `emit` has had to wait so far.
    fn waited(&self) -> Duration;

    /// A later stage is gone, and `emit` would say so.
    fn is_closed(&self) -> bool;
}

/// One column of the load.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// its index in the table
    pub(super) index: usize,
    /// `None`: only the server knows how to read it
    pub(super) kind: Option<Kind>,
    /// how a literal for it is put together
    pub(super) shape: Shape,
    /// a NULL is an error here and now
    pub(super) refuse_null: bool,
}

impl Target {
    /// Encodes a field from its text form; what only the server knows how to read is not ours.
    #[inline]
    pub(super) fn encode(&self, dialect: Dialect, text: &[u8], writer: &mut RowWriter) -> Result<(), FieldError> {
        match &self.kind {
            Some(kind) => text_field(kind, dialect, text, writer),
            None => Err(FieldError::NotMine),
        }
    }
}

/// The rows of one load on their way into chunks.
pub(super) struct Rows<'a> {
    pub(super) table: &'a Table,
    pub(super) targets: Vec<Target>,
    /// what is being written now; rows go into the writer of that name
    form: Form,
    pub(super) writer: RowWriter,
    pub(super) text: TextWriter,
    stretch: Stretch,
    index: RowIndex,
    /// where bad rows go, if they do not end the load
    rejects: Option<&'a Rejects>,
    originals: Originals,
    /// the last one, and the one before: a record may be whole only with the line behind it
    no_text: [Option<NoText>; 2],
    meter: &'a Meter,
    emit: &'a mut dyn Emit,
    count: u64,
    rejected: u64,
}

/// How long rows go on as text.
#[derive(Debug)]
struct Stretch {
    /// until the end of the load
    endless: bool,
    /// for as long as there is a column that only the server can read
    unknown: bool,
    /// text still to be written before binary is tried again
    left: usize,
    /// how long the stretch was, for the next one
    length: usize,
    /// binary written since
    binary_run: usize,
}

impl Stretch {
    fn is_over(&self) -> bool {
        self.left == 0 && !self.endless && !self.unknown
    }
}

impl<'a> Rows<'a> {
    /// With `text_only`, the server reads all rows itself; with `rejects`, bad rows are turned away.
    pub(super) fn new(
        table: &'a Table,
        text_only: bool,
        rejects: Option<&'a Rejects>,
        meter: &'a Meter,
        emit: &'a mut dyn Emit,
    ) -> Rows<'a> {
        Rows {
            table,
            targets: Vec::new(),
            form: Form::Binary,
            writer: RowWriter::new(0, 0),
            text: TextWriter::default(),
            stretch: Stretch { endless: text_only, unknown: false, left: 0, length: 0, binary_run: 0 },
            index: RowIndex::default(),
            rejects,
            originals: Originals::None,
            no_text: [None, None],
            meter,
            emit,
            count: 0,
            rejected: 0,
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.table.dialect
    }

    /// The load is a single COPY: its columns can be fixed only once.
    pub(super) fn one_copy(&self) -> bool {
        self.stretch.endless
    }

    /// How long the rows have had to wait for the next stage so far.
    pub(super) fn waited(&self) -> Duration {
        self.emit.waited()
    }

    /// Ends long work that emits nothing when nobody waits for it any more.
    pub(super) fn check_open(&self) -> Result<(), Halt> {
        if self.emit.is_closed() { Err(Halt::Closed) } else { Ok(()) }
    }

    /// Rows finished so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Rows seen so far, those that were turned away too.
    pub(super) fn seen(&self) -> u64 {
        self.count + self.rejected
    }

    /// Bad rows are turned away, and have to be shown.
    pub(super) fn turns_away(&self) -> bool {
        self.rejects.is_some()
    }

    /// What stands before the records of the body, and has to stand before those that are turned away.
    pub(super) fn set_header(&self, header: &[u8]) {
        if let Some(rejects) = self.rejects {
            rejects.set_header(header);
        }
    }

    /// The rows that follow are these values, which take so much memory beside those before. Those have to be sent on first, by
    /// [`flush`](Self::flush).
    pub(super) fn set_values(&mut self, values: Arc<dyn Values>, memory_bytes: usize) {
        self.originals = Originals::Values { values, memory_bytes };
    }

    /// A row that cannot be loaded ends the load, or is turned away with the record that it came as.
    #[cold]
    pub(super) fn turn_away(&mut self, halt: Halt, record: impl FnOnce() -> Vec<u8>) -> Result<(), Halt> {
        let (rejects, error) = match (self.rejects, self.explain(halt)) {
            (Some(rejects), Halt::Data(DataError::Row(error))) => (rejects, error),
            (_, halt) => return Err(halt),
        };
        self.writer.abandon();
        self.text.abandon();
        self.rejected += 1;
        self.meter.rows_received.add(1);
        Ok(rejects.add(error, record(), self.meter)?)
    }

    /// The next line is no text; it comes as one that no parser takes.
    pub(super) fn set_no_text(&mut self, why: NoText) {
        self.no_text.rotate_left(1);
        self.no_text[1] = Some(why);
    }

    /// Says of a record with a line that is no text what is wrong with it in the encoding that it came in.
    #[cold]
    pub(super) fn explain(&self, halt: Halt) -> Halt {
        let Halt::Data(DataError::Row(error)) = halt else {
            return halt;
        };
        let first_line = error.position.line.filter(|_| error.sqlstate == "22021");
        let in_record = |why: &&NoText| first_line.is_some_and(|line| line <= why.line);
        match self.no_text.iter().flatten().find(in_record) {
            Some(why) => RowError { sqlstate: why.sqlstate.into(), reason: why.reason.clone().into(), ..error }.into(),
            None => error.into(),
        }
    }

    /// Fixes the columns of the rows that follow, by the names that the body gives; every misfit is listed at once.
    pub(super) fn begin(&mut self, names: &[String]) -> Result<(), Halt> {
        self.begin_targets(resolve(self.table, names).map_err(DataError::Misfit)?)
    }

    /// Fixes the columns of the rows that follow.
    pub(super) fn begin_targets(&mut self, targets: Vec<Target>) -> Result<(), Halt> {
        self.flush()?;
        self.targets = targets;
        self.writer = RowWriter::new(self.targets.len() as u16, CHUNK_BYTES + CHUNK_BYTES / 8);
        self.stretch.unknown = self.targets.iter().any(|target| target.kind.is_none());
        self.form = if self.stretch.is_over() { Form::Binary } else { Form::Text };
        let columns: Vec<usize> = self.targets.iter().map(|target| target.index).collect();
        let bytes = size_of_val(columns.as_slice());
        self.emit.emit(Feed::Columns(columns), bytes)?;
        Ok(())
    }

    /// The form in which the next row is to be written.
    #[inline]
    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// A field of the row that was begun last is not ours: the row is taken back, to be written as text.
    #[cold]
    pub(super) fn turn_to_text(&mut self) -> Result<(), Halt> {
        self.writer.abandon();
        self.flush()?;
        self.form = Form::Text;
        let Stretch { length, binary_run, .. } = self.stretch;
        let kept_going = length == 0 || binary_run >= BINARY_RUN_BYTES;
        let length = if kept_going { TEXT_STRETCH_BYTES } else { length.saturating_mul(4) };
        self.stretch = Stretch { left: length, length, binary_run: 0, ..self.stretch };
        Ok(())
    }

    /// Ends the row that was written last, which was made of this record. (Of values it is not asked for.)
    #[inline]
    pub(super) fn finish_row(&mut self, origin: Origin, record: &[u8]) -> Result<(), Halt> {
        self.index.push(origin);
        if self.rejects.is_some() {
            self.originals.push(record);
        }
        self.count += 1;
        if self.form == Form::Text {
            return self.finish_text_row();
        }
        self.writer.end();
        if self.writer.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish_text_row(&mut self) -> Result<(), Halt> {
        self.stretch.left = self.stretch.left.saturating_sub(self.text.end());
        let used_up = self.stretch.is_over();
        if used_up || self.text.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        if used_up {
            self.form = Form::Binary;
        }
        Ok(())
    }

    /// Sends on what there is.
    pub(super) fn flush(&mut self) -> Result<(), Halt> {
        let mut data = match self.form {
            Form::Binary if self.writer.is_empty() => return Ok(()),
            Form::Text if self.text.is_empty() => return Ok(()),
            Form::Binary => {
                self.stretch.binary_run = self.stretch.binary_run.saturating_add(self.writer.len());
                self.writer.take()
            }
            Form::Text => self.text.take(),
        };
        // A chunk that was cut short must not hold the room of a whole one while it waits.
        if data.len() < data.capacity() / 2 {
            data.shrink_to_fit();
        }
        let mut index = std::mem::take(&mut self.index);
        index.shrink();
        let mut originals = self.originals.take();
        originals.shrink();
        let chunk = Chunk { form: self.form, data: Bytes::from(data), index, originals };
        self.meter.rows_received.add(chunk.index.rows());
        let bytes = chunk.memory_bytes();
        self.emit.emit(Feed::Rows(chunk), bytes)?;
        Ok(())
    }

    /// Sends on what there is, and then why there is no more.
    pub(super) fn end_refused(&mut self, error: DataError) -> Result<(), Halt> {
        self.writer.abandon();
        self.text.abandon();
        self.flush()?;
        self.emit.emit(Feed::Refused(error), 0)?;
        Ok(())
    }

    /// Says what is wrong with one field, in the words of the table.
    #[cold]
    pub(super) fn refuse(&self, target: &Target, origin: Origin, value: Option<String>, error: FieldError) -> Halt {
        let column = &self.table.columns[target.index];
        let (sqlstate, reason) = match error {
            FieldError::Refused { sqlstate, reason } => (sqlstate, reason),
            // Whoever writes rows turns to text then; here it is a defect of ours.
            FieldError::NotMine => ("XX000", "the value was left to nobody".into()),
        };
        let mut position = Position::from(origin);
        position.column = Some(column.name.clone());
        let error = RowError {
            position,
            value: value.map(|value| shorten(&value)),
            type_name: Some(column.type_name.clone()),
            sqlstate: sqlstate.into(),
            reason,
        };
        error.into()
    }

    /// A NULL for a column that takes none.
    #[cold]
    pub(super) fn refuse_null(&self, target: &Target, origin: Origin) -> Halt {
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

/// What a body that is not text probably is, by how it begins.
pub(super) fn looks_like(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x1F, 0x8B, ..] => "; it looks like gzip: send Content-Encoding: gzip",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "; it looks like zstd: send Content-Encoding: zstd",
        [0x04, 0x22, 0x4D, 0x18, ..] => "; it looks like lz4: send Content-Encoding: lz4",
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "; it looks like UTF-16: say encoding=UTF-16",
        [b'P', b'K', 3, 4, ..] => "; it looks like a ZIP archive or a spreadsheet",
        [b'P', b'A', b'R', b'1', ..] => "; it looks like Parquet: application/vnd.apache.parquet",
        _ => "",
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
    Ok(Target {
        index,
        kind: column.kind.clone(),
        shape: column.shape.clone(),
        refuse_null: column.not_null && table.null_is_final,
    })
}
