//! Which Arrow type goes into which PostgreSQL type, and how: one place decides and does it.
//!
//! The target decides first. A source either goes in without loss, value by value where ranges differ, or does not go in at all. Text
//! goes into every type, read as in CSV.

use arrow::array::{
    Array, AsArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, GenericByteArray, GenericByteViewArray, PrimitiveArray,
};
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, ArrowPrimitiveType, ByteArrayType, ByteViewType, DataType, Date32Type, Date64Type,
    Decimal32Type, Decimal64Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use crate::encode::{
    DATE_EPOCH_DAYS, Decimal, Dialect, FieldError, Kind, RowWriter, TIMESTAMP_EPOCH_MICROS, check_date_days, check_text,
    check_timestamp_micros, text_field, text_value,
};

/// Writes the value at an index, which is not NULL.
pub(super) type Append<'a> = Box<dyn Fn(usize, &mut RowWriter) -> Result<(), FieldError> + 'a>;

/// The way from an array into a column; `None` where there is none.
pub(super) fn bind<'a>(kind: &'a Kind, array: &'a dyn Array, dialect: Dialect) -> Option<Append<'a>> {
    match array.data_type() {
        DataType::Dictionary(..) => return dictionary(kind, array, dialect),
        // A column of nothing: every value is NULL and never asked for.
        DataType::Null => return Some(Box::new(|_, _| Ok(()))),
        _ => {}
    }
    if let Some(append) = from_text(kind, array, dialect) {
        return Some(append);
    }
    match *kind {
        Kind::Bool => array.as_boolean_opt().map(boolean),
        Kind::Int2 => integer(array, "smallint", |v| i16::try_from(v).map(i16::to_be_bytes).ok()),
        Kind::Int4 => integer(array, "integer", |v| i32::try_from(v).map(i32::to_be_bytes).ok()),
        Kind::Int8 => integer(array, "bigint", |v| i64::try_from(v).map(i64::to_be_bytes).ok()),
        Kind::Float4 => float4(array),
        Kind::Float8 => float8(array),
        Kind::Numeric(limit) => numeric(array, limit, dialect),
        Kind::Bytea => bytea(array),
        Kind::Date => date(array),
        Kind::Time => time(array),
        Kind::Timestamp => timestamp(array, false),
        Kind::Timestamptz => timestamp(array, true),
        Kind::Uuid => uuid(array),
        _ => None,
    }
}

/// Each distinct value has its place in the dictionary; a key leads there.
fn dictionary<'a>(kind: &'a Kind, array: &'a dyn Array, dialect: Dialect) -> Option<Append<'a>> {
    let dictionary = array.as_any_dictionary_opt()?;
    let values = bind(kind, dictionary.values().as_ref(), dialect)?;
    Some(match dictionary.keys().data_type() {
        DataType::Int8 => by_key::<Int8Type>(array, values),
        DataType::Int16 => by_key::<Int16Type>(array, values),
        DataType::Int32 => by_key::<Int32Type>(array, values),
        DataType::Int64 => by_key::<Int64Type>(array, values),
        DataType::UInt8 => by_key::<UInt8Type>(array, values),
        DataType::UInt16 => by_key::<UInt16Type>(array, values),
        DataType::UInt32 => by_key::<UInt32Type>(array, values),
        DataType::UInt64 => by_key::<UInt64Type>(array, values),
        _ => return None,
    })
}

fn by_key<'a, K: ArrowDictionaryKeyType>(array: &'a dyn Array, values: Append<'a>) -> Append<'a> {
    let keys = array.as_dictionary::<K>().keys();
    Box::new(move |index, out| values(keys.value(index).as_usize(), out))
}

fn from_text<'a>(kind: &'a Kind, array: &'a dyn Array, dialect: Dialect) -> Option<Append<'a>> {
    match array.data_type() {
        DataType::Utf8 => Some(text(kind, dialect, bytes_of(array.as_string::<i32>()))),
        DataType::LargeUtf8 => Some(text(kind, dialect, bytes_of(array.as_string::<i64>()))),
        DataType::Utf8View => Some(text(kind, dialect, view_of(array.as_string_view()))),
        _ => None,
    }
}

