//! Record batches, whatever they were read from: columns in, rows out.

mod bind;
mod values;

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use self::bind::{Append, Context, Render, bind, render};
use self::values::{Allocations, BatchValues, csv_header};
use super::rows::{FIELDS_MAX, Halt, Rows, Target, resolve, shorten, shorten_list, target};
use super::segment::{Form, Origin};
use crate::encode::FieldError;
use crate::error::{DataError, Position};

/// Of a refused value, so much is looked at.
const SHOWN_BYTES: usize = 1000;

/// The batches of one body.
#[derive(Debug)]
pub(super) struct Batches {
    row_bytes_max: usize,
    row: u64,
    /// the literal that was written last
    literal: Vec<u8>,
    /// what the columns go into
    targets: Arc<[Target]>,
    /// what the batch before keeps in memory, where rows are turned away
    kept: Allocations,
}

impl Batches {
    pub(super) fn new(row_bytes_max: usize) -> Batches {
        Batches {
            row_bytes_max,
            row: 0,
            literal: Vec::new(),
            targets: Arc::default(),
            kept: Allocations::default(),
        }
    }

    /// Fixes the load's columns by the body's schema.
    pub(super) fn begin(&mut self, schema: &Schema, rows: &mut Rows<'_>) -> Result<(), Halt> {
        check_schema(schema, self.context(rows), rows)?;
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        rows.begin(&names)?;
        self.targets = rows.targets.as_slice().into();
        rows.set_header(&csv_header(&names));
        Ok(())
    }

    /// Writes all rows of a batch, which has the schema that was begun with.
    pub(super) fn encode(&mut self, batch: &RecordBatch, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let targets = Arc::clone(&self.targets);
        let context = self.context(rows);
        let values = self.keep(batch, rows)?;
        let columns = batch.columns().iter().zip(&*targets);
        let columns: Vec<BoundColumn<'_>> = columns
            .map(|(array, target)| BoundColumn::new(array, target, context, rows))
            .collect::<Result<_, _>>()?;
        for index in 0..batch.num_rows() {
            self.row += 1;
            match (self.encode_row(&columns, index, rows), &values) {
                (Err(halt), Some(values)) => rows.turn_away(halt, || values.csv(index))?,
                (result, _) => result?,
            }
        }
        Ok(())
    }

    /// Keeps a batch of which rows may be turned away, here or by the server.
    fn keep(&mut self, batch: &RecordBatch, rows: &mut Rows<'_>) -> Result<Option<Arc<BatchValues>>, Halt> {
        if !rows.turns_away() {
            return Ok(None);
        }
        rows.flush()?;
        let values = Arc::new(BatchValues {
            batch: batch.clone(),
            targets: Arc::clone(&self.targets),
            context: self.context(rows),
            first_row: self.row + 1,
        });
        // The batch before is there until then, so that no two allocations have one address.
        let memory_bytes = self.kept.change_to(batch);
        rows.set_values(Arc::clone(&values) as _, memory_bytes);
        Ok(Some(values))
    }

