//! Stage *parse* for NDJSON: lines in, rows out. A line is one JSON object, its keys are the columns' names, and what a value means to a
//! column is what `json_populate_record` makes of it; docs/NDJSON.md has the rules.

mod columns;
mod complaint;
mod lines;
mod nested;
mod object;
mod scan;
mod value;

use self::columns::Columns;
use self::lines::{Line, Lines};
use self::nested::Rules;
use self::object::Object;
use self::scan::Cursor;
use super::rows::{Halt, Rows};
use super::segment::Form;
use crate::encode::{FieldError, check_text};
use crate::engine::catalog::Table;

/// How a body is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// the only columns that keys may name; else all of the table's
    pub columns: Option<Vec<String>>,
}

/// Turns a body into rows.
#[derive(Debug)]
pub(super) struct Decoder {
    lines: Lines,
    objects: Objects,
}

/// What becomes of the objects, one after the other.
#[derive(Debug)]
struct Objects {
    columns: Columns,
    object: Object,
    rules: Rules,
    scratch: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(options: &Options, table: &Table, record_bytes_max: usize) -> Decoder {
        let columns = Columns::new(table, options);
        let rules = Rules { array_nulls: table.dialect.array_nulls, literal_bytes_max: record_bytes_max };
        Decoder {
            lines: Lines::new(record_bytes_max),
            objects: Objects { object: Object::new(columns.len()), columns, rules, scratch: Vec::new() },
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), Halt> {
        let Decoder { lines, objects } = self;
        lines.push(bytes, |line| objects.take(line, rows))
    }

    /// The body has ended, and properly.
    pub(super) fn finish(self, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let Decoder { lines, mut objects } = self;
        lines.finish(|line| objects.take(line, rows))?;
        rows.flush()
    }
}

impl Objects {
    #[inline]
    fn take(&mut self, line: &Line<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        match self.read(line, rows) {
            Ok(()) => Ok(()),
            Err(halt) => rows.turn_away(halt, || line.text.to_vec()),
        }
    }

    #[inline]
    fn read(&mut self, line: &Line<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        check_text(line.text).map_err(|(_, error)| complaint::not_text(line, error))?;
        if Cursor::new(line.text).peek().is_none() {
            return Ok(());
        }
        let read = self.object.read(line.text, &mut self.columns);
        read.map_err(|bad| complaint::bad_object(bad, line, &self.columns, rows))?;
        self.columns.settle(&self.object, line, rows)?;
        match rows.form() {
            Form::Binary => self.encode(line, rows),
            Form::Text => self.pass_on(line, rows),
        }
    }

    #[inline]
    fn encode(&mut self, line: &Line<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        rows.writer.begin();
        for place in 0..rows.targets.len() {
            let target = &rows.targets[place];
            let text = match self.text(place, line) {
                Ok(Some(text)) => text,
                Ok(None) if target.refuse_null => return Err(rows.refuse_null(target, line.origin)),
                Ok(None) => {
                    rows.writer.null();
                    continue;
                }
                Err(error) => return Err(self.refuse(place, line, rows, error)),
            };
            match target.encode(rows.table.dialect, text, &mut rows.writer) {
                Ok(()) => {}
                Err(FieldError::NotMine) => {
                    rows.turn_to_text()?;
                    return self.pass_on(line, rows);
                }
                Err(error) => return Err(self.refuse(place, line, rows, error)),
            }
        }
        rows.finish_row(line.origin, line.text)
    }

    /// Leaves the values to the server, as texts.
    fn pass_on(&mut self, line: &Line<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        rows.text.begin();
        for place in 0..rows.targets.len() {
            match self.text(place, line) {
                Ok(Some(text)) => rows.text.put(text),
                Ok(None) => rows.text.null(),
                Err(error) => return Err(self.refuse(place, line, rows, error)),
            }
        }
        rows.finish_row(line.origin, line.text)
    }

    /// What the input function of a listed column is to see, or `None` for NULL.
    #[inline]
    fn text<'s>(&'s mut self, place: usize, line: &'s Line<'_>) -> Result<Option<&'s [u8]>, FieldError> {
        let column = self.columns.listed[place];
        match self.object.get(column) {
            Some(value) => value::text(&self.columns.get(column).target.shape, value, line.text, self.rules, &mut self.scratch),
            None => Ok(None),
        }
    }

    #[cold]
    fn refuse(&self, place: usize, line: &Line<'_>, rows: &Rows<'_>, error: FieldError) -> Halt {
        let value = self.object.get(self.columns.listed[place]);
        let value = value.map(|value| String::from_utf8_lossy(value.raw(line.text)).into_owned());
        rows.refuse(&rows.targets[place], line.origin, value, error)
    }
}
