//! Which columns of a file are read, and as what.
//!
//! A file's own types decide. The Arrow schema that some writers put beside them is asked only for what Parquet cannot say (durations,
//! say); where it contradicts the file, the file is right. Strings are read as views, so that a value that many rows share is not copied
//! for each of them.

use std::slice::Iter;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, IntervalMonthDayNanoArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Fields, IntervalMonthDayNano, IntervalUnit, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor, Type, TypePtr};

use super::super::batch::guarded;
use super::super::rows::{Halt, shorten, shorten_list};
use super::groups::File;
use super::{malformed, too_large};
use crate::error::DataError;

/// An INTERVAL: months, days and milliseconds, each in four bytes.
const INTERVAL_BYTES: i32 = 12;
const NANOS_PER_MILLI: i64 = 1_000_000;
/// A value of a fixed length may have this part of the memory that a file may take.
const VALUE_SHARE: usize = 16;

/// How a file is read.
#[derive(Debug)]
pub(super) struct Plan {
    /// the numbers of the leaf columns, as the file counts them
    pub(super) leaves: Vec<usize>,
    pub(super) levels: FieldLevels,
    /// what the crate is asked to make of them …
    fields: Fields,
    /// … and what is passed on
    pub(super) schema: SchemaRef,
}

impl Plan {
    /// Chooses `columns` of the file, or all. `zoned` knows those whose timestamps are instants, where the file does not say.
    pub(super) fn new(file: &File, columns: Option<&[String]>, zoned: impl Fn(&str) -> bool) -> Result<Plan, Halt> {
        let described = file.metadata.file_metadata().schema_descr();
        let chosen = choose(described, columns)?;
        let leaves: Vec<usize> = (0..described.num_columns())
            .filter(|leaf| chosen.contains(&described.get_column_root_idx(*leaf)))
            .collect();
        check_widths(file, described, &leaves)?;
        let unreadable = |reason: String| Halt::from(malformed(format!("its schema cannot be read: {reason}"), file.data_end));
        let read_as = guarded(|| readable_root(described, &chosen).map_err(ArrowError::from)).map_err(unreadable)?;
        let convert = |schema, metadata| guarded(|| parquet_to_arrow_schema(schema, metadata).map_err(ArrowError::from));
        let plain = convert(&read_as, None).map_err(unreadable)?;
        // What the writer says beside the file is only a hint, so a hint that cannot be used is none.
        let hints = convert(described, file.metadata.file_metadata().key_value_metadata()).unwrap_or_else(|_| Schema::empty());
        let mut columns = read_as.columns().iter();
        let fields = plain.fields().iter().map(|field| {
            let hint = hints.field_with_name(field.name()).ok().map(|field| field.data_type());
            with_type(field, reading_type(field.data_type(), hint, zoned(field.name()), &mut columns))
        });
        let fields: Fields = fields.collect();
        let levels = || parquet_to_arrow_field_levels(&read_as, ProjectionMask::all(), Some(&fields)).map_err(ArrowError::from);
        Ok(Plan {
            leaves,
            levels: guarded(levels).map_err(unreadable)?,
            schema: Arc::new(Schema::new(passed_on(described, &fields))),
            fields,
        })
    }

    /// Holds that the crate makes of the columns what it was asked to.
    pub(super) fn check(&self, read: &Schema) -> Result<(), String> {
        let mut pairs = read.fields().iter().zip(&self.fields);
        match pairs.find(|(read, asked)| read.data_type() != asked.data_type()) {
            None => Ok(()),
            Some((read, asked)) => Err(format!("column {} cannot be read as {}", shorten(read.name()), asked.data_type())),
        }
    }

    /// Makes of a batch what is passed on. `text_unchecked`: its strings have been checked all together and not one by one.
    pub(super) fn finish(&self, batch: RecordBatch, text_unchecked: bool) -> Result<RecordBatch, String> {
        if text_unchecked && !batch.columns().iter().all(|column| is_text(column)) {
            return Err("a string is not UTF-8".to_owned());
        }
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| match (field.data_type(), column.as_fixed_size_binary_opt()) {
            (DataType::Interval(_), Some(intervals)) => read_intervals(intervals),
            _ => Ok(Arc::clone(column)),
        });
        let columns = columns.collect::<Result<_, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| error.to_string())
    }
}

/// The numbers of the file's columns that are asked for.
fn choose(described: &SchemaDescriptor, columns: Option<&[String]>) -> Result<Vec<usize>, Halt> {
    let fields = described.root_schema().get_fields();
    let Some(columns) = columns else {
        return Ok((0..fields.len()).collect());
    };
    let unknown = columns.iter().filter(|name| !fields.iter().any(|field| field.name() == name.as_str()));
    let misfits: Vec<String> = unknown.map(|name| format!("the file has no column \"{}\"", shorten(name))).collect();
    if !misfits.is_empty() {
        return Err(DataError::Misfit(shorten_list(misfits)).into());
    }
    let asked_for = |index: &usize| columns.iter().any(|name| name == fields[*index].name());
    Ok((0..fields.len()).filter(asked_for).collect())
}

