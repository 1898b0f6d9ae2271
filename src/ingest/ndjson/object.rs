//! One line's object: its values by their columns.

use super::columns::Columns;
use super::scan::{Cursor, Flaw, Token, Value};

/// What is wrong with a line.
#[derive(Debug)]
pub(super) enum Bad {
    /// it is no JSON, or none that PostgreSQL takes; in this column, if it is known
    Flaw(Flaw, Option<usize>),
    /// JSON, and no object
    NotAnObject(Token),
    /// a key that no column has
    Unknown(String),
    /// a key that has come before
    Twice(usize),
}

impl From<Flaw> for Bad {
    fn from(flaw: Flaw) -> Bad {
        Bad::Flaw(flaw, None)
    }
}

/// The values of the object that was read last.
#[derive(Debug)]
pub(super) struct Object {
    /// numbers the objects, so that values of earlier ones need not be cleared away
    number: u64,
    values: Vec<(u64, Value)>,
}

impl Object {
    pub(super) fn new(columns: usize) -> Object {
        Object {
            number: 0,
            values: vec![(0, Value { token: Token::Null, start: 0, end: 0 }); columns],
        }
    }

    /// The value that a column is given; `None` when there is no such key.
    #[inline]
    pub(super) fn get(&self, column: usize) -> Option<Value> {
        let (number, value) = self.values[column];
        (number == self.number).then_some(value)
    }

    /// Reads a line that is not blank.
    #[inline]
    pub(super) fn read(&mut self, line: &[u8], columns: &mut Columns) -> Result<(), Bad> {
        self.number += 1;
        let mut cursor = Cursor::new(line);
        if cursor.peek() != Some(b'{') {
            let value = cursor.value()?;
            cursor.end()?;
            return Err(Bad::NotAnObject(value.token));
        }
        let mut last = None;
        let mut more = cursor.enter(b'}');
        while more {
            let column = match columns.expected(last) {
                Some((column, quoted)) if cursor.key_is(quoted)? => column,
                _ => unexpected(&mut cursor, line, last, columns)?,
            };
            let value = cursor.value().map_err(|flaw| Bad::Flaw(flaw, Some(column)))?;
            if self.values[column].0 == self.number {
                return Err(Bad::Twice(column));
            }
            self.values[column] = (self.number, value);
            last = Some(column);
            more = cursor.goes_on(b'}')?;
        }
        Ok(cursor.end()?)
    }
}

/// A key that did not come after the last one before.
fn unexpected(cursor: &mut Cursor<'_>, line: &[u8], last: Option<usize>, columns: &mut Columns) -> Result<usize, Bad> {
    let key = cursor.key()?;
    let mut unescaped = Vec::new();
    // The line is UTF-8, and so are its parts.
    let name = String::from_utf8_lossy(key.string(line, &mut unescaped)?);
    let column = columns.find(&name).ok_or_else(|| Bad::Unknown(name.into_owned()))?;
    columns.expect(last, column);
    Ok(column)
}
