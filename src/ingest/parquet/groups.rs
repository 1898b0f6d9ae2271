//! One row group: looked through page by page, then read a bounded number of rows at a time.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::basic::Encoding;
use parquet::column::page::PageIterator;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::super::batch::guarded;
use super::super::rows::{Halt, Rows};
use super::footer::MAGIC;
use super::pages::{Account, Chunk, Walk, pages};
use super::schema::Plan;
use super::spool::Spool;
use super::{contents, malformed};

/// Rows of a batch, when they are small.
const BATCH_ROWS_MAX: u64 = 8192;
/// A batch of rows is meant to take this part of the memory that a file may take. What is more uneven than that is held to the whole.
const BATCH_SHARE: u64 = 16;
/// How often a long survey looks whether somebody still waits for it.
const SURVEY_PAGES: usize = 1024;

/// A file on disk, and what its end says about it.
#[derive(Debug)]
pub(super) struct File {
    pub(super) spool: Arc<Spool>,
    pub(super) metadata: ParquetMetaData,
    /// where the row groups end
    pub(super) data_end: u64,
    pub(super) memory_max: usize,
}

/// The columns of one row group that are read.
pub(super) struct Group<'a> {
    file: &'a File,
    metadata: &'a RowGroupMetaData,
    chunks: Vec<Chunk>,
    account: Arc<Account>,
    reader: Option<ParquetRecordBatchReader>,
    /// strings of one of them have been checked all together and not one by one
    pub(super) text_unchecked: bool,
    rows_read: u64,
}

/// What looking through a column has shown.
struct Survey {
    row_bytes: u64,
    text_unchecked: bool,
}

impl<'a> Group<'a> {
    /// Looks through a row group without reading its values.
    pub(super) fn open(file: &'a File, index: usize, plan: &Plan, rows: &Rows<'_>) -> Result<Group<'a>, Halt> {
        let metadata = file.metadata.row_group(index);
        let account = Arc::new(Account::new(file.memory_max));
        let chunks: Result<Vec<Chunk>, Halt> = plan.leaves.iter().map(|leaf| chunk(file, metadata.column(*leaf), *leaf)).collect();
        let mut group = Group {
            file,
            metadata,
            chunks: chunks?,
            account,
            reader: None,
            text_unchecked: false,
            rows_read: 0,
        };
        if group.rows() > 0 {
            let mut row_bytes = 0u64;
            for (chunk, leaf) in group.chunks.iter().zip(&plan.leaves) {
                let survey = group.survey(chunk, metadata.column(*leaf), rows)?;
                row_bytes = row_bytes.saturating_add(survey.row_bytes);
                group.text_unchecked |= survey.text_unchecked;
            }
            let batch_rows = (file.memory_max as u64 / BATCH_SHARE / row_bytes.max(1)).clamp(1, BATCH_ROWS_MAX);
            let open = || ParquetRecordBatchReader::try_new_with_row_groups(&plan.levels, &group, batch_rows as usize, None);
            let reader = guarded(|| open().map_err(ArrowError::from)).map_err(|reason| group.unreadable(reason))?;
            plan.check(&reader.schema()).map_err(|reason| group.unreadable(reason))?;
            group.reader = Some(reader);
        }
        Ok(group)
    }

    fn rows(&self) -> u64 {
        self.metadata.num_rows().try_into().unwrap_or(0)
    }

    /// The next rows; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, Halt> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        self.account.begin_batch();
        let batch = guarded(|| reader.next().transpose()).map_err(|reason| self.unreadable(reason))?;
        self.rows_read += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        let (read, said) = (self.rows_read, self.rows());
        if read > said || batch.is_none() && read < said {
            let reason = format!("a row group has {read} rows where the metadata says {said}");
            return Err(malformed(reason, self.file.data_end).into());
        }
        Ok(batch)
    }

    /// What a page was refused for is more than the crate knows.
    fn unreadable(&self, reason: String) -> Halt {
        let place = self.chunks.iter().map(|chunk| chunk.start).min().unwrap_or_default();
        self.account
            .take_halt()
            .unwrap_or_else(|| malformed(format!("a row group cannot be read: {reason}"), place).into())
    }

    fn survey(&self, chunk: &Chunk, metadata: &ColumnChunkMetaData, rows: &Rows<'_>) -> Result<Survey, Halt> {
        let mut walk = Walk::new(Arc::clone(&self.file.spool), chunk, self.file.memory_max);
        let (mut values, mut densest, mut text_unchecked) = (0u64, 0u64, false);
        for count in 0.. {
            if count % SURVEY_PAGES == 0 {
                rows.check_open()?;
            }
            let Some(found) = walk.next()? else {
                break;
            };
            let header = &found.header;
            if header.is_dictionary() {
                if count > 0 {
                    return Err(malformed("a column has a dictionary that does not stand in front", chunk.start).into());
                }
            } else if header.values == 0 {
                return Err(malformed("a page is empty", chunk.start).into());
            } else {
                values += u64::from(header.values);
                densest = densest.max(contents::read_bytes(header, &chunk.column).div_ceil(header.values.into()));
                text_unchecked |= matches!(header.encoding, Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY);
            }
        }
        let flat = chunk.column.max_rep_level() == 0;
        if i64::try_from(values) != Ok(metadata.num_values()) || flat && values != self.rows() {
            let reason = format!("the pages of column {} hold {values} values, and the metadata says otherwise", chunk.column.path());
            return Err(malformed(reason, chunk.start).into());
        }
        let values_per_row = values.div_ceil(self.rows());
        let row_bytes = densest.saturating_mul(values_per_row) + contents::value_bytes(&chunk.column);
        Ok(Survey { row_bytes, text_unchecked })
    }
}

/// Where a column stands, which has to be in the file.
fn chunk(file: &File, metadata: &ColumnChunkMetaData, leaf: usize) -> Result<Chunk, Halt> {
    if metadata.file_path().is_some() {
        let reason = "the metadata describes rows that are in other files";
        return Err(malformed(reason, file.data_end).into());
    }
    let data = metadata.data_page_offset();
    let dictionary = metadata.dictionary_page_offset().filter(|offset| (MAGIC.len() as i64..data).contains(offset));
    let start = u64::try_from(dictionary.unwrap_or(data)).ok().filter(|start| *start >= MAGIC.len() as u64);
    let length = u64::try_from(metadata.compressed_size()).ok();
    let range = start.zip(length).and_then(|(start, length)| Some((start, start.checked_add(length)?)));
    let (start, end) = range.filter(|(_, end)| *end <= file.data_end).ok_or_else(|| {
        let reason = format!("column {} does not lie within the file", metadata.column_path());
        malformed(reason, file.data_end)
    })?;
    Ok(Chunk {
        start,
        end,
        codec: metadata.compression(),
        column: metadata.column_descr_ptr(),
        leaf,
    })
}

impl RowGroups for Group<'_> {
    fn num_rows(&self) -> usize {
        self.rows() as usize
    }

    fn column_chunks(&self, index: usize) -> parquet::errors::Result<Box<dyn PageIterator>> {
        Ok(pages(&self.file.spool, self.chunks[index].clone(), &self.account))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.file.metadata
    }
}