/// Values of a fixed length are copied for each row that has them.
fn check_widths(file: &File, described: &SchemaDescriptor, leaves: &[usize]) -> Result<(), Halt> {
    let fixed = leaves.iter().map(|leaf| described.column(*leaf));
    for column in fixed.filter(|column| column.physical_type() == Physical::FIXED_LEN_BYTE_ARRAY) {
        let (width, limit) = (column.type_length(), file.memory_max / VALUE_SHARE);
        if width < 1 {
            return Err(malformed(format!("the values of column {} have {width} bytes", column.path()), file.data_end).into());
        }
        if width.unsigned_abs() as usize > limit {
            return Err(too_large("a value of the Parquet file", limit, file.data_end).into());
        }
    }
    Ok(())
}

/// The chosen columns with annotations that the crate reads without loss.
fn readable_root(described: &SchemaDescriptor, chosen: &[usize]) -> Result<SchemaDescriptor, ParquetError> {
    let root = described.root_schema();
    let fields = chosen.iter().map(|index| readable(&root.get_fields()[*index]));
    let fields = fields.collect::<Result<_, _>>()?;
    Ok(SchemaDescriptor::new(Arc::new(Type::group_type_builder(root.name()).with_fields(fields).build()?)))
}

/// Strings of all kinds become plain strings, which are checked to be UTF-8; an interval becomes its bytes, because the crate would drop
/// its months.
fn readable(node: &TypePtr) -> Result<TypePtr, ParquetError> {
    let info = node.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if node.is_group() {
        let fields = node.get_fields().iter().map(readable).collect::<Result<_, _>>()?;
        let group = Type::group_type_builder(node.name())
            .with_repetition(info.repetition())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(fields)
            .with_id(id);
        return Ok(Arc::new(group.build()?));
    }
    let builder = Type::primitive_type_builder(node.name(), node.get_physical_type())
        .with_repetition(info.repetition())
        .with_id(id);
    match (node.get_physical_type(), info.converted_type()) {
        (Physical::BYTE_ARRAY, ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM) => {
            Ok(Arc::new(builder.with_logical_type(Some(LogicalType::String)).build()?))
        }
        (Physical::FIXED_LEN_BYTE_ARRAY, ConvertedType::INTERVAL) => Ok(Arc::new(builder.with_length(INTERVAL_BYTES).build()?)),
        _ => Ok(Arc::clone(node)),
    }
}

fn with_type(field: &FieldRef, data_type: DataType) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// What a column of the type `plain` is read as. `leaves` are the columns of the file, in the order in which they are met here.
fn reading_type(plain: &DataType, hint: Option<&DataType>, zoned: bool, leaves: &mut Iter<'_, ColumnDescPtr>) -> DataType {
    let inner = |hint: Option<&DataType>| match hint {
        Some(DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) | DataType::Map(field, _)) => {
            Some(field.data_type().clone())
        }
        _ => None,
    };
    match plain {
        DataType::Struct(fields) => {
            let hints = hint.and_then(|hint| match hint {
                DataType::Struct(hints) if hints.len() == fields.len() => Some(hints),
                _ => None,
            });
            let typed = fields.iter().enumerate().map(|(index, field)| {
                let hint = hints.map(|hints| hints[index].data_type());
                with_type(field, reading_type(field.data_type(), hint, false, leaves))
            });
            DataType::Struct(typed.collect())
        }
        DataType::List(field) => DataType::List(with_type(field, reading_type(field.data_type(), inner(hint).as_ref(), false, leaves))),
        DataType::Map(field, sorted) => {
            DataType::Map(with_type(field, reading_type(field.data_type(), inner(hint).as_ref(), false, leaves)), *sorted)
        }
        leaf => leaf_type(leaf, hint, zoned, leaves.next()),
    }
}

fn leaf_type(plain: &DataType, hint: Option<&DataType>, zoned: bool, column: Option<&ColumnDescPtr>) -> DataType {
    let is_int96 = column.is_some_and(|column| column.physical_type() == Physical::INT96);
    match (plain, hint) {
        (DataType::Utf8, _) => DataType::Utf8View,
        (DataType::Binary, _) => DataType::BinaryView,
        // It has no zone, and nanoseconds would reach from 1677 to 2262 only.
        (DataType::Timestamp(TimeUnit::Nanosecond, None), _) if is_int96 => {
            DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| "UTC".into()))
        }
        (DataType::Int64, Some(hint @ (DataType::Duration(_) | DataType::Timestamp(..) | DataType::Time64(_) | DataType::Date64))) => {
            hint.clone()
        }
        (DataType::Int32, Some(hint @ DataType::Time32(_))) => hint.clone(),
        _ => plain.clone(),
    }
}