    #[inline]
    fn encode_row(&mut self, columns: &[BoundColumn<'_>], index: usize, rows: &mut Rows<'_>) -> Result<(), Halt> {
        if rows.form() == Form::Binary && !self.append(columns, index, rows)? {
            rows.turn_to_text()?;
        }
        if rows.form() == Form::Text {
            self.render(columns, index, rows)?;
        }
        rows.finish_row(Origin::Row(self.row), &[])
    }

    /// Encodes a row; false where the server has to read one of its values.
    #[inline]
    fn append(&self, columns: &[BoundColumn<'_>], index: usize, rows: &mut Rows<'_>) -> Result<bool, Halt> {
        rows.writer.begin();
        for column in columns {
            if column.is_null(index) {
                if column.target.refuse_null {
                    return Err(rows.refuse_null(column.target, Origin::Row(self.row)));
                }
                rows.writer.null();
                continue;
            }
            match (column.append)(index, &mut rows.writer) {
                Ok(()) if rows.writer.row_bytes() > self.row_bytes_max => return Err(self.too_large_a_row()),
                Ok(()) => {}
                Err(FieldError::NotMine) => return Ok(false),
                Err(error) => return Err(self.refuse(column, index, error, rows)),
            }
        }
        Ok(true)
    }

    /// Leaves the values of a row to the server, as literals.
    fn render(&mut self, columns: &[BoundColumn<'_>], index: usize, rows: &mut Rows<'_>) -> Result<(), Halt> {
        rows.text.begin();
        for column in columns {
            if column.is_null(index) {
                rows.text.null();
                continue;
            }
            self.literal.clear();
            column
                .render(self.context(rows))
                .and_then(|render| render(index, &mut self.literal))
                .map_err(|error| self.refuse(column, index, error, rows))?;
            rows.text.put(&self.literal);
            if rows.text.row_bytes() > self.row_bytes_max {
                return Err(self.too_large_a_row());
            }
        }
        Ok(())
    }

    fn context(&self, rows: &Rows<'_>) -> Context {
        Context { dialect: rows.dialect(), value_bytes_max: self.row_bytes_max }
    }

    #[cold]
    fn refuse(&self, column: &BoundColumn<'_>, index: usize, error: FieldError, rows: &Rows<'_>) -> Halt {
        rows.refuse(column.target, Origin::Row(self.row), shown(column.array, index), error)
    }

    /// Values may share their bytes in Arrow (a dictionary, a view), so a row can be much larger than its message.
    #[cold]
    fn too_large_a_row(&self) -> Halt {
        let position = Origin::Row(self.row).into();
        Halt::Data(DataError::TooLarge { what: "a row", limit: self.row_bytes_max, position })
    }
}

/// A column of one batch with the ways to write it.
struct BoundColumn<'a> {
    array: &'a dyn Array,
    nulls: Option<NullBuffer>,
    target: &'a Target,
    append: Append<'a>,
    /// bound when the first row goes as text, which in most batches is never
    render: OnceCell<Option<Render<'a>>>,
}

impl<'a> BoundColumn<'a> {
    fn new(array: &'a ArrayRef, target: &'a Target, context: Context, rows: &Rows<'_>) -> Result<Self, Halt> {
        let append: Option<Append<'a>> = match &target.kind {
            Some(kind) => bind(kind, array.as_ref(), context),
            None => Some(Box::new(|_, _| Err(FieldError::NotMine))),
        };
        // `check_schema` has seen to it that every column binds.
        let append = append.ok_or_else(|| DataError::Misfit(vec![misfit(target, array, rows)]))?;
        let array = array.as_ref();
        Ok(BoundColumn { array, nulls: array.logical_nulls(), target, append, render: OnceCell::new() })
    }

    #[inline]
    fn is_null(&self, index: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(index))
    }

    fn render(&self, context: Context) -> Result<&Render<'a>, FieldError> {
        let render = self.render.get_or_init(|| render(&self.target.shape, self.array, context));
        render.as_ref().ok_or(FieldError::NotMine)
    }
}

/// What a refused value looks like; a nested one can be endless.
fn shown(array: &dyn Array, index: usize) -> Option<String> {
    struct Shortened(String);
    impl std::fmt::Write for Shortened {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.push_str(&shorten(text));
            if self.0.len() > SHOWN_BYTES { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(array, &options).ok()?;
    let mut text = Shortened(String::new());
    // An error is the end of the room, or a value that cannot be shown: what there is will do.
    let _ = write!(text, "{}", formatter.value(index));
    Some(text.0)
}

/// Holds the schema against the table; all misfits are listed at once.
fn check_schema(schema: &Schema, context: Context, rows: &Rows<'_>) -> Result<(), Halt> {
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut misfits = resolve(rows.table, &names).err().unwrap_or_default();
    if names.len() > FIELDS_MAX {
        return Err(DataError::Misfit(misfits).into());
    }
    for field in schema.fields() {
        let Ok(target) = target(rows.table, field.name()) else {
            continue;
        };
        let empty = guarded(|| Ok(new_empty_array(field.data_type())))
            .map_err(|reason| DataError::malformed("malformed-arrow", reason, Position::default()))?;
        let goes = match &target.kind {
            Some(kind) => bind(kind, empty.as_ref(), context).is_some(),
            None => render(&target.shape, empty.as_ref(), context).is_some(),
        };
        if !goes {
            misfits.push(misfit(&target, &empty, rows));
        }
    }
    if misfits.is_empty() { Ok(()) } else { Err(DataError::Misfit(shorten_list(misfits)).into()) }
}

fn misfit(target: &Target, array: &ArrayRef, rows: &Rows<'_>) -> String {
    let column = &rows.table.columns[target.index];
    format!(
        "column \"{}\" of type {} does not take Arrow's {}",
        column.name,
        column.type_name,
        shorten(&array.data_type().to_string())
    )
}

/// Arrow's reader checks what it reads; should it panic on a hostile message all the same, that is a bad message and not our end.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the message contradicts itself".to_owned()),
    }
}
