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
use arrow::ipc::{DictionaryBatch, Field, Footer, KeyValue, Message, MessageHeader, RecordBatch, Schema};

pub use self::message::Container;
use self::message::{Framer, Part, Size, check_batch};
use super::batch::{Batches, guarded};
use super::rows::{Halt, Rows, shorten};
use crate::error::DataError;

/// What a schema may take in memory: 1,600 columns with long names and much metadata, or many nested fields …
const SCHEMA_ROOM: usize = 32 << 20;
/// … each of which takes about this without its strings.
const FIELD_BYTES: usize = 256;

/// Turns an Arrow body into rows.
#[derive(Debug)]
pub(super) struct Decoder {
    container: Container,
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
            container,
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
        let schema = self.schema;
        self.framer.finish(|footer| check_footer(footer, schema.as_deref()))?;
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
                self.check_batch(batch, body)?;
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

    fn check_batch(&self, batch: RecordBatch<'_>, body: &Buffer) -> Result<usize, DataError> {
        match check_batch(batch, body, self.message_bytes_max) {
            Ok(Size::Bytes(bytes)) => Ok(bytes),
            Ok(Size::TooLarge) => Err(self.framer.too_large("a decoded Arrow record batch")),
            Err(reason) => Err(self.malformed(reason)),
        }
    }

    /// Holds the dictionaries that are kept, all together, to the limit of one message.
    fn account(&mut self, batch: DictionaryBatch<'_>, body: &Buffer) -> Result<(), Halt> {
        let bytes = batch.data().map_or(Ok(0), |data| self.check_batch(data, body))?;
        let replaces = self.dictionary_bytes.contains_key(&batch.id()) && !batch.isDelta();
        if replaces && self.container == Container::File {
            // The format forbids it, and who reads by the footer would see the last one everywhere.
            return Err(self.malformed("a dictionary comes twice in the file").into());
        }
        let kept = self.dictionary_bytes.entry(batch.id()).or_default();
        *kept = if batch.isDelta() { *kept + bytes } else { bytes };
        if self.dictionary_bytes.values().sum::<usize>() > self.message_bytes_max {
            return Err(self.framer.too_large("all Arrow dictionaries together").into());
        }
        Ok(())
    }

    fn take_schema(&mut self, message: Message<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let schema = message.header_as_schema();
        let schema = schema.ok_or_else(|| self.malformed("the schema is missing"))?;
        if !schema.endianness().equals_to_target_endianness() {
            return Err(self.malformed("the data is in the other byte order").into());
        }
        let schema = read_schema(schema).map_err(|reason| self.malformed(reason))?;
        self.batches.begin(&schema, rows)?;
        self.schema = Some(Arc::new(schema));
        Ok(())
    }

    fn malformed(&self, reason: impl Into<String>) -> DataError {
        self.framer.malformed(reason)
    }
}

/// Reads a schema of a bounded size: in its encoding, fields and names may be shared, so that a small one could become huge.
fn read_schema(schema: Schema<'_>) -> Result<arrow::datatypes::Schema, String> {
    let mut room = SCHEMA_ROOM.saturating_sub(pairs_bytes(schema.custom_metadata()));
    let fields = schema.fields().unwrap_or_default();
    if room == 0 || !fields.iter().all(|field| takes_room(field, &mut room)) {
        return Err("the schema is too large".to_owned());
    }
    guarded(|| try_fb_to_schema(schema))
}

/// Counts what a field takes, with all that it holds; false when that is more than there is.
fn takes_room(field: Field<'_>, room: &mut usize) -> bool {
    let zone = field.type_as_timestamp().and_then(|timestamp| timestamp.timezone()).unwrap_or_default();
    let bytes = FIELD_BYTES + field.name().unwrap_or_default().len() + zone.len() + pairs_bytes(field.custom_metadata());
    let Some(rest) = room.checked_sub(bytes) else {
        return false;
    };
    *room = rest;
    field.children().unwrap_or_default().iter().all(|child| takes_room(child, room))
}

fn pairs_bytes<'a>(pairs: Option<impl IntoIterator<Item = KeyValue<'a>>>) -> usize {
    let pairs = pairs.into_iter().flatten();
    pairs
        .map(|pair| pair.key().unwrap_or_default().len() + pair.value().unwrap_or_default().len())
        .sum()
}

/// The footer has a schema too, and readers that begin with it would go by that one.
fn check_footer(footer: Footer<'_>, schema: Option<&arrow::datatypes::Schema>) -> Result<(), String> {
    let described = |schema: &arrow::datatypes::Schema| -> Vec<_> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    let in_footer = footer.schema().map(read_schema).transpose()?;
    if in_footer.as_ref().map(described) != schema.map(described) {
        return Err("the schema in the footer is not the one in front".to_owned());
    }
    Ok(())
}
