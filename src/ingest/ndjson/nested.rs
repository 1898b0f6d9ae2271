//! JSON arrays and objects as the literals of arrays, composite types and `hstore`, which the encoders and the server's input functions
//! read alike.

use std::collections::HashSet;

use super::scan::{Cursor, Token, Value};
use super::value;
use crate::encode::{FieldError, Shape, array_element, record_field};

/// PostgreSQL's `MAXDIM`.
const DIMENSIONS_MAX: usize = 6;

/// What holds for all values of a load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// an array literal can say NULL
    pub(super) array_nulls: bool,
    /// how long a literal may be: quotes within quotes double with each level
    pub(super) literal_bytes_max: usize,
}

impl Rules {
    fn check_length(self, literal: &[u8]) -> Result<(), FieldError> {
        if literal.len() <= self.literal_bytes_max {
            return Ok(());
        }
        let reason = format!("written as a literal the value is larger than the limit of {} bytes", self.literal_bytes_max);
        Err(FieldError::refused("54000", reason))
    }
}

/// An array literal, by the rules of `populate_array_json` in PostgreSQL's `src/backend/utils/adt/jsonfuncs.c`: how many dimensions there
/// are is told by the first element that is no array; whatever is nested deeper is an element.
pub(super) fn array(text: &[u8], delimiter: u8, element: &Shape, rules: Rules, out: &mut Vec<u8>) -> Result<(), FieldError> {
    out.clear();
    let mut array = Array {
        text,
        delimiter,
        element,
        rules,
        dimensions: None,
        lengths: Vec::new(),
        scratch: Vec::new(),
    };
    array.put_level(&mut Cursor::new(text), 1, out)?;
    let count = array.lengths.len();
    if count > DIMENSIONS_MAX {
        let reason = format!("number of array dimensions ({count}) exceeds the maximum allowed ({DIMENSIONS_MAX})");
        return Err(FieldError::refused("54000", reason));
    }
    if array.lengths.last() == Some(&Some(0)) {
        out.clear();
        out.extend_from_slice(b"{}");
    }
    Ok(())
}

struct Array<'a> {
    text: &'a [u8],
    delimiter: u8,
    element: &'a Shape,
    rules: Rules,
    /// as soon as it is known
    dimensions: Option<usize>,
    /// of each dimension, as soon as one of its arrays is complete
    lengths: Vec<Option<usize>>,
    scratch: Vec<u8>,
}

impl Array<'_> {
    /// The array at the cursor, which is nested in `level - 1` others; the text was found to be no deeper than JSON may be.
    fn put_level(&mut self, cursor: &mut Cursor<'_>, level: usize, out: &mut Vec<u8>) -> Result<(), FieldError> {
        let mut length = 0;
        out.push(b'{');
        let mut more = cursor.enter(b']');
        while more {
            if length > 0 {
                out.push(self.delimiter);
            }
            if cursor.peek() == Some(b'[') && self.dimensions.is_none_or(|dimensions| level < dimensions) {
                self.put_level(cursor, level + 1, out)?;
            } else {
                self.put_element(cursor, level, out)?;
            }
            length += 1;
            more = cursor.goes_on(b']')?;
        }
        out.push(b'}');
        let dimensions = *self.dimensions.get_or_insert(level);
        self.lengths.resize(dimensions, None);
        if *self.lengths[level - 1].get_or_insert(length) == length {
            return Ok(());
        }
        let reason = "malformed JSON array: multidimensional arrays must have sub-arrays with matching dimensions";
        Err(FieldError::refused("22P02", reason))
    }

    fn put_element(&mut self, cursor: &mut Cursor<'_>, level: usize, out: &mut Vec<u8>) -> Result<(), FieldError> {
        if level < *self.dimensions.get_or_insert(level) {
            return Err(FieldError::refused(
                "22P02",
                "expected a JSON array in place of an element: the first one has more dimensions",
            ));
        }
        let value = cursor.value()?;
        let element = value::text(self.element, value, self.text, self.rules, &mut self.scratch)?;
        if element.is_none() && !self.rules.array_nulls {
            return Err(FieldError::refused("0A000", "with array_nulls off an array literal cannot say NULL"));
        }
        array_element(out, element);
        self.rules.check_length(out)
    }
}

/// A row literal: the members by the attributes' names; one that is missing is NULL.
pub(super) fn composite(text: &[u8], attributes: &[(String, Shape)], rules: Rules, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let values = members(text, attributes)?;
    let mut scratch = Vec::new();
    out.clear();
    out.push(b'(');
    for (index, ((_, shape), value)) in attributes.iter().zip(values).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let field = match value {
            Some(value) => value::text(shape, value, text, rules, &mut scratch)?,
            None => None,
        };
        record_field(out, field);
        rules.check_length(out)?;
    }
    out.push(b')');
    Ok(())
}

/// The object's values in the order of the attributes.
fn members(text: &[u8], attributes: &[(String, Shape)]) -> Result<Vec<Option<Value>>, FieldError> {
    let mut values = vec![None; attributes.len()];
    let mut scratch = Vec::new();
    let mut cursor = Cursor::new(text);
    let mut more = cursor.enter(b'}');
    let mut place = 0;
    while more {
        let key = cursor.key()?;
        let name = key.string(text, &mut scratch)?;
        // They mostly come in their order.
        let mut places = (place..attributes.len()).chain(0..place);
        let Some(found) = places.find(|place| attributes[*place].0.as_bytes() == name) else {
            let reason = format!("the composite type has no attribute \"{}\"", String::from_utf8_lossy(name));
            return Err(FieldError::refused("42703", reason));
        };
        if values[found].replace(cursor.value()?).is_some() {
            return Err(twice(name));
        }
        place = found + 1;
        more = cursor.goes_on(b'}')?;
    }
    Ok(values)
}

/// An `hstore` literal, which is quoted as array elements are.
pub(super) fn hstore(text: &[u8], rules: Rules, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let (mut name, mut scratch) = (Vec::new(), Vec::new());
    let mut keys = HashSet::new();
    let mut cursor = Cursor::new(text);
    let mut more = cursor.enter(b'}');
    out.clear();
    while more {
        let key = cursor.key()?;
        let key = key.string(text, &mut name)?;
        if !keys.insert(key.to_vec()) {
            return Err(twice(key));
        }
        let value = cursor.value()?;
        if matches!(value.token, Token::Array | Token::Object) {
            let reason = format!("hstore holds texts only, and the value of key \"{}\" is nested", String::from_utf8_lossy(key));
            return Err(FieldError::refused("22P02", reason));
        }
        if !out.is_empty() {
            out.push(b',');
        }
        array_element(out, Some(key));
        out.extend_from_slice(b"=>");
        array_element(out, value::text(&Shape::Opaque, value, text, rules, &mut scratch)?);
        rules.check_length(out)?;
        more = cursor.goes_on(b'}')?;
    }
    Ok(())
}

fn twice(name: &[u8]) -> FieldError {
    FieldError::refused("22030", format!("duplicate JSON object key value: \"{}\"", String::from_utf8_lossy(name)))
}
