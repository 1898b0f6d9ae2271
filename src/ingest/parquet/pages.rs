//! The pages of one column in one row group, from the spool to the parquet crate's decoders. Sizes are checked before there is memory for
//! them, checksums before anything is decoded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescPtr;

use super::super::rows::Halt;
use super::codec::decompress;
use super::compact::Fault;
use super::contents::{self, Refusal};
use super::header::{Header, Kind};
use super::spool::Spool;
use super::{malformed, too_large};
use crate::error::{DataError, Position, RowError};

/// Most headers take some dozens of bytes …
const HEADER_BYTES: u64 = 1 << 10;
/// … but statistics in them may hold whole values.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// Where the pages of a column stand.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) codec: Compression,
    pub(super) column: ColumnDescPtr,
    /// its number in the file
    pub(super) leaf: usize,
}

/// Goes from page to page by their headers.
#[derive(Debug)]
pub(super) struct Walk {
    spool: Arc<Spool>,
    at: u64,
    end: u64,
    memory_max: usize,
}

/// A page that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) header: Header,
    /// where the page itself begins
    start: u64,
}

impl Walk {
    pub(super) fn new(spool: Arc<Spool>, chunk: &Chunk, memory_max: usize) -> Walk {
        Walk { spool, at: chunk.start, end: chunk.end, memory_max }
    }

    /// The next page.
    pub(super) fn next(&mut self) -> std::result::Result<Option<Found>, Halt> {
        if self.at == self.end {
            return Ok(None);
        }
        let (header, length) = self.read_header()?;
        let start = self.at + length as u64;
        let size = header.compressed as u64;
        if size > self.end - start {
            return Err(malformed(format!("a page is said to have {size} bytes, which are not there"), self.at).into());
        }
        if header.compressed.max(header.uncompressed) > self.memory_max {
            return Err(too_large("a page of the Parquet file", self.memory_max, self.at).into());
        }
        self.at = start + size;
        Ok(Some(Found { header, start }))
    }

    fn read_header(&self) -> std::result::Result<(Header, usize), Halt> {
        let mut size = HEADER_BYTES;
        loop {
            let mut bytes = vec![0; size.min(self.end - self.at) as usize];
            self.spool.read(self.at, &mut bytes)?;
            match Header::read(&bytes) {
                Ok(read) => return Ok(read),
                Err(Fault::Ended) if size < HEADER_BYTES_MAX && size < self.end - self.at => size *= 8,
                Err(_) => return Err(malformed("a page header cannot be read", self.at).into()),
            }
        }
    }
}

/// What the pages take that are needed at the same time, and why reading them ended: the crate passes errors on as text only.
#[derive(Debug)]
pub(super) struct Account {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// by column: its dictionary, and the page that it is at
    held: HashMap<usize, (u64, u64)>,
    /// read since the batch was begun, and held before
    used: u64,
    halt: Option<Halt>,
}

impl Account {
    pub(super) fn new(limit: usize) -> Account {
        Account { limit: limit as u64, state: Mutex::default() }
    }

    /// What was read for earlier batches is gone, but for the pages that were begun.
    pub(super) fn begin_batch(&self) {
        let mut state = self.state();
        state.used = state.held.values().map(|(dictionary, page)| dictionary + page).sum();
    }

    pub(super) fn take_halt(&self) -> Option<Halt> {
        self.state().halt.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asked before there is memory for it.
    fn charge(&self, bytes: u64, start: u64) -> std::result::Result<(), Halt> {
        let mut state = self.state();
        state.used += bytes;
        if state.used > self.limit {
            let what = "what has to be in memory at once of the Parquet file (--parquet-memory-bytes-max)";
            return Err(too_large(what, self.limit as usize, start).into());
        }
        Ok(())
    }

    /// The page takes the place of the one before it.
    fn hold(&self, leaf: usize, is_dictionary: bool, bytes: u64) {
        let mut state = self.state();
        let (dictionary, page) = state.held.entry(leaf).or_default();
        *if is_dictionary { dictionary } else { page } = bytes;
    }
}

/// Reads pages for the crate's decoders.
#[derive(Debug)]
struct Pages {
    chunk: Chunk,
    walk: Walk,
    spool: Arc<Spool>,
    peeked: Option<Found>,
    account: Arc<Account>,
}

/// The pages of one chunk, in the form that the crate asks for.
pub(super) fn pages(spool: &Arc<Spool>, chunk: Chunk, account: &Arc<Account>) -> Box<dyn PageIterator> {
    let walk = Walk::new(Arc::clone(spool), &chunk, account.limit as usize);
    let pages = Pages {
        chunk,
        walk,
        spool: Arc::clone(spool),
        peeked: None,
        account: Arc::clone(account),
    };
    Box::new(OneChunk(Some(Box::new(pages))))
}

impl Pages {
    fn read(&self, found: &Found) -> std::result::Result<Page, Halt> {
        let Found { header, start } = found;
        let malformed = |reason: String| malformed(reason, *start);
        let taken = contents::read_bytes(header, &self.chunk.column);
        self.account.charge(taken, *start)?;
        let mut bytes = vec![0; header.compressed];
        self.spool.read(*start, &mut bytes)?;
        if header.crc.is_some_and(|crc| crc != checksum(&bytes)) {
            return Err(malformed("a page's checksum does not fit its bytes".to_owned()).into());
        }
        let bytes = self.decompress(header, bytes).map_err(malformed)?;
        let more = contents::check(header, &bytes, &self.chunk.column).map_err(|refusal| match refusal {
            Refusal::Malformed(reason) => malformed(reason),
            Refusal::Value(reason) => self.bad_value(reason, *start),
        })?;
        self.account.charge(more, *start)?;
        self.account.hold(self.chunk.leaf, header.is_dictionary(), taken + more);
        Ok(page(header, bytes))
    }

