//! One row group: looked through page by page, then read a bounded number of rows at a time.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::basic::Encoding;
use parquet::column::page::PageIterator;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::super::batch::guarded;
use super::super::rows::Halt;
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
    /// Looks through a row group without reading its values, as long as `go_on` says so.
    pub(super) fn open(file: &'a File, index: usize, plan: &Plan, go_on: &dyn Fn() -> Result<(), Halt>) -> Result<Group<'a>, Halt> {
        let metadata = file.metadata.row_group(index);
        let account = Arc::new(Account::new(file.memory_max));
        // One without rows need not have anything anywhere.
        let leaves = plan.leaves.iter().filter(|_| metadata.num_rows() > 0);
        let chunks: Result<Vec<Chunk>, Halt> = leaves.map(|leaf| chunk(file, metadata.column(*leaf), *leaf)).collect();
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
                let survey = group.survey(chunk, metadata.column(*leaf), go_on)?;
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

    fn survey(&self, chunk: &Chunk, metadata: &ColumnChunkMetaData, go_on: &dyn Fn() -> Result<(), Halt>) -> Result<Survey, Halt> {
        let mut walk = Walk::new(Arc::clone(&self.file.spool), chunk, self.file.memory_max);
        let (mut values, mut densest, mut text_unchecked) = (0u64, 0u64, false);
        for count in 0.. {
            if count % SURVEY_PAGES == 0 {
                go_on()?;
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

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, DurationMillisecondArray, FixedSizeListArray, Float32Array, Int64Array,
        IntervalDayTimeArray, IntervalYearMonthArray, ListArray, MapArray, NullBufferBuilder, StringArray, StructArray, Time32SecondArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{DataType, Field, Int8Type, Int32Type, IntervalDayTime, IntervalMonthDayNano, IntervalMonthDayNanoType};
    use arrow::util::display::array_value_to_string;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Compression;
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};

    use super::super::footer;
    use super::super::schema::Plan;
    use super::super::spool::Spools;
    use super::*;
    use crate::config;
    use crate::error::DataError;

    fn read(bytes: &[u8], memory_max: usize) -> Result<Vec<RecordBatch>, Halt> {
        let dir = std::env::temp_dir();
        let mut spool = Spools::new(config::Spool { dir, ..config::Spool::default() }).open().unwrap();
        spool.push(bytes).unwrap();
        let (metadata, data_end) = footer::read(&spool, memory_max)?;
        let file = File { spool: Arc::new(spool), metadata, data_end, memory_max };
        let plan = Plan::new(&file, None, |_| false)?;
        let mut batches = Vec::new();
        for index in 0..file.metadata.num_row_groups() {
            let mut group = Group::open(&file, index, &plan, &|| Ok(()))?;
            while let Some(batch) = group.next()? {
                let batch = plan.finish(batch, group.text_unchecked);
                batches.push(batch.map_err(|reason| malformed(reason, data_end))?);
            }
        }
        Ok(batches)
    }

    fn write(batch: &RecordBatch, properties: WriterPropertiesBuilder) -> Vec<u8> {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).unwrap();
        writer.write(batch).unwrap();
        writer.into_inner().unwrap()
    }

    /// Each row as text, column by column.
    fn texts(batches: &[RecordBatch]) -> Vec<String> {
        let row = |batch: &RecordBatch, row| {
            let fields = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
            fields.collect::<Vec<_>>().join(" | ")
        };
        batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|index| row(batch, index))).collect()
    }

    /// Lists of lists, structs with NULLs on every level, maps, and what only the Arrow schema beside the file knows.
    fn nested(rows: usize) -> RecordBatch {
        let numbers = |row: usize| (!row.is_multiple_of(5)).then(|| (0..row % 4).map(move |n| (n != 1).then_some((row + n) as i32)));
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>((0..rows).map(numbers));
        let strings: StringArray = (0..rows).map(|row| (!row.is_multiple_of(7)).then(|| format!("text number {}", row % 11))).collect();
        let mut valid = NullBufferBuilder::new(rows);
        (0..rows).for_each(|row| valid.append(!row.is_multiple_of(3)));
        let fields = vec![
            (Arc::new(Field::new("s", DataType::Utf8, true)), Arc::new(strings.clone()) as ArrayRef),
            (Arc::new(Field::new("l", list.data_type().clone(), true)), Arc::new(list.clone()) as ArrayRef),
        ];
        let (fields, arrays): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        let structs = StructArray::new(fields.into(), arrays, valid.finish());
        let pairs = OffsetBuffer::from_lengths((0..rows / 2).map(|_| 2));
        let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
        let lists = ListArray::new(item, pairs, Arc::new(structs.clone()), None);
        let keys: Vec<String> = (0..rows).map(|row| format!("k{row}")).collect();
        let offsets: Vec<u32> = (0..=rows as u32 / 2).map(|row| row * 2).collect();
        let map = MapArray::new_from_strings(keys.iter().map(String::as_str), &strings, &offsets).unwrap();
        let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>((0..rows / 2).map(|n| Some([Some(n as i32), None])), 2);
        let half = |array: &dyn Array| array.slice(0, rows / 2);
        let kinds: DictionaryArray<Int8Type> = (0..rows).map(|row| Some(["x", "yy", ""][row % 3])).collect();
        RecordBatch::try_from_iter_with_nullable([
            ("list", half(&list), true),
            ("structs", half(&structs), true),
            ("lists", Arc::new(lists) as ArrayRef, true),
            ("map", Arc::new(map), true),
            ("fixed", Arc::new(fixed), true),
            ("kinds", half(&kinds), true),
            ("duration", Arc::new(DurationMillisecondArray::from_iter_values(0..(rows / 2) as i64)), true),
            ("clock", Arc::new(Time32SecondArray::from_iter_values(0..(rows / 2) as i32)), true),
            ("float", Arc::new(Float32Array::from_iter_values((0..rows / 2).map(|n| n as f32 / 8.0))), false),
            ("id", Arc::new(Int64Array::from_iter_values(0..(rows / 2) as i64)), false),
        ])
        .unwrap()
    }

    fn properties() -> WriterPropertiesBuilder {
        WriterProperties::builder()
            .set_max_row_group_row_count(Some(700))
            .set_data_page_row_count_limit(90)
            .set_write_batch_size(64)
    }

    #[test]
    fn nested_columns_come_as_they_were_written() {
        let batch = nested(4000);
        let expected = texts(std::slice::from_ref(&batch));
        let layouts = [
            properties(),
            properties().set_writer_version(WriterVersion::PARQUET_2_0),
            properties().set_dictionary_enabled(false),
            // Without a dictionary, this version has strings as DELTA_BYTE_ARRAY.
            properties().set_dictionary_enabled(false).set_writer_version(WriterVersion::PARQUET_2_0),
        ];
        for (index, layout) in layouts.into_iter().enumerate() {
            let mut bytes = Vec::new();
            for memory_max in [256 << 20, 8 << 20] {
                if bytes.is_empty() {
                    bytes = write(&batch, layout.clone());
                }
                let found = texts(&read(&bytes, memory_max).unwrap());
                assert!(found == expected, "layout {index} within {memory_max} bytes: {:?}", &found[..3]);
            }
        }
    }

    #[test]
    fn intervals_keep_their_months() {
        let days = IntervalDayTimeArray::from(vec![Some(IntervalDayTime::new(3, 4500)), None]);
        let months = IntervalYearMonthArray::from(vec![Some(14), Some(0)]);
        let columns = [("days", Arc::new(days) as ArrayRef, true), ("months", Arc::new(months) as ArrayRef, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let batches = read(&write(&batch, properties()), 8 << 20).unwrap();
        let expected: [[Option<IntervalMonthDayNano>; 2]; 2] = [
            [Some(IntervalMonthDayNano::new(0, 3, 4_500_000_000)), None],
            [Some(IntervalMonthDayNano::new(14, 0, 0)), Some(IntervalMonthDayNano::new(0, 0, 0))],
        ];
        for (column, expected) in batches[0].columns().iter().zip(expected) {
            let found: Vec<_> = column.as_primitive::<IntervalMonthDayNanoType>().iter().collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_value_that_many_rows_share_is_not_copied_for_each() {
        let long = "x".repeat(100_000);
        let column: DictionaryArray<Int8Type> = std::iter::repeat_n(Some(long.as_str()), 50_000).collect();
        let batch = RecordBatch::try_from_iter([("a", Arc::new(column) as ArrayRef)]).unwrap();
        let bytes = write(&batch, WriterProperties::builder());
        assert!(bytes.len() < 1 << 20, "the file itself has {} bytes", bytes.len());
        let batches = read(&bytes, 16 << 20).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 50_000);
        assert_eq!(batches[0].column(0).as_string_view().value(0), long);
    }

    fn refused_for_its_size(batch: &RecordBatch, layout: WriterPropertiesBuilder) -> bool {
        let bytes = write(batch, layout);
        assert!(bytes.len() < 1 << 20, "the file itself has {} bytes", bytes.len());
        matches!(read(&bytes, 16 << 20), Err(Halt::Data(DataError::TooLarge { .. })))
    }

    #[test]
    fn small_pages_that_would_become_huge_are_refused() {
        let layout = || {
            WriterProperties::builder()
                .set_dictionary_enabled(false)
                .set_writer_version(WriterVersion::PARQUET_2_0)
        };
        // Each value is the one before it once more.
        let long = "x".repeat(100_000);
        let strings = StringArray::from_iter_values(std::iter::repeat_n(&long, 1000));
        let batch = RecordBatch::try_from_iter([("a", Arc::new(strings) as ArrayRef)]).unwrap();
        assert!(refused_for_its_size(&batch, layout()));
        // One row, and all its elements are NULL.
        let nothing = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(std::iter::repeat_n(None, 1_000_000))]);
        let batch = RecordBatch::try_from_iter([("a", Arc::new(nothing) as ArrayRef)]).unwrap();
        assert!(refused_for_its_size(&batch, layout()));
        // Zeros.
        let zeros = BinaryArray::from_iter_values([vec![0; 20 << 20]]);
        let batch = RecordBatch::try_from_iter([("a", Arc::new(zeros) as ArrayRef)]).unwrap();
        assert!(refused_for_its_size(&batch, layout().set_compression(Compression::BROTLI(Default::default()))));
    }

    #[test]
    fn flipped_bytes_are_read_or_refused() {
        let batch = nested(300);
        let layouts = [properties(), properties().set_dictionary_enabled(false).set_writer_version(WriterVersion::PARQUET_2_0)];
        let mut seed = 1u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut refused = 0;
        for layout in layouts {
            let bytes = write(&batch, layout);
            for round in 0..600 {
                let mut bytes = bytes.clone();
                let at = random(bytes.len());
                match round % 3 {
                    0 => bytes[at] ^= 1 << random(8),
                    1 => bytes[at] = [0, 0x7F, 0x80, 0xFF][random(4)],
                    _ => bytes.truncate(at),
                }
                match read(&bytes, 8 << 20) {
                    Ok(batches) => drop(texts(&batches)),
                    Err(Halt::Data(_)) => refused += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
        assert!(refused > 400, "only {refused} of 1200 were refused");
    }
}
