//! Booleans, numbers, bytes.

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};

use super::{Append, bytes_of, view_of};
use crate::encode::{Decimal, Dialect, FieldError, Kind, text_field};

/// The same expression for every type of integer: which one it is costs nothing per value.
macro_rules! for_integer {
    ($array:expr, $typed:ident => $way:expr) => {
        match $array.data_type() {
            DataType::Int8 => for_integer!(@ $array, Int8Type, $typed => $way),
            DataType::Int16 => for_integer!(@ $array, Int16Type, $typed => $way),
            DataType::Int32 => for_integer!(@ $array, Int32Type, $typed => $way),
            DataType::Int64 => for_integer!(@ $array, Int64Type, $typed => $way),
            DataType::UInt8 => for_integer!(@ $array, UInt8Type, $typed => $way),
            DataType::UInt16 => for_integer!(@ $array, UInt16Type, $typed => $way),
            DataType::UInt32 => for_integer!(@ $array, UInt32Type, $typed => $way),
            DataType::UInt64 => for_integer!(@ $array, UInt64Type, $typed => $way),
            _ => None,
        }
    };
    (@ $array:expr, $type:ty, $typed:ident => $way:expr) => {{
        let $typed = $array.as_primitive::<$type>();
        $way
    }};
}

/// A way that converts each value by itself.
pub(super) fn primitive<'a, T: ArrowPrimitiveType, const N: usize>(
    array: &'a PrimitiveArray<T>,
    convert: impl Fn(T::Native) -> Result<[u8; N], FieldError> + 'a,
) -> Option<Append<'a>> {
    Some(Box::new(move |index, out| {
        out.put(&convert(array.value(index))?);
        Ok(())
    }))
}

/// Integers are what COPY reads them as: 0 and 1 only.
pub(super) fn boolean(array: &dyn Array) -> Option<Append<'_>> {
    if let Some(array) = array.as_boolean_opt() {
        return Some(Box::new(move |index, out| {
            out.put(&[u8::from(array.value(index))]);
            Ok(())
        }));
    }
    let convert = |value: i128| match value {
        0 | 1 => Ok([value as u8]),
        _ => Err(FieldError::refused("22P02", "invalid input syntax for type boolean")),
    };
    for_integer!(array, typed => primitive(typed, move |value| convert(value.into())))
}

/// Integers within the target's range, and decimals that are whole numbers within it.
pub(super) fn integer<'a, const N: usize>(
    array: &'a dyn Array,
    type_name: &'static str,
    narrow: impl Fn(i128) -> Option<[u8; N]> + Copy + 'a,
) -> Option<Append<'a>> {
    let narrow = move |value: i128| narrow(value).ok_or_else(|| range(type_name));
    let exact = move |value, scale| narrow(whole(value, scale).ok_or_else(|| fractional(type_name))?);
    match *array.data_type() {
        DataType::Decimal32(_, scale) => primitive(array.as_primitive::<Decimal32Type>(), move |v| exact(v.into(), scale)),
        DataType::Decimal64(_, scale) => primitive(array.as_primitive::<Decimal64Type>(), move |v| exact(v.into(), scale)),
        DataType::Decimal128(_, scale) => primitive(array.as_primitive::<Decimal128Type>(), move |v| exact(v, scale)),
        DataType::Decimal256(_, scale) => primitive(array.as_primitive::<Decimal256Type>(), move |v| {
            let value = whole_wide(v, scale).ok_or_else(|| fractional(type_name))?;
            narrow(value.to_i128().ok_or_else(|| range(type_name))?)
        }),
        _ => for_integer!(array, typed => primitive(typed, move |value| narrow(value.into()))),
    }
}

/// The integer that a decimal is; too large a one is cut to the largest, which no column takes.
fn whole(unscaled: i128, scale: i8) -> Option<i128> {
    match 10i128.checked_pow(scale.unsigned_abs().into()) {
        Some(power) if scale < 0 => Some(unscaled.saturating_mul(power)),
        Some(power) => (unscaled % power == 0).then_some(unscaled / power),
        None if unscaled == 0 => Some(0),
        None if scale < 0 => Some(i128::MAX),
        None => None,
    }
}

fn whole_wide(unscaled: i256, scale: i8) -> Option<i256> {
    match i256::from_i128(10).checked_pow(scale.unsigned_abs().into()) {
        Some(power) if scale < 0 => Some(unscaled.checked_mul(power).unwrap_or(i256::MAX)),
        Some(power) => (unscaled.checked_rem(power)? == i256::ZERO).then_some(unscaled.checked_div(power)?),
        None if unscaled == i256::ZERO => Some(unscaled),
        None if scale < 0 => Some(i256::MAX),
        None => None,
    }
}

