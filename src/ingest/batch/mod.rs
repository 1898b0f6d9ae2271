//! Record batches, whatever they were read from: columns in, rows out.

mod bind;

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

use super::rows::{FIELDS_MAX, Halt, Rows, Target, resolve, shorten, shorten_list, target};
use super::segment::Origin;
use crate::error::{DataError, Position};

/// The batches of one body.
#[derive(Debug)]
pub(super) struct Batches {
    row_bytes_max: usize,
    row: u64,
}

impl Batches {
    pub(super) fn new(row_bytes_max: usize) -> Batches {
        Batches { row_bytes_max, row: 0 }
    }

    /// Fixes the load's columns by the body's schema.
    pub(super) fn begin(&mut self, schema: &Schema, rows: &mut Rows<'_>) -> Result<(), Halt> {
        check_schema(schema, rows)?;
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        rows.begin(&names)
    }

    /// Writes all rows of a batch, which has the schema that was begun with.
    pub(super) fn encode(&mut self, batch: &RecordBatch, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let targets = rows.targets.clone();
        let columns = batch.columns().iter().zip(&targets);
        let columns: Vec<BoundColumn<'_>> =
            columns.map(|(array, target)| BoundColumn::new(array, target, rows)).collect::<Result<_, _>>()?;
        for index in 0..batch.num_rows() {
            self.row += 1;
            let origin = Origin::Row(self.row);
            rows.writer.begin();
            for column in &columns {
                if column.nulls.as_ref().is_some_and(|nulls| nulls.is_null(index)) {
                    if column.target.refuse_null {
                        return Err(rows.refuse_null(column.target, origin));
                    }
                    rows.writer.null();
                } else if let Err(error) = (column.append)(index, &mut rows.writer) {
                    let value = array_value_to_string(column.array, index).ok();
                    return Err(rows.refuse(column.target, origin, value, error));
                } else if rows.writer.row_bytes() > self.row_bytes_max {
                    return Err(too_large_a_row(origin, self.row_bytes_max));
                }
            }
            rows.finish_row(origin)?;
        }
        Ok(())
    }
}

/// Values may share their bytes in Arrow (a dictionary, a view), so a row can be much larger than its message.
#[cold]
fn too_large_a_row(origin: Origin, limit: usize) -> Halt {
    Halt::Data(DataError::TooLarge { what: "a row", limit, position: origin.into() })
}

/// A column of one batch with the way to write it.
struct BoundColumn<'a> {
    array: &'a dyn Array,
    nulls: Option<NullBuffer>,
    target: &'a Target,
    append: bind::Append<'a>,
}

impl<'a> BoundColumn<'a> {
    fn new(array: &'a ArrayRef, target: &'a Target, rows: &Rows<'_>) -> Result<Self, Halt> {
        // `check_schema` has seen to it that every column binds.
        let append = target.kind.as_ref().and_then(|kind| bind::bind(kind, array.as_ref(), rows.dialect()));
        let append = append.ok_or_else(|| DataError::Misfit(vec![misfit(target, array, rows)]))?;
        Ok(BoundColumn { array: array.as_ref(), nulls: array.logical_nulls(), target, append })
    }
}

/// Holds the schema against the table; all misfits are listed at once.
fn check_schema(schema: &Schema, rows: &Rows<'_>) -> Result<(), Halt> {
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
        if target.kind.as_ref().and_then(|kind| bind::bind(kind, empty.as_ref(), rows.dialect())).is_none() {
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
