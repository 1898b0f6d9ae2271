//! Stage *parse* for Arrow IPC: record batches in, rows out.
//!
//! The stream and the file format are read in order, message by message; at any time one message is in memory. A file's footer is held
//! against what was read, because it has the last word on which batches are in the file.
//!
//! Format: <https://arrow.apache.org/docs/format/Columnar.html>, "Serialization and Interprocess Communication".

mod message;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::{DictionaryBatch, Message, MessageHeader};

pub use self::message::Container;
use self::message::{Framer, Part, check_batch};
use super::batch::{Batches, guarded};
use super::rows::{Halt, Rows, shorten};
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
    batches: Batches,
}

impl Decoder {
    pub(super) fn new(container: Container, message_bytes_max: usize, row_bytes_max: usize) -> Decoder {
        Decoder {
            framer: Framer::new(container, message_bytes_max),
            schema: None,
            dictionaries: HashMap::new(),
            dictionary_bytes: HashMap::new(),
            message_bytes_max,
            batches: Batches::new(row_bytes_max),
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
                self.batches.encode(&batch, rows)
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
        self.batches.begin(&schema, rows)?;
        self.schema = Some(Arc::new(schema));
        Ok(())
    }

    fn malformed(&self, reason: impl Into<String>) -> DataError {
        let position = Position { byte_offset: Some(self.framer.message_offset()), ..Position::default() };
        DataError::malformed("malformed-arrow", reason, position)
    }
}
