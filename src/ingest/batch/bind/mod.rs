//! Which Arrow type goes into which PostgreSQL type, and how: one place decides and does it. `docs/ARROW.md` is what it decides.
//!
//! The target decides first. A source either goes in without loss, value by value where ranges differ, or does not go in at all. Text
//! goes into every type, read as in CSV.

mod json;
mod literal;
mod nested;
#[cfg(test)]
mod page;
mod scalar;
mod temporal;

use std::cell::Cell;

use arrow::array::{Array, AsArray, GenericByteArray, GenericByteViewArray, RunArray};
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, ByteArrayType, ByteViewType, DataType, Int8Type, Int16Type, Int32Type, Int64Type,
    RunEndIndexType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

pub(super) use self::literal::{Render, render};
use crate::encode::{Dialect, FieldError, Kind, RowWriter, check_text, text_field, text_value};

/// Writes the value at an index, which is not NULL.
pub(super) type Append<'a> = Box<dyn Fn(usize, &mut RowWriter) -> Result<(), FieldError> + 'a>;

/// What bounds and settles all values of a load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub(super) dialect: Dialect,
    /// what one value may take: a nested one can be much larger than its message
    pub(super) value_bytes_max: usize,
}

impl Context {
    /// Holds a value that grows to its limit.
    fn check_size(self, bytes: usize) -> Result<(), FieldError> {
        if bytes <= self.value_bytes_max {
            return Ok(());
        }
        let limit = self.value_bytes_max;
        Err(FieldError::refused("54000", format!("the value is larger than the limit of {limit} bytes")))
    }
}

/// The way from an array into a column of a kind; `None` where there is none.
pub(super) fn bind<'a>(kind: &'a Kind, array: &'a dyn Array, context: Context) -> Option<Append<'a>> {
    if let Some((values, place)) = indirect(array) {
        let values = bind(kind, values, context)?;
        return Some(Box::new(move |index, row| values(place(index), row)));
    }
    if let DataType::Null = array.data_type() {
        // Every value is NULL and never asked for.
        return Some(Box::new(|_, _| Ok(())));
    }
    if let Some(append) = from_text(kind, array, context.dialect) {
        return Some(append);
    }
    match kind {
        Kind::Bool => scalar::boolean(array),
        Kind::Int2 => scalar::integer(array, "smallint", |v| i16::try_from(v).map(i16::to_be_bytes).ok()),
        Kind::Int4 => scalar::integer(array, "integer", |v| i32::try_from(v).map(i32::to_be_bytes).ok()),
        Kind::Int8 => scalar::integer(array, "bigint", |v| i64::try_from(v).map(i64::to_be_bytes).ok()),
        Kind::Oid => scalar::integer(array, "oid", |v| u32::try_from(v).map(u32::to_be_bytes).ok()),
        Kind::Float4 => scalar::float4(array),
        Kind::Float8 => scalar::float8(array),
        Kind::Numeric(limit) => scalar::numeric(array, *limit, context.dialect),
        Kind::Bytea => scalar::bytea(array),
        Kind::Uuid => scalar::uuid(array),
        Kind::Date => temporal::date(array),
        Kind::Time => temporal::time(array),
        Kind::Timestamp => temporal::timestamp(array),
        Kind::Timestamptz => temporal::timestamptz(array),
        Kind::Interval => temporal::interval(array),
        Kind::Json => json::bind(array, false, context),
        Kind::Jsonb => json::bind(array, true, context),
        Kind::Hstore => nested::hstore(array, context),
        Kind::Array(element) => nested::array(element, array, context),
        Kind::Composite(attributes) => nested::composite(attributes, array, context),
        _ => None,
    }
}

/// From the index of a value to its place among the values that are written once.
type Place<'a> = Box<dyn Fn(usize) -> usize + 'a>;

