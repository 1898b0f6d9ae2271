//! Values as literals, for rows that the server reads itself.
//!
//! Strings are passed on as they are. Everything else is encoded first and shown then, so that a value is refused in this form for the
//! same reasons as in the binary one.

use std::cell::RefCell;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

use super::nested::{Lists, Nullable, Step, fields_by_name};
use super::{Context, Strings, bind, check_nul, indirect, strings};
use crate::encode::{FieldError, Kind, RowWriter, Shape, array_element, record_field, show};

/// Writes the literal of the value at an index, which is not NULL.
pub(in crate::ingest::batch) type Render<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), FieldError> + 'a>;

/// The way from an array into literals of a shape; `None` where there is none.
pub(in crate::ingest::batch) fn render<'a>(shape: &'a Shape, array: &'a dyn Array, context: Context) -> Option<Render<'a>> {
    if let Some((values, place)) = indirect(array) {
        let values = render(shape, values, context)?;
        return Some(Box::new(move |index, out| values(place(index), out)));
    }
    if let DataType::Null = array.data_type() {
        return Some(Box::new(|_, _| Ok(())));
    }
    if let Some(strings) = strings(array) {
        return Some(as_it_is(strings));
    }
    match shape {
        Shape::Scalar(kind) => scalar(kind, array, context),
        Shape::Array { delimiter, element } => self::array(*delimiter, element, array, context),
        Shape::Composite(attributes) => composite(attributes, array, context),
        // What is not a string could mean anything there.
        Shape::Opaque => None,
    }
}

fn as_it_is(strings: Strings<'_>) -> Render<'_> {
    Box::new(move |index, out| {
        let value = strings(index);
        check_nul(value)?;
        out.extend_from_slice(value);
        Ok(())
    })
}

fn scalar<'a>(kind: &'a Kind, array: &'a dyn Array, context: Context) -> Option<Render<'a>> {
    let append = bind(kind, array, context)?;
    let scratch = RefCell::new(RowWriter::new(0, 0));
    Some(Box::new(move |index, out| {
        scratch.borrow_mut().scratch(|row| append(index, row), |wire| show(kind, wire, out))
    }))
}

fn array<'a>(delimiter: u8, element: &'a Shape, array: &'a dyn Array, context: Context) -> Option<Render<'a>> {
    let lists = Lists::of(array, context, |values| render(element, values, context))?;
    Some(Box::new(move |index, out| {
        let dimensions = lists.dimensions(index)?;
        let mut value = Vec::new();
        out.push(b'{');
        lists.walk(index, &dimensions, &mut |step| {
            match step {
                Step::Open => out.push(b'{'),
                Step::Next => out.push(delimiter),
                Step::Close => out.push(b'}'),
                Step::Element(at, Some(render)) => {
                    value.clear();
                    render(at, &mut value)?;
                    array_element(out, Some(&value));
                }
                Step::Element(_, None) if context.dialect.array_nulls => array_element(out, None),
                Step::Element(_, None) => return Err(no_nulls()),
            }
            context.check_size(out.len())
        })?;
        out.push(b'}');
        Ok(())
    }))
}

fn no_nulls() -> FieldError {
    let reason = "the array holds a NULL, which has no literal while the server's array_nulls is off";
    FieldError::refused("22P02", reason)
}

fn composite<'a>(attributes: &'a [(String, Shape)], array: &'a dyn Array, context: Context) -> Option<Render<'a>> {
    let names = attributes.iter().map(|(name, _)| name.as_str());
    let fields = fields_by_name(array.as_struct_opt()?, names)?.into_iter().zip(attributes);
    let way = |(field, (_, shape)): (Option<&'a ArrayRef>, &'a (String, Shape))| match field {
        Some(field) => Some(Some(Nullable::new(field, render(shape, field.as_ref(), context)?))),
        None => Some(None),
    };
    let fields: Vec<_> = fields.map(way).collect::<Option<_>>()?;
    Some(Box::new(move |index, out| {
        let mut value = Vec::new();
        out.push(b'(');
        for (nth, field) in fields.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            if let Some(render) = field.as_ref().and_then(|field| field.get(index)) {
                value.clear();
                render(index, &mut value)?;
                record_field(out, Some(&value));
            }
            context.check_size(out.len())?;
        }
        out.push(b')');
        Ok(())
    }))
}
