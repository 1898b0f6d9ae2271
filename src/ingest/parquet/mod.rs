//! Stage *parse* for Parquet: a file in, rows out.
//!
//! What is in a file stands at its end, so the body is kept on disk until it is whole (`spool`). Then its metadata is read (`footer`), and
//! one row group after the other (`groups`), of which the needed columns (`schema`) are read page by page (`pages`) and a bounded number
//! of rows at a time.
//!
//! The parquet crate decodes pages and puts rows together. What it believes without asking is looked at before (`compact`, `header`,
//! `contents`, `delta`), and what it decompresses without a limit is decompressed here (`codec`).
//!
//! Format: <https://parquet.apache.org/docs/file-format/>

mod codec;
mod compact;
mod contents;
mod delta;
mod footer;
mod groups;
mod header;
mod pages;
mod schema;
mod spool;

use std::sync::Arc;

use self::footer::{MAGIC, MAGIC_ENCRYPTED};
use self::groups::{File, Group};
use self::schema::Plan;
use self::spool::Spool;
pub use self::spool::Spools;
use super::batch::Batches;
use super::rows::{Halt, Rows, target};
use crate::encode::Kind;
use crate::error::{DataError, Position};

/// What a load may say about a Parquet body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// the file's columns to load; all of them if not given
    pub columns: Option<Vec<String>>,
}

/// Turns a Parquet body into rows, once it is whole.
#[derive(Debug)]
pub(super) struct Decoder {
    options: Options,
    spools: Spools,
    /// opened when the body begins
    spool: Option<Spool>,
    /// the body's first bytes
    head: Vec<u8>,
    memory_max: usize,
    batches: Batches,
}

impl Decoder {
    pub(super) fn new(options: Options, spools: &Spools, memory_max: usize, row_bytes_max: usize) -> Decoder {
        Decoder {
            options,
            spools: spools.clone(),
            spool: None,
            head: Vec::new(),
            memory_max,
            batches: Batches::new(row_bytes_max),
        }
    }

    /// Keeps a piece of the body, if it begins as a Parquet file does. In whatever pieces the beginning comes, it is looked at as a whole.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        let missing = MAGIC.len() - self.head.len();
        if missing > 0 {
            self.head.extend(bytes.iter().take(missing));
            if self.head.len() == MAGIC.len() {
                check_head(&self.head)?;
            }
        }
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(self.spools.open()?),
        };
        Ok(spool.push(bytes)?)
    }

    /// The body has ended, and properly: now it is read.
    pub(super) fn finish(mut self, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let spool = self.spool.take().ok_or(DataError::Empty)?;
        check_head(&self.head)?;
        let (metadata, data_end) = footer::read(&spool, self.memory_max)?;
        let file = File { spool: Arc::new(spool), metadata, data_end, memory_max: self.memory_max };
        check_rows(&file)?;
        let table = rows.table;
        let zoned = |name: &str| target(table, name).is_ok_and(|target| target.kind == Some(Kind::Timestamptz));
        let plan = Plan::new(&file, self.options.columns.as_deref(), zoned)?;
        self.batches.begin(&plan.schema, rows)?;
        for index in 0..file.metadata.num_row_groups() {
            let mut group = Group::open(&file, index, &plan, &|| rows.check_open())?;
            while let Some(batch) = group.next()? {
                let batch = plan.finish(batch, group.text_unchecked).map_err(|reason| malformed(reason, data_end))?;
                self.batches.encode(&batch, rows)?;
            }
        }
        rows.flush()
    }
}

/// Refuses what does not begin as a Parquet file, before all of it has come.
fn check_head(head: &[u8]) -> Result<(), DataError> {
    if MAGIC.starts_with(head) {
        return Ok(());
    }
    let hint = match head {
        head if head == MAGIC_ENCRYPTED => return Err(footer::encrypted()),
        [0x1F, 0x8B, ..] => " (it looks like gzip: say Content-Encoding: gzip, or send the file as it is)",
        [0x28, 0xB5, 0x2F, 0xFD] => " (it looks like zstd: say Content-Encoding: zstd, or send the file as it is)",
        b"ARRO" => " (it looks like an Arrow IPC file: application/vnd.apache.arrow.file)",
        [0xFF, 0xFF, 0xFF, 0xFF] => " (it looks like an Arrow IPC stream: application/vnd.apache.arrow.stream)",
        head if head.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')) => " (it looks like text, as CSV would)",
        _ => "",
    };
    let position = Position { byte_offset: Some(0), ..Position::default() };
    let reason = format!("the body is not a Parquet file, which begins with PAR1{hint}");
    Err(DataError::malformed("not-parquet", reason, position))
}

/// The file's own numbers of rows have to agree.
fn check_rows(file: &File) -> Result<(), DataError> {
    let groups = file.metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    let sum = groups.sum::<Option<u64>>();
    let said = file.metadata.file_metadata().num_rows();
    if sum.is_none() || sum != u64::try_from(said).ok() {
        let reason = format!("its metadata says that it has {said} rows, and its row groups say otherwise");
        return Err(malformed(reason, file.data_end));
    }
    Ok(())
}

fn malformed(reason: impl Into<String>, byte_offset: u64) -> DataError {
    let position = Position { byte_offset: Some(byte_offset), ..Position::default() };
    DataError::malformed("malformed-parquet", format!("the Parquet file is malformed: {}", reason.into()), position)
}

fn too_large(what: &'static str, limit: usize, byte_offset: u64) -> DataError {
    let position = Position { byte_offset: Some(byte_offset), ..Position::default() };
    DataError::TooLarge { what, limit, position }
}