/// Intervals are passed on as what they are.
fn passed_on(described: &SchemaDescriptor, fields: &Fields) -> Fields {
    let is_interval = |name: &str| {
        let mut nodes = described.root_schema().get_fields().iter();
        nodes.any(|node| node.name() == name && node.is_primitive() && node.get_basic_info().converted_type() == ConvertedType::INTERVAL)
    };
    let fields = fields.iter().map(|field| match field.data_type() {
        DataType::FixedSizeBinary(INTERVAL_BYTES) if is_interval(field.name()) => {
            with_type(field, DataType::Interval(IntervalUnit::MonthDayNano))
        }
        _ => Arc::clone(field),
    });
    fields.collect()
}

fn read_intervals(intervals: &FixedSizeBinaryArray) -> Result<ArrayRef, String> {
    let read = |bytes: &[u8]| {
        let [months, days, millis] =
            [0, 4, 8].map(|at| bytes.get(at..).and_then(<[u8]>::first_chunk).map(|part| u32::from_le_bytes(*part)));
        let natural = |part: Option<u32>| part.and_then(|part| i32::try_from(part).ok());
        Some(IntervalMonthDayNano::new(natural(months)?, natural(days)?, i64::from(millis?) * NANOS_PER_MILLI))
    };
    let read = |bytes| read(bytes).ok_or_else(|| "an interval is out of range".to_owned());
    let intervals = intervals.iter().map(|bytes| bytes.map(read).transpose());
    Ok(Arc::new(intervals.collect::<Result<IntervalMonthDayNanoArray, String>>()?))
}

/// Whether all strings are UTF-8, also inside of nested columns.
fn is_text(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Utf8View => {
            let strings = array.as_string_view();
            (0..strings.len()).all(|index| strings.is_null(index) || std::str::from_utf8(strings.value(index).as_bytes()).is_ok())
        }
        DataType::Struct(_) => array.as_struct().columns().iter().all(|column| is_text(column)),
        DataType::List(_) => is_text(array.as_list::<i32>().values()),
        DataType::Map(..) => is_text(array.as_map().entries()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::metadata::{FileMetaData, ParquetMetaData};
    use parquet::schema::parser::parse_message_type;

    use super::super::spool::Spools;
    use super::*;
    use crate::config;

    fn file(message: &str) -> File {
        let schema = SchemaDescriptor::new(Arc::new(parse_message_type(message).unwrap()));
        let metadata = ParquetMetaData::new(FileMetaData::new(2, 0, None, None, Arc::new(schema), None), Vec::new());
        let settings = config::Spool { dir: std::env::temp_dir(), ..config::Spool::default() };
        let spool = Arc::new(Spools::new(settings).open().unwrap());
        File { spool, metadata, data_end: 4, memory_max: 1 << 20 }
    }

    #[test]
    fn annotations_are_read_as_what_they_mean() {
        let file = file(
            "message m { required binary plain; required binary text (STRING); required binary kind (ENUM); optional binary json (JSON); \
             required binary bson (BSON); required fixed_len_byte_array(12) span (INTERVAL); required fixed_len_byte_array(12) bytes; \
             required int96 wall; required int96 at; required fixed_len_byte_array(16) id (UUID); \
             required int64 fine (TIMESTAMP(NANOS,false)); repeated binary many (STRING); \
             optional group list (LIST) { repeated group list { optional binary element (ENUM); } } }",
        );
        let plan = Plan::new(&file, None, |name| name == "at").unwrap();
        let types: Vec<String> = plan.schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        let expected = [
            "BinaryView",
            "Utf8View",
            "Utf8View",
            "Utf8View",
            "BinaryView",
            "Interval(MonthDayNano)",
            "FixedSizeBinary(12)",
            "Timestamp(µs)",
            "Timestamp(µs, \"UTC\")",
            "FixedSizeBinary(16)",
            "Timestamp(ns)",
            "List(non-null Utf8View, field: 'many')",
            "List(Utf8View, field: 'element')",
        ];
        assert_eq!(types, expected);
    }

    #[test]
    fn columns_are_read_in_the_order_of_the_file() {
        let file = file("message m { required int32 a; required group g { required int32 x; required int32 y; } required int32 b; }");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let plan = Plan::new(&file, Some(&names(&["b", "g"])), |_| false).unwrap();
        assert_eq!(plan.leaves, [1, 2, 3]);
        let read: Vec<&str> = plan.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(read, ["g", "b"]);
        let Err(Halt::Data(DataError::Misfit(misfits))) = Plan::new(&file, Some(&names(&["x", "a", "z"])), |_| false) else {
            panic!("columns that are not there were found");
        };
        assert_eq!(misfits.len(), 2);
    }

    #[test]
    fn values_of_a_fixed_length_are_not_endless() {
        let wide = |bytes: i32| Plan::new(&file(&format!("message m {{ required fixed_len_byte_array({bytes}) a; }}")), None, |_| false);
        assert!(wide(65_536).is_ok());
        assert!(matches!(wide(65_537), Err(Halt::Data(DataError::TooLarge { .. }))));
        assert!(matches!(wide(0), Err(Halt::Data(DataError::Malformed { .. }))));
    }
}
