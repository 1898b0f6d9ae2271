//! Cuts an Arrow IPC body into messages, each within its limit before a byte of it is kept.

use arrow::buffer::{Buffer, MutableBuffer};
use arrow::ipc::{Footer, MessageHeader, RecordBatch, root_as_footer, root_as_message};

use crate::error::{DataError, Position};

const MAGIC: &[u8; 8] = b"ARROW1\0\0";
const CONTINUATION: [u8; 4] = [0xFF; 4];
/// Messages are aligned to 8 bytes, by some writers to 64.
const ALIGNMENT_MAX: u64 = 64;
/// A file whose schema has no head begins with it right after the magic; this is where its first word ends.
const BARE_SCHEMA_WORD: u64 = 12;
/// Such a schema is read word by word, so it gets less room than one with a head.
const BARE_SCHEMA_BYTES_MAX: usize = 1 << 20;
/// Of a file: the footer's length and the magic once more.
const FILE_END_BYTES: usize = 4 + 6;
/// Room for a schema of 1,600 columns with long names; the footer of a file with a million batches fits as well.
const METADATA_BYTES_MAX: usize = 32 << 20;
/// What is reserved before any byte of a part has come; more is reserved only as it comes.
const RESERVE_BYTES: usize = 64 << 10;
/// A batch may have rows that take no bytes (all NULL); this many are believed without any.
const FREE_ROWS: usize = 1 << 16;

/// The two ways in which Arrow messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// `application/vnd.apache.arrow.stream`
    Stream,
    /// `application/vnd.apache.arrow.file`: magic, a stream, a footer
    File,
}

/// One message.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) metadata: Vec<u8>,
    pub(super) body: Buffer,
    /// a schema without a head
    pub(super) bare: bool,
}

#[derive(Debug)]
enum State {
    Magic,
    Continuation,
    Length,
    Metadata,
    /// a schema without a head, as some writers put it in front of a file's messages: it ends where the first of them begins
    BareSchema {
        metadata: Vec<u8>,
    },
    Body {
        metadata: Vec<u8>,
    },
    Footer,
    Ended,
}

/// Where messages stand in a file, as the footer has it: offset, length of the head, length of the body.
type Blocks = Vec<(i64, i32, i64)>;

#[derive(Debug)]
pub(super) struct Framer {
    container: Container,
    state: State,
    /// what has come of the part that is being waited for
    pending: MutableBuffer,
    /// how long that part is
    need: usize,
    limit: usize,
    offset: u64,
    message_offset: u64,
    batches: Blocks,
    dictionaries: Blocks,
}

impl Framer {
    pub(super) fn new(container: Container, limit: usize) -> Framer {
        let (state, need) = match container {
            Container::Stream => (State::Continuation, 4),
            Container::File => (State::Magic, MAGIC.len()),
        };
        Framer {
            container,
            state,
            pending: MutableBuffer::new(0),
            need,
            limit,
            offset: 0,
            message_offset: 0,
            batches: Vec::new(),
            dictionaries: Vec::new(),
        }
    }