    /// Which row it belongs to is not known before the page is decoded.
    fn bad_value(&self, reason: &'static str, start: u64) -> DataError {
        let position = Position {
            byte_offset: Some(start),
            column: Some(self.chunk.column.name().to_owned()),
            ..Position::default()
        };
        let (value, type_name, sqlstate) = (None, None, "22008");
        RowError { position, value, type_name, sqlstate: sqlstate.into(), reason: reason.into() }.into()
    }

    /// The levels of a version 2 page are never compressed.
    fn decompress(&self, header: &Header, mut bytes: Vec<u8>) -> std::result::Result<Vec<u8>, String> {
        let (levels, compressed) = match header.kind {
            Kind::DataV2 { definition_bytes, repetition_bytes, compressed, .. } => {
                (definition_bytes as usize + repetition_bytes as usize, compressed)
            }
            _ => (0, true),
        };
        if levels > bytes.len() || levels > header.uncompressed {
            return Err("a page is shorter than its levels".to_owned());
        }
        if !compressed || self.chunk.codec == Compression::UNCOMPRESSED {
            return Ok(bytes);
        }
        // A page in which all values are NULL may have nothing to decompress.
        if levels == header.uncompressed {
            bytes.truncate(levels);
            return Ok(bytes);
        }
        let values = decompress(self.chunk.codec, &bytes[levels..], header.uncompressed - levels)?;
        if levels == 0 { Ok(values) } else { Ok([&bytes[..levels], &values].concat()) }
    }

    fn found(&mut self) -> std::result::Result<Option<Found>, Halt> {
        match self.peeked.take() {
            Some(found) => Ok(Some(found)),
            None => self.walk.next(),
        }
    }

    /// Keeps the reason where it is looked for.
    fn note<T>(&self, result: std::result::Result<T, Halt>) -> Result<T> {
        result.map_err(|halt| {
            self.account.state().halt.get_or_insert(halt);
            ParquetError::General("a page was refused".to_owned())
        })
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let found = self.found();
        let page = found.and_then(|found| found.map(|found| self.read(&found)).transpose());
        self.note(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        let found = self.found();
        self.peeked = self.note(found)?;
        Ok(self.peeked.as_ref().map(|found| PageMetadata {
            num_rows: match found.header.kind {
                Kind::DataV2 { rows, .. } => Some(rows as usize),
                _ => None,
            },
            num_levels: Some(found.header.values as usize),
            is_dict: found.header.is_dictionary(),
        }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        let found = self.found();
        self.note(found).map(drop)
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// A row group has one chunk of each column.
struct OneChunk(Option<Box<dyn PageReader>>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for OneChunk {}

/// CRC-32 as in gzip.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn page(header: &Header, bytes: Vec<u8>) -> Page {
    let (buf, num_values, encoding) = (bytes.into(), header.values, header.encoding);
    match header.kind {
        Kind::Dictionary { sorted } => Page::DictionaryPage { buf, num_values, encoding, is_sorted: sorted },
        Kind::DataV2 { nulls, rows, definition_bytes, repetition_bytes, .. } => Page::DataPageV2 {
            buf,
            num_values,
            encoding,
            num_nulls: nulls,
            num_rows: rows,
            def_levels_byte_len: definition_bytes,
            rep_levels_byte_len: repetition_bytes,
            is_compressed: false,
            statistics: None,
        },
        Kind::Data { definition, repetition } => Page::DataPage {
            buf,
            num_values,
            encoding,
            def_level_encoding: definition,
            rep_level_encoding: repetition,
            statistics: None,
        },
    }
}