fn range(type_name: &str) -> FieldError {
    FieldError::refused("22003", format!("value is out of range for type {type_name}"))
}

fn fractional(type_name: &str) -> FieldError {
    FieldError::refused("22P02", format!("type {type_name} takes whole numbers only"))
}

fn inexact(type_name: &str) -> FieldError {
    FieldError::refused("22003", format!("type {type_name} cannot hold the value exactly"))
}

/// Whatever is just one of its values.
pub(super) fn float4(array: &dyn Array) -> Option<Append<'_>> {
    match array.data_type() {
        DataType::Float16 => primitive(array.as_primitive::<Float16Type>(), |v| Ok(v.to_f32().to_be_bytes())),
        DataType::Float32 => primitive(array.as_primitive::<Float32Type>(), |v| Ok(v.to_be_bytes())),
        DataType::Float64 => primitive(array.as_primitive::<Float64Type>(), |v| {
            let narrow = v as f32;
            if f64::from(narrow) == v || v.is_nan() { Ok(narrow.to_be_bytes()) } else { Err(inexact("real")) }
        }),
        _ => for_integer!(array, typed => primitive(typed, |value| {
            let narrow = value as f32;
            if narrow as i128 == i128::from(value) { Ok(narrow.to_be_bytes()) } else { Err(inexact("real")) }
        })),
    }
}

/// Whatever is just one of its values.
pub(super) fn float8(array: &dyn Array) -> Option<Append<'_>> {
    match array.data_type() {
        DataType::Float16 => primitive(array.as_primitive::<Float16Type>(), |v| Ok(v.to_f64().to_be_bytes())),
        DataType::Float32 => primitive(array.as_primitive::<Float32Type>(), |v| Ok(f64::from(v).to_be_bytes())),
        DataType::Float64 => primitive(array.as_primitive::<Float64Type>(), |v| Ok(v.to_be_bytes())),
        _ => for_integer!(array, typed => primitive(typed, |value| {
            let float = value as f64;
            if float as i128 == i128::from(value) { Ok(float.to_be_bytes()) } else { Err(inexact("double precision")) }
        })),
    }
}

/// Decimals of every width, integers, and floats by their shortest digits.
pub(super) fn numeric(array: &dyn Array, limit: Option<(u16, i16)>, dialect: Dialect) -> Option<Append<'_>> {
    match *array.data_type() {
        DataType::Decimal32(_, scale) => decimal(limit, scale, array.as_primitive::<Decimal32Type>()),
        DataType::Decimal64(_, scale) => decimal(limit, scale, array.as_primitive::<Decimal64Type>()),
        DataType::Decimal128(_, scale) => decimal(limit, scale, array.as_primitive::<Decimal128Type>()),
        DataType::Decimal256(_, scale) => {
            let array = array.as_primitive::<Decimal256Type>();
            Some(Box::new(move |index, out| {
                let unscaled = array.value(index);
                out.put_with(|out| Decimal { unscaled, scale }.write(limit, out))
            }))
        }
        DataType::Float16 => shortest(limit, dialect, array.as_primitive::<Float16Type>()),
        DataType::Float32 => shortest(limit, dialect, array.as_primitive::<Float32Type>()),
        DataType::Float64 => shortest(limit, dialect, array.as_primitive::<Float64Type>()),
        _ => for_integer!(array, typed => decimal(limit, 0, typed)),
    }
}

fn decimal<T: ArrowPrimitiveType>(limit: Option<(u16, i16)>, scale: i8, array: &PrimitiveArray<T>) -> Option<Append<'_>>
where
    T::Native: Into<i128>,
{
    Some(Box::new(move |index, out| {
        let unscaled = array.value(index).into();
        out.put_with(|out| Decimal::<i128> { unscaled, scale }.write(limit, out))
    }))
}

/// The shortest decimal that reads back as the same number, as in PostgreSQL's own text form of a float.
fn shortest<T: ArrowPrimitiveType>(limit: Option<(u16, i16)>, dialect: Dialect, array: &PrimitiveArray<T>) -> Option<Append<'_>>
where
    T::Native: std::fmt::Display,
{
    let kind = Kind::Numeric(limit);
    Some(Box::new(move |index, out| {
        text_field(&kind, dialect, array.value(index).to_string().as_bytes(), out)
    }))
}

pub(super) fn bytea(array: &dyn Array) -> Option<Append<'_>> {
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

/// Sixteen bytes, which is also how the extension type `arrow.uuid` is stored.
pub(super) fn uuid(array: &dyn Array) -> Option<Append<'_>> {
    match array.data_type() {
        DataType::FixedSizeBinary(16) => bytea(array),
        _ => None,
    }
}