    /// The next whole message; `None` when `bytes` are used up.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Part>, DataError> {
        loop {
            if let State::Footer = self.state {
                self.keep_footer(bytes)?;
                return Ok(None);
            }
            let missing = self.need - self.pending.len();
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.pending.extend_from_slice(now);
            self.offset += now.len() as u64;
            *bytes = later;
            if self.pending.len() < self.need {
                return Ok(None);
            }
            let part = std::mem::replace(&mut self.pending, MutableBuffer::new(0));
            if let Some(message) = self.step(part)? {
                return Ok(Some(message));
            }
        }
    }

    /// The part that was waited for is whole.
    fn step(&mut self, part: MutableBuffer) -> Result<Option<Part>, DataError> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Magic if part.as_slice() == MAGIC => self.expect(State::Continuation, 4),
            State::Magic => return Err(self.not_arrow(part.as_slice())),
            State::Continuation => {
                self.message_offset = self.offset - 4;
                match part.as_slice() {
                    word if word == CONTINUATION => self.expect(State::Length, 4),
                    // Some writers fill up after the magic until the first message is aligned.
                    [0, 0, 0, 0] if self.container == Container::File && self.offset <= ALIGNMENT_MAX => {
                        self.expect(State::Continuation, 4);
                    }
                    word if self.container == Container::File && self.offset == BARE_SCHEMA_WORD => {
                        let metadata = word.to_vec();
                        self.expect(State::BareSchema { metadata }, 4);
                    }
                    word => return Err(self.not_arrow(word)),
                }
            }
            State::BareSchema { mut metadata } => {
                let (word, at_message) = (part.as_slice(), metadata.len().is_multiple_of(8));
                if at_message && word == CONTINUATION {
                    self.message_offset = self.offset - 4;
                    self.expect(State::Length, 4);
                    return Ok(Some(Part { metadata, body: MutableBuffer::new(0).into(), bare: true }));
                }
                metadata.extend_from_slice(word);
                if metadata.len() > BARE_SCHEMA_BYTES_MAX {
                    return Err(self.not_arrow(&metadata));
                }
                self.expect(State::BareSchema { metadata }, 4);
            }
            State::Length => {
                let length = part.as_slice().try_into().map_or(0, u32::from_le_bytes) as usize;
                match (length, self.container) {
                    (0, Container::Stream) => self.expect(State::Ended, 1),
                    (0, Container::File) => self.expect(State::Footer, usize::MAX),
                    _ if length > METADATA_BYTES_MAX.min(self.limit) => {
                        return Err(self.too_large("an Arrow message's metadata"));
                    }
                    _ => self.expect(State::Metadata, length),
                }
            }
            State::Metadata => {
                let metadata = part.as_slice().to_vec();
                let body = self.body_length(&metadata)?;
                self.expect(State::Body { metadata }, body);
                // Nothing more to wait for, and the next step would wait for a byte that need not come.
                if body == 0 {
                    return self.step(MutableBuffer::new(0));
                }
            }
            State::Body { metadata } => {
                self.expect(State::Continuation, 4);
                return Ok(Some(Part { metadata, body: part.into(), bare: false }));
            }
            State::Ended | State::Footer => {
                let reason = "there is more data after the end-of-stream marker";
                return Err(self.malformed(reason));
            }
        }
        Ok(None)
    }

    fn expect(&mut self, state: State, need: usize) {
        self.pending = MutableBuffer::new(need.min(RESERVE_BYTES));
        (self.state, self.need) = (state, need);
    }

    fn body_length(&mut self, metadata: &[u8]) -> Result<usize, DataError> {
        let message = root_as_message(metadata).map_err(|error| self.malformed(format!("a message cannot be read: {error}")))?;
        let length = usize::try_from(message.bodyLength()).map_err(|_| self.malformed("a message has a negative length"))?;
        if length > self.limit {
            return Err(self.too_large("an Arrow message"));
        }
        let block = (self.message_offset as i64, 8 + metadata.len() as i32, length as i64);
        match (self.container, message.header_type()) {
            (Container::File, MessageHeader::RecordBatch) => self.batches.push(block),
            (Container::File, MessageHeader::DictionaryBatch) => self.dictionaries.push(block),
            _ => {}
        }
        Ok(length)
    }

    fn keep_footer(&mut self, bytes: &mut &[u8]) -> Result<(), DataError> {
        self.pending.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        *bytes = &[];
        if self.pending.len() > METADATA_BYTES_MAX {
            return Err(self.too_large("an Arrow file's footer"));
        }
        Ok(())
    }

    /// Holds that the body was whole: an end-of-stream marker, and for a file a footer that names just the messages that were read, and
    /// in which `check_schema` finds the schema that they were read by.
    pub(super) fn finish(mut self, check_schema: impl FnOnce(Footer<'_>) -> Result<(), String>) -> Result<(), DataError> {
        match self.state {
            State::Ended if self.pending.is_empty() => Ok(()),
            State::Footer => self.check_footer(check_schema),
            State::Magic | State::Continuation if self.offset < 4 && !self.begins_well() => Err(self.not_arrow(self.pending.as_slice())),
            _ => {
                self.message_offset = self.offset;
                let reason = "the Arrow data is cut short: no end-of-stream marker";
                Err(DataError::malformed("truncated-arrow", reason, self.position()))
            }
        }
    }

    /// What has come so far may be the beginning of an Arrow body.
    fn begins_well(&self) -> bool {
        let expected: &[u8] = match self.state {
            State::Magic => MAGIC,
            _ => &CONTINUATION,
        };
        expected.starts_with(self.pending.as_slice())
    }

    fn check_footer(&self, check_schema: impl FnOnce(Footer<'_>) -> Result<(), String>) -> Result<(), DataError> {
        let cut_short = || {
            let reason = "the Arrow file is cut short: its footer is not whole";
            DataError::malformed("truncated-arrow", reason, self.position())
        };
        let tail = self.pending.as_slice();
        let (footer, end) = tail.split_at_checked(tail.len().wrapping_sub(FILE_END_BYTES)).ok_or_else(cut_short)?;
        let (length, magic) = end.split_at(4);
        let length = length.try_into().map_or(0, u32::from_le_bytes) as usize;
        if magic != &MAGIC[..6] || length > footer.len() {
            return Err(cut_short());
        }
        let footer = root_as_footer(&footer[footer.len() - length..])
            .map_err(|error| self.malformed(format!("the footer cannot be read: {error}")))?;
        let lists =
            [("record batches", footer.recordBatches(), &self.batches), ("dictionaries", footer.dictionaries(), &self.dictionaries)];
        for (what, named, read) in lists {
            let named = named.unwrap_or_default();
            let named = named.iter().map(|block| (block.offset(), block.metaDataLength(), block.bodyLength()));
            if !named.eq(read.iter().copied()) {
                return Err(self.malformed(format!("the footer does not name the {what} that are in the file, in their order")));
            }
        }
        check_schema(footer).map_err(|reason| self.malformed(reason))
    }

    fn not_arrow(&self, found: &[u8]) -> DataError {
        let expected = match self.container {
            Container::Stream => "an Arrow IPC stream",
            Container::File => "an Arrow IPC file",
        };
        let hint = match (found, self.message_offset) {
            (b"ARRO", 0) => " (it looks like an Arrow IPC file: application/vnd.apache.arrow.file)",
            ([0xFF, 0xFF, 0xFF, 0xFF, ..], 0) => " (it looks like an Arrow IPC stream: application/vnd.apache.arrow.stream)",
            ([b'P', b'A', b'R', b'1', ..], 0) => " (it looks like Parquet: application/vnd.apache.parquet)",
            ([0x1F, 0x8B, ..], 0) => " (it looks like gzip: send Content-Encoding: gzip)",
            ([0x28, 0xB5, 0x2F, 0xFD, ..], 0) => " (it looks like zstd: send Content-Encoding: zstd)",
            _ => "",
        };
        let place = self.message_offset;
        let reason = format!("the body is not {expected} at byte offset {place}{hint}");
        DataError::malformed("not-arrow", reason, self.position())
    }

    pub(super) fn malformed(&self, reason: impl Into<String>) -> DataError {
        DataError::malformed("malformed-arrow", reason, self.position())
    }

    pub(super) fn too_large(&self, what: &'static str) -> DataError {
        DataError::TooLarge { what, limit: self.limit, position: self.position() }
    }

    fn position(&self) -> Position {
        Position { byte_offset: Some(self.message_offset), ..Position::default() }
    }
}

/// How large a batch is once it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// in bytes
    Bytes(usize),
    /// more than the limit
    TooLarge,
}