/// Arrays whose values lie in another one: dictionaries and runs.
fn indirect<'a>(array: &'a dyn Array) -> Option<(&'a dyn Array, Place<'a>)> {
    fn key<'a, K: ArrowDictionaryKeyType>(array: &'a dyn Array) -> Place<'a> {
        let keys = array.as_dictionary::<K>().keys();
        Box::new(move |index| keys.value(index).as_usize())
    }
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let place = match dictionary.keys().data_type() {
            DataType::Int8 => key::<Int8Type>(array),
            DataType::Int16 => key::<Int16Type>(array),
            DataType::Int32 => key::<Int32Type>(array),
            DataType::Int64 => key::<Int64Type>(array),
            DataType::UInt8 => key::<UInt8Type>(array),
            DataType::UInt16 => key::<UInt16Type>(array),
            DataType::UInt32 => key::<UInt32Type>(array),
            DataType::UInt64 => key::<UInt64Type>(array),
            _ => return None,
        };
        return Some((dictionary.values().as_ref(), place));
    }
    let values = array.as_any_ree_opt()?.values().as_ref();
    let DataType::RunEndEncoded(ends, _) = array.data_type() else {
        return None;
    };
    let place = match ends.data_type() {
        DataType::Int16 => run(array.as_run::<Int16Type>()),
        DataType::Int32 => run(array.as_run::<Int32Type>()),
        DataType::Int64 => run(array.as_run::<Int64Type>()),
        _ => return None,
    };
    Some((values, place))
}

/// Rows are asked for in their order, so the run of the last one is nearly always that of the next.
fn run<R: RunEndIndexType>(array: &RunArray<R>) -> Place<'_> {
    let (ends, offset) = (array.run_ends().values(), array.run_ends().offset());
    let end = |run: usize| ends.get(run).map_or(usize::MAX, |end| end.as_usize());
    let last = Cell::new(0);
    Box::new(move |index| {
        let (run, wanted) = (last.get(), index + offset);
        let starts_before = run == 0 || end(run - 1) <= wanted;
        if !starts_before || end(run) <= wanted {
            last.set(ends.partition_point(|end| end.as_usize() <= wanted));
        }
        last.get()
    })
}

fn from_text<'a>(kind: &'a Kind, array: &'a dyn Array, dialect: Dialect) -> Option<Append<'a>> {
    match array.data_type() {
        DataType::Utf8 => Some(text(kind, dialect, bytes_of(array.as_string::<i32>()))),
        DataType::LargeUtf8 => Some(text(kind, dialect, bytes_of(array.as_string::<i64>()))),
        DataType::Utf8View => Some(text(kind, dialect, view_of(array.as_string_view()))),
        _ => None,
    }
}

/// A string of an array of strings.
type Strings<'a> = Box<dyn Fn(usize) -> &'a [u8] + 'a>;

/// The strings of an array, where it has some.
fn strings(array: &dyn Array) -> Option<Strings<'_>> {
    match array.data_type() {
        DataType::Utf8 => Some(Box::new(bytes_of(array.as_string::<i32>()))),
        DataType::LargeUtf8 => Some(Box::new(bytes_of(array.as_string::<i64>()))),
        DataType::Utf8View => Some(Box::new(view_of(array.as_string_view()))),
        _ => None,
    }
}

fn bytes_of<'a, T: ByteArrayType>(array: &'a GenericByteArray<T>) -> impl Fn(usize) -> &'a [u8] {
    move |index| array.value(index).as_ref()
}

fn view_of<'a, T: ByteViewType>(array: &'a GenericByteViewArray<T>) -> impl Fn(usize) -> &'a [u8] {
    move |index| array.value(index).as_ref()
}

fn text<'a>(kind: &'a Kind, dialect: Dialect, get: impl Fn(usize) -> &'a [u8] + 'a) -> Append<'a> {
    Box::new(move |index, out| {
        let value = get(index);
        check_nul(value)?;
        if kind.is_text() { text_value(kind, value, out) } else { text_field(kind, dialect, value, out) }
    })
}

/// Arrow's own check has made sure of UTF-8; a NUL is legal there and not in PostgreSQL.
fn check_nul(value: &[u8]) -> Result<(), FieldError> {
    match memchr::memchr(0, value) {
        Some(_) => check_text(value).map_err(|(_, error)| error),
        None => Ok(()),
    }
}