fn bytes_of<'a, T: ByteArrayType>(array: &'a GenericByteArray<T>) -> impl Fn(usize) -> &'a [u8] {
    move |index| array.value(index).as_ref()
}

fn view_of<'a, T: ByteViewType>(array: &'a GenericByteViewArray<T>) -> impl Fn(usize) -> &'a [u8] {
    move |index| array.value(index).as_ref()
}

/// Arrow's own check has made sure of UTF-8; a NUL is legal there and not in PostgreSQL.
fn text<'a>(kind: &'a Kind, dialect: Dialect, get: impl Fn(usize) -> &'a [u8] + 'a) -> Append<'a> {
    Box::new(move |index, out| {
        let value = get(index);
        if memchr::memchr(0, value).is_some() {
            return check_text(value).map_err(|(_, error)| error);
        }
        if kind.is_text() { text_value(kind, value, out) } else { text_field(kind, dialect, value, out) }
    })
}

fn boolean(array: &BooleanArray) -> Append<'_> {
    Box::new(move |index, out| {
        out.put(&[u8::from(array.value(index))]);
        Ok(())
    })
}

/// Any integer, as wide as they come.
fn each_integer<'a>(array: &'a dyn Array) -> Option<Box<dyn Fn(usize) -> i128 + 'a>> {
    fn get<'a, T: ArrowPrimitiveType>(array: &'a dyn Array) -> Box<dyn Fn(usize) -> i128 + 'a>
    where
        T::Native: Into<i128>,
    {
        let array = array.as_primitive::<T>();
        Box::new(move |index| array.value(index).into())
    }
    Some(match array.data_type() {
        DataType::Int8 => get::<Int8Type>(array),
        DataType::Int16 => get::<Int16Type>(array),
        DataType::Int32 => get::<Int32Type>(array),
        DataType::Int64 => get::<Int64Type>(array),
        DataType::UInt8 => get::<UInt8Type>(array),
        DataType::UInt16 => get::<UInt16Type>(array),
        DataType::UInt32 => get::<UInt32Type>(array),
        DataType::UInt64 => get::<UInt64Type>(array),
        _ => return None,
    })
}

fn integer<'a, const N: usize>(
    array: &'a dyn Array,
    type_name: &'static str,
    narrow: impl Fn(i128) -> Option<[u8; N]> + 'a,
) -> Option<Append<'a>> {
    let get = each_integer(array)?;
    Some(Box::new(move |index, out| {
        let value = narrow(get(index));
        let bytes = value.ok_or_else(|| FieldError::refused("22003", format!("value is out of range for type {type_name}")))?;
        out.put(&bytes);
        Ok(())
    }))
}

fn primitive<'a, T: ArrowPrimitiveType, const N: usize>(
    array: &'a PrimitiveArray<T>,
    convert: impl Fn(T::Native) -> Result<[u8; N], FieldError> + 'a,
) -> Option<Append<'a>> {
    Some(Box::new(move |index, out| {
        out.put(&convert(array.value(index))?);
        Ok(())
    }))
}

fn float4(array: &dyn Array) -> Option<Append<'_>> {
    match array.data_type() {
        DataType::Float16 => primitive(array.as_primitive::<Float16Type>(), |v| Ok(v.to_f32().to_be_bytes())),
        DataType::Float32 => primitive(array.as_primitive::<Float32Type>(), |v| Ok(v.to_be_bytes())),
        DataType::Int8 => primitive(array.as_primitive::<Int8Type>(), |v| Ok(f32::from(v).to_be_bytes())),
        DataType::Int16 => primitive(array.as_primitive::<Int16Type>(), |v| Ok(f32::from(v).to_be_bytes())),
        DataType::UInt8 => primitive(array.as_primitive::<UInt8Type>(), |v| Ok(f32::from(v).to_be_bytes())),
        DataType::UInt16 => primitive(array.as_primitive::<UInt16Type>(), |v| Ok(f32::from(v).to_be_bytes())),
        _ => None,
    }
}

