//! Into json and jsonb: structs and maps as objects, lists as arrays, numbers to their last digit, dates and times as ISO 8601.
//!
//! A string for the column itself is JSON already; a string in a list or a struct becomes one of JSON's.

use std::cell::RefCell;

use arrow::array::{Array, AsArray, StructArray};
use arrow::datatypes::DataType;

use super::nested::{Nullable, Pairs, list};
use super::{Append, Context, indirect, strings};
use crate::encode::{FieldError, Kind, RowWriter, show};

/// Writes the value at an index, which is not NULL.
type Json<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), FieldError> + 'a>;

/// `jsonb_recv` wants a version byte before the text.
pub(super) fn bind(array: &dyn Array, binary: bool, context: Context) -> Option<Append<'_>> {
    let json = json(array, context)?;
    let text = RefCell::new(Vec::new());
    Some(Box::new(move |index, row| {
        let mut text = text.borrow_mut();
        text.clear();
        json(index, &mut text)?;
        if binary {
            row.put_prefixed(1, &text)
        } else {
            row.put(&text)
        }
        Ok(())
    }))
}

fn json(array: &dyn Array, context: Context) -> Option<Json<'_>> {
    if let Some((values, place)) = indirect(array) {
        let values = json(values, context)?;
        return Some(Box::new(move |index, out| values(place(index), out)));
    }
    if let Some(strings) = strings(array) {
        return Some(Box::new(move |index, out| {
            string(strings(index), out);
            Ok(())
        }));
    }
    match array.data_type() {
        DataType::Null => Some(Box::new(|_, _| Ok(()))),
        DataType::Struct(_) => object(array.as_struct(), context),
        DataType::Map(..) => map(array, context),
        _ => match natural(array.data_type()) {
            Some(kind) => scalar(kind, array, context),
            None => elements(array, context),
        },
    }
}

impl Nullable<Json<'_>> {
    fn write(&self, index: usize, out: &mut Vec<u8>) -> Result<(), FieldError> {
        match self.get(index) {
            Some(json) => json(index, out),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        }
    }
}

fn elements(array: &dyn Array, context: Context) -> Option<Json<'_>> {
    let list = list(array)?;
    let values = list.values();
    let values = Nullable::new(values, json(values.as_ref(), context)?);
    Some(Box::new(move |index, out| {
        out.push(b'[');
        for (nth, at) in list.element_range(index).enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            values.write(at, out)?;
            context.check_size(out.len())?;
        }
        out.push(b']');
        Ok(())
    }))
}

/// A name that comes twice would lose a value.
fn object(array: &StructArray, context: Context) -> Option<Json<'_>> {
    let mut fields = Vec::with_capacity(array.num_columns());
    for (field, values) in array.fields().iter().zip(array.columns()) {
        let mut name = Vec::new();
        string(field.name().as_bytes(), &mut name);
        name.push(b':');
        if fields.iter().any(|(other, _)| *other == name) {
            return None;
        }
        fields.push((name, Nullable::new(values, json(values.as_ref(), context)?)));
    }
    Some(Box::new(move |index, out| {
        out.push(b'{');
        for (nth, (name, values)) in fields.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            values.write(index, out)?;
            context.check_size(out.len())?;
        }
        out.push(b'}');
        Ok(())
    }))
}

fn map(array: &dyn Array, context: Context) -> Option<Json<'_>> {
    let map = Pairs::of(array)?;
    let values = Nullable::new(map.values, json(map.values, context)?);
    Some(Box::new(move |index, out| {
        out.push(b'{');
        for (nth, at) in map.pairs(index)?.enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            string((map.key)(at), out);
            out.push(b':');
            values.write(at, out)?;
            context.check_size(out.len())?;
        }
        out.push(b'}');
        Ok(())
    }))
}

/// RFC 8259, section 7.
fn string(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

static BOOL: Kind = Kind::Bool;
static NUMBER: Kind = Kind::Numeric(None);
static FLOAT4: Kind = Kind::Float4;
static FLOAT8: Kind = Kind::Float8;
static DATE: Kind = Kind::Date;
static TIME: Kind = Kind::Time;
static TIMESTAMP: Kind = Kind::Timestamp;
static TIMESTAMPTZ: Kind = Kind::Timestamptz;

/// The PostgreSQL type by which a value is shown; JSON has no form for bytes and intervals that everybody would read alike.
fn natural(data_type: &DataType) -> Option<&'static Kind> {
    Some(match data_type {
        DataType::Boolean => &BOOL,
        DataType::Float16 | DataType::Float32 => &FLOAT4,
        DataType::Float64 => &FLOAT8,
        DataType::Date32 | DataType::Date64 => &DATE,
        DataType::Time32(_) | DataType::Time64(_) => &TIME,
        DataType::Timestamp(_, None) => &TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => &TIMESTAMPTZ,
        data_type if data_type.is_integer() || data_type.is_decimal() => &NUMBER,
        _ => return None,
    })
}

fn scalar<'a>(kind: &'static Kind, array: &'a dyn Array, context: Context) -> Option<Json<'a>> {
    let append = super::bind(kind, array, context)?;
    let quoted = matches!(kind, Kind::Date | Kind::Time | Kind::Timestamp | Kind::Timestamptz);
    let float = matches!(kind, Kind::Float4 | Kind::Float8);
    let scratch = RefCell::new(RowWriter::new(0, 0));
    Some(Box::new(move |index, out| {
        let start = out.len();
        if quoted {
            out.push(b'"');
        }
        scratch.borrow_mut().scratch(|row| append(index, row), |wire| show(kind, wire, out))?;
        if quoted {
            out.push(b'"');
        }
        // NaN and the infinities are words.
        if float && out[start..].iter().any(|byte| matches!(byte, b'N' | b'I')) {
            return Err(FieldError::refused("22P02", "JSON has no NaN and no Infinity"));
        }
        Ok(())
    }))
}
