//! Stage *parse* for Arrow IPC: record batches in, rows out.
//!
//! The stream and the file format are read in order, message by message; at any time one message is in memory. A file's footer is held
//! against what was read, because it has the last word on which batches are in the file.
//!
//! Format: <https://arrow.apache.org/docs/format/Columnar.html>, "Serialization and Interprocess Communication".

mod bind;
mod message;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::{DictionaryBatch, Message, MessageHeader};
use arrow::util::display::array_value_to_string;

pub use self::message::Container;
use self::message::{Framer, Part, check_batch};
use super::rows::{FIELDS_MAX, Halt, Rows, Target, resolve, shorten, shorten_list, target};
use super::segment::Origin;
use crate::error::{DataError, Position};

/// Turns an Arrow body into rows.
#[derive(Debug)]
pub(super) struct Decoder {
    framer: Framer,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// what each dictionary takes: they are kept from message to message, so their sum has a limit too
    dictionary_bytes: HashMap<i64, usize>,
    message_bytes_max: usize,
    row_bytes_max: usize,
    row: u64,
}

impl Decoder {
    pub(super) fn new(container: Container, message_bytes_max: usize, row_bytes_max: usize) -> Decoder {
        Decoder {
            framer: Framer::new(container, message_bytes_max),
            schema: None,
            dictionaries: HashMap::new(),
            dictionary_bytes: HashMap::new(),
            message_bytes_max,
            row_bytes_max,
            row: 0,
        }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), Halt> {
        while let Some(part) = self.framer.next(&mut bytes)? {
            let Part { metadata, body, bare } = part;
            let message =
                arrow::ipc::root_as_message(&metadata).map_err(|error| self.malformed(format!("a message cannot be read: {error}")))?;
            self.take_message(message, &body, rows)?;
            if bare {
                self.check_bare_schema()?;
            }
        }
        Ok(())
    }

    /// The body has ended, and properly.
    pub(super) fn finish(self, rows: &mut Rows<'_>) -> Result<(), Halt> {
        self.framer.finish()?;
        rows.flush()
    }

    fn take_message(&mut self, message: Message<'_>, body: &Buffer, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let version = message.version();
        match (message.header_type(), self.schema.clone()) {
            (MessageHeader::Schema, None) => self.take_schema(message, rows),
            (MessageHeader::DictionaryBatch, Some(schema)) => {
                let batch = message.header_as_dictionary_batch();
                let batch = batch.ok_or_else(|| self.malformed("a dictionary is missing"))?;
                self.account(batch, body)?;
                let dictionaries = &mut self.dictionaries;
                let read = || read_dictionary(body, batch, &schema, dictionaries, &version);
                Ok(guarded(read).map_err(|reason| self.malformed(reason))?)
            }
            (MessageHeader::RecordBatch, Some(schema)) => {
                let batch = message.header_as_record_batch();
                let batch = batch.ok_or_else(|| self.malformed("a record batch is missing"))?;
                check_batch(batch, body, self.message_bytes_max)?;
                let read = || read_record_batch(body, batch, schema, &self.dictionaries, None, &version);
                let batch = guarded(read).map_err(|reason| self.malformed(reason))?;
                self.encode_batch(&batch, rows)
            }
            (MessageHeader::Schema, Some(_)) => Err(self.malformed("a second schema").into()),
            (MessageHeader::RecordBatch | MessageHeader::DictionaryBatch, None) => {
                Err(self.malformed("the first message is not a schema").into())
            }
            (other, _) => Err(self.malformed(format!("unexpected message type {other:?}")).into()),
        }
    }

    /// Writers that leave out the schema's head (polars) give dictionaries their true numbers in the footer only: read in order, a
    /// column could get another one's values.
    fn check_bare_schema(&self) -> Result<(), Halt> {
        let fields = self.schema.iter().flat_map(|schema| schema.fields());
        let mut dictionaries = fields.filter(|field| matches!(field.data_type(), DataType::Dictionary(..)));
        match dictionaries.next() {
            None => Ok(()),
            Some(field) => {
                let name = shorten(field.name());
                let reason = format!(
                    "the file says only at its end which dictionary belongs to column \"{name}\", so it cannot be read as it comes: \
                     send an Arrow IPC stream (polars: write_ipc_stream), or the column as plain strings"
                );
                Err(self.malformed(reason).into())
            }
        }
    }

    /// Holds the dictionaries that are kept, all together, to the limit of one message.
    fn account(&mut self, batch: DictionaryBatch<'_>, body: &Buffer) -> Result<(), Halt> {
        let limit = self.message_bytes_max;
        let bytes = batch.data().map_or(Ok(0), |data| check_batch(data, body, limit))?;
        let kept = self.dictionary_bytes.entry(batch.id()).or_default();
        *kept = if batch.isDelta() { *kept + bytes } else { bytes };
        if self.dictionary_bytes.values().sum::<usize>() > limit {
            let what = "all Arrow dictionaries together";
            let position = Position { byte_offset: Some(self.framer.message_offset()), ..Position::default() };
            return Err(DataError::TooLarge { what, limit, position }.into());
        }
        Ok(())
    }

    fn take_schema(&mut self, message: Message<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let schema = message.header_as_schema();
        let schema = schema.ok_or_else(|| self.malformed("the schema is missing"))?;
        if !schema.endianness().equals_to_target_endianness() {
            return Err(self.malformed("the data is in the other byte order").into());
        }
        let schema = guarded(|| try_fb_to_schema(schema)).map_err(|reason| self.malformed(reason))?;
        check_schema(&schema, rows)?;
        self.schema = Some(Arc::new(schema));
        let names = self.schema.iter().flat_map(|schema| schema.fields());
        let names: Vec<String> = names.map(|field| field.name().clone()).collect();
        rows.begin(&names)
    }

    fn encode_batch(&mut self, batch: &RecordBatch, rows: &mut Rows<'_>) -> Result<(), Halt> {
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

    fn malformed(&self, reason: impl Into<String>) -> DataError {
        let position = Position { byte_offset: Some(self.framer.message_offset()), ..Position::default() };
        DataError::malformed("malformed-arrow", reason, position)
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
fn check_schema(schema: &arrow::datatypes::Schema, rows: &Rows<'_>) -> Result<(), Halt> {
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
fn guarded<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the message contradicts itself".to_owned()),
    }
}