fn float8(array: &dyn Array) -> Option<Append<'_>> {
    match array.data_type() {
        DataType::Float16 => primitive(array.as_primitive::<Float16Type>(), |v| Ok(v.to_f64().to_be_bytes())),
        DataType::Float32 => primitive(array.as_primitive::<Float32Type>(), |v| Ok(f64::from(v).to_be_bytes())),
        DataType::Float64 => primitive(array.as_primitive::<Float64Type>(), |v| Ok(v.to_be_bytes())),
        DataType::Int8 => primitive(array.as_primitive::<Int8Type>(), |v| Ok(f64::from(v).to_be_bytes())),
        DataType::Int16 => primitive(array.as_primitive::<Int16Type>(), |v| Ok(f64::from(v).to_be_bytes())),
        DataType::Int32 => primitive(array.as_primitive::<Int32Type>(), |v| Ok(f64::from(v).to_be_bytes())),
        DataType::UInt8 => primitive(array.as_primitive::<UInt8Type>(), |v| Ok(f64::from(v).to_be_bytes())),
        DataType::UInt16 => primitive(array.as_primitive::<UInt16Type>(), |v| Ok(f64::from(v).to_be_bytes())),
        DataType::UInt32 => primitive(array.as_primitive::<UInt32Type>(), |v| Ok(f64::from(v).to_be_bytes())),
        _ => None,
    }
}

fn numeric(array: &dyn Array, limit: Option<(u16, i16)>, dialect: Dialect) -> Option<Append<'_>> {
    let kind = Kind::Numeric(limit);
    match *array.data_type() {
        DataType::Decimal32(_, scale) => {
            let array = array.as_primitive::<Decimal32Type>();
            Some(decimal(limit, scale, move |index| array.value(index).into()))
        }
        DataType::Decimal64(_, scale) => {
            let array = array.as_primitive::<Decimal64Type>();
            Some(decimal(limit, scale, move |index| array.value(index).into()))
        }
        DataType::Decimal128(_, scale) => {
            let array: &Decimal128Array = array.as_primitive();
            Some(decimal(limit, scale, move |index| array.value(index)))
        }
        DataType::Decimal256(_, scale) => {
            let array = array.as_primitive::<Decimal256Type>();
            Some(Box::new(move |index, out| {
                let unscaled = array.value(index);
                out.put_with(|out| Decimal { unscaled, scale }.write(limit, out))
            }))
        }
        // The shortest decimal that reads back as the same number, as in PostgreSQL's own text form of a float.
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            Some(Box::new(move |index, out| {
                text_field(&kind, dialect, array.value(index).to_string().as_bytes(), out)
            }))
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            Some(Box::new(move |index, out| {
                text_field(&kind, dialect, array.value(index).to_string().as_bytes(), out)
            }))
        }
        _ => Some(decimal(limit, 0, each_integer(array)?)),
    }
}

fn decimal<'a>(limit: Option<(u16, i16)>, scale: i8, get: impl Fn(usize) -> i128 + 'a) -> Append<'a> {
    Box::new(move |index, out| {
        let unscaled = get(index);
        out.put_with(|out| Decimal { unscaled, scale }.write(limit, out))
    })
}

fn bytea(array: &dyn Array) -> Option<Append<'_>> {
    fn put<'a>(get: impl Fn(usize) -> &'a [u8] + 'a) -> Option<Append<'a>> {
        Some(Box::new(move |index, out| {
            out.put(get(index));
            Ok(())
        }))
    }
    match array.data_type() {
        DataType::Binary => put(bytes_of(array.as_binary::<i32>())),
        DataType::LargeBinary => put(bytes_of(array.as_binary::<i64>())),
        DataType::BinaryView => put(view_of(array.as_binary_view())),
        DataType::FixedSizeBinary(_) => {
            let array: &FixedSizeBinaryArray = array.as_fixed_size_binary();
            put(move |index| array.value(index))
        }
        _ => None,
    }
}