/// Holds a batch to its limit before it is decoded: its buffers lie in the body, compressed ones say how large they will be, and rows
/// (and the values in lists) need not have bytes.
///
/// # Errors
/// What contradicts itself in it.
pub(super) fn check_batch(batch: RecordBatch<'_>, body: &Buffer, limit: usize) -> Result<Size, &'static str> {
    let compressed = batch.compression().is_some();
    let mut decoded = 0usize;
    for buffer in batch.buffers().unwrap_or_default() {
        let bytes = decoded_bytes(buffer, body, compressed)?;
        decoded = decoded.saturating_add(bytes);
    }
    let believed = decoded.saturating_mul(8).saturating_add(FREE_ROWS);
    let nodes = batch.nodes().unwrap_or_default();
    let lengths = nodes.iter().flat_map(|node| [node.length(), node.null_count()]);
    for length in lengths.chain([batch.length()]) {
        let length = usize::try_from(length).map_err(|_| "a length in it is negative")?;
        if length > believed {
            return Ok(Size::TooLarge);
        }
    }
    Ok(if decoded > limit { Size::TooLarge } else { Size::Bytes(decoded) })
}

/// How large a buffer is once it is decoded. A compressed buffer begins with its decompressed length; -1 says that it is not compressed
/// after all.
fn decoded_bytes(buffer: &arrow::ipc::Buffer, body: &Buffer, compressed: bool) -> Result<usize, &'static str> {
    let outside = "a buffer lies outside of its message";
    let start = usize::try_from(buffer.offset()).map_err(|_| outside)?;
    let length = usize::try_from(buffer.length()).map_err(|_| outside)?;
    let bytes = body.as_slice().get(start..).and_then(|bytes| bytes.get(..length)).ok_or(outside)?;
    match bytes.first_chunk::<8>() {
        Some(word) if compressed => match i64::from_le_bytes(*word) {
            -1 => Ok(length),
            declared => usize::try_from(declared).map_err(|_| "a compressed buffer has a negative length"),
        },
        _ => Ok(length),
    }
}