fn uuid(array: &dyn Array) -> Option<Append<'_>> {
    let array = array.as_fixed_size_binary_opt()?;
    (array.value_length() == 16).then(|| {
        let append: Append<'_> = Box::new(move |index, out: &mut RowWriter| {
            out.put(array.value(index));
            Ok(())
        });
        append
    })
}

fn date(array: &dyn Array) -> Option<Append<'_>> {
    const DAY_MILLIS: i64 = 86_400_000;
    let days = |days: i64| check_date_days(days - i64::from(DATE_EPOCH_DAYS)).map(i32::to_be_bytes);
    match array.data_type() {
        DataType::Date32 => primitive(array.as_primitive::<Date32Type>(), move |v| days(v.into())),
        DataType::Date64 => primitive(array.as_primitive::<Date64Type>(), move |millis| {
            if millis % DAY_MILLIS != 0 {
                return Err(inexact("date"));
            }
            days(millis / DAY_MILLIS)
        }),
        _ => None,
    }
}

fn time(array: &dyn Array) -> Option<Append<'_>> {
    const DAY_MICROS: i64 = 86_400_000_000;
    let check = |micros: i64| {
        if (0..=DAY_MICROS).contains(&micros) { Ok(micros.to_be_bytes()) } else { Err(FieldError::refused("22008", "time out of range")) }
    };
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => primitive(array.as_primitive::<Time32SecondType>(), move |v| check(i64::from(v) * 1_000_000)),
        DataType::Time32(TimeUnit::Millisecond) => {
            primitive(array.as_primitive::<Time32MillisecondType>(), move |v| check(i64::from(v) * 1000))
        }
        DataType::Time64(TimeUnit::Microsecond) => primitive(array.as_primitive::<Time64MicrosecondType>(), check),
        DataType::Time64(TimeUnit::Nanosecond) => {
            primitive(array.as_primitive::<Time64NanosecondType>(), move |v| check(whole_micros(v, "time")?))
        }
        _ => None,
    }
}

/// With a zone an Arrow timestamp is an instant, without one it is a wall clock's reading: neither goes into the other's type.
fn timestamp(array: &dyn Array, zoned: bool) -> Option<Append<'_>> {
    let DataType::Timestamp(unit, zone) = array.data_type() else {
        return None;
    };
    if zone.is_some() != zoned {
        return None;
    }
    let check = |micros: Option<i64>| {
        let since_2000 = micros.and_then(|micros| micros.checked_sub(TIMESTAMP_EPOCH_MICROS));
        check_timestamp_micros(since_2000.unwrap_or(i64::MIN)).map(i64::to_be_bytes)
    };
    match unit {
        TimeUnit::Second => primitive(array.as_primitive::<TimestampSecondType>(), move |v| check(v.checked_mul(1_000_000))),
        TimeUnit::Millisecond => primitive(array.as_primitive::<TimestampMillisecondType>(), move |v| check(v.checked_mul(1000))),
        TimeUnit::Microsecond => primitive(array.as_primitive::<TimestampMicrosecondType>(), move |v| check(Some(v))),
        TimeUnit::Nanosecond => {
            primitive(array.as_primitive::<TimestampNanosecondType>(), move |v| check(Some(whole_micros(v, "timestamp")?)))
        }
    }
}

fn whole_micros(nanos: i64, type_name: &str) -> Result<i64, FieldError> {
    if nanos % 1000 != 0 {
        return Err(inexact(type_name));
    }
    Ok(nanos / 1000)
}

fn inexact(type_name: &str) -> FieldError {
    let reason = format!("the value is finer than type {type_name} can hold");
    FieldError::refused("22008", reason)
}
