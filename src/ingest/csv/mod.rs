//! Stage *parse* for CSV and for COPY's text format: records in, rows out.

mod complaint;
mod header;
mod scan;
mod value;

use self::complaint::{not_text, wrong_field_count};
use self::header::{begin_with_header, begin_without_header, null_rules};
use self::scan::{Marks, Record, Scanner};
use self::value::{MARKER_CORRUPT, NullRule, value};
use super::rows::{Halt, Rows, Target};
use super::segment::{Form, Origin};
use crate::encode::{Dialect, FieldError, check_text};
use crate::error::{DataError, Position};

/// From this version on, `\.` ends only what is in the text format.
const CSV_WITHOUT_MARKER: u32 = 180_000;

/// Which of COPY's two formats of delimited text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// `FORMAT csv`
    Csv,
    /// `FORMAT text`
    Text,
}

/// How a body is written; the words are those of PostgreSQL's COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// the format
    pub syntax: Syntax,
    /// between fields
    pub delimiter: u8,
    /// around fields, in CSV
    pub quote: u8,
    /// before a quote inside of quotes, in CSV
    pub escape: u8,
    /// what stands for NULL; in CSV without quotes
    pub null: String,
    /// the first record holds names
    pub header: bool,
    /// the columns in the order of the fields; else the header names them, or they are the table's
    pub columns: Option<Vec<String>>,
    /// columns in which the null string is NULL in quotes too, in CSV
    pub force_null: Columns,
    /// columns in which the null string is never NULL without quotes, in CSV
    pub force_not_null: Columns,
}

/// Some of a load's columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Columns {
    /// none
    #[default]
    None,
    /// `*`
    All,
    /// by their names
    Named(Vec<String>),
}

impl Options {
    /// COPY's own defaults, but that a header is expected.
    pub fn new(syntax: Syntax) -> Options {
        let (delimiter, quote, null) = match syntax {
            Syntax::Csv => (b',', b'"', ""),
            Syntax::Text => (b'\t', b'\\', "\\N"),
        };
        Options {
            syntax,
            delimiter,
            quote,
            escape: quote,
            null: null.to_owned(),
            header: true,
            columns: None,
            force_null: Columns::None,
            force_not_null: Columns::None,
        }
    }
}

/// Turns a body into rows.
#[derive(Debug)]
pub(super) struct Decoder {
    scanner: Scanner,
    records: Records,
}

/// What becomes of the records, one after the other.
#[derive(Debug)]
struct Records {
    options: Options,
    header_pending: bool,
    begun: bool,
    /// a line that holds only `\.` ends the data
    marker: bool,
    /// it has come
    ended: bool,
    /// one for each column of the load
    null_rules: Vec<NullRule>,
    scratch: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(options: Options, dialect: Dialect, record_bytes_max: usize) -> Decoder {
        let marker = options.syntax == Syntax::Text || dialect.server_version < CSV_WITHOUT_MARKER;
        let marks = Marks {
            syntax: options.syntax,
            marker,
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
        };
        Decoder {
            scanner: Scanner::new(marks, record_bytes_max),
            records: Records {
                header_pending: options.header,
                options,
                begun: false,
                marker,
                ended: false,
                null_rules: Vec::new(),
                scratch: Vec::new(),
            },
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), Halt> {
        self.scanner.push(bytes);
        // A byte order mark can only be told from a name when three bytes are there.
        if self.records.header_pending && self.scanner.buffered() < 3 {
            return Ok(());
        }
        self.scan(false, rows)
    }

    /// The body has ended, and properly.
    pub(super) fn finish(mut self, rows: &mut Rows<'_>) -> Result<(), Halt> {
        self.scan(true, rows)?;
        rows.flush()
    }

    fn scan(&mut self, last: bool, rows: &mut Rows<'_>) -> Result<(), Halt> {
        if self.records.header_pending {
            self.scanner.skip_byte_order_mark();
        }
        let Decoder { scanner, records } = self;
        let scanned = scanner.scan(last, |record| records.take(record, rows));
        // Whatever is wrong behind the marker, what is wrong with it first is that it stands there.
        scanned.map_err(|halt| match halt {
            Halt::Data(_) if records.ended => data_after_marker(scanner.position()),
            halt => halt,
        })
    }
}

impl Records {
    #[inline]
    fn take(&mut self, record: &Record<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        if self.ended {
            return Err(data_after_marker(origin(record).into()));
        }
        if record.bytes() == b"\\." && record.terminated && self.marker {
            self.ended = true;
            return Ok(());
        }
        if self.header_pending {
            check_record(record, rows).map_err(|halt| rows.explain(halt))?;
            self.header_pending = false;
            begin_with_header(&self.options, record, &mut self.scratch, rows)?;
            rows.set_header(record.bytes());
            return self.begin(rows);
        }
        if !self.begun {
            begin_without_header(&self.options, rows)?;
            self.begin(rows)?;
        }
        match self.encode(record, rows) {
            Ok(()) => Ok(()),
            Err(halt) => rows.turn_away(halt, || record.bytes().to_vec()),
        }
    }

    fn begin(&mut self, rows: &Rows<'_>) -> Result<(), Halt> {
        self.begun = true;
        self.null_rules = null_rules(&self.options, rows).map_err(DataError::Misfit)?;
        Ok(())
    }

    #[inline]
    fn encode(&mut self, record: &Record<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        check_record(record, rows)?;
        if record.len() != rows.targets.len() {
            return Err(wrong_field_count(record, rows));
        }
        if rows.form() == Form::Text {
            return self.pass_on(record, rows);
        }
        let origin = origin(record);
        rows.writer.begin();
        for (index, (target, rule)) in rows.targets.iter().zip(&self.null_rules).enumerate() {
            let text = match value(&self.options, *rule, record, index, &mut self.scratch) {
                Ok(Some(text)) => text,
                Ok(None) if target.refuse_null => return Err(rows.refuse_null(target, origin)),
                Ok(None) => {
                    rows.writer.null();
                    continue;
                }
                Err(error) => return Err(refuse(rows, target, record, None, error)),
            };
            match target.encode(rows.table.dialect, text, &mut rows.writer) {
                Ok(()) => {}
                Err(FieldError::NotMine) => {
                    rows.turn_to_text()?;
                    return self.pass_on(record, rows);
                }
                Err(error) => return Err(refuse(rows, target, record, Some(text), error)),
            }
        }
        rows.finish_row(origin, record.bytes())
    }

    /// Leaves the fields to the server, as they are.
    fn pass_on(&mut self, record: &Record<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        rows.text.begin();
        for (index, rule) in self.null_rules.iter().enumerate() {
            match value(&self.options, *rule, record, index, &mut self.scratch) {
                Ok(Some(text)) => rows.text.put(text),
                Ok(None) => rows.text.null(),
                Err(error) => return Err(refuse(rows, &rows.targets[index], record, None, error)),
            }
        }
        rows.finish_row(origin(record), record.bytes())
    }
}

#[cold]
fn data_after_marker(position: Position) -> Halt {
    let reason = "there is data beside the end-of-data marker \\. or after it; COPY would leave it out without a word";
    DataError::bad_copy("end-of-data-marker", reason, position).into()
}

#[cold]
fn refuse(rows: &Rows<'_>, target: &Target, record: &Record<'_>, text: Option<&[u8]>, error: FieldError) -> Halt {
    if let FieldError::Refused { sqlstate: MARKER_CORRUPT, .. } = error {
        return data_after_marker(origin(record).into());
    }
    let value = text.map(|text| String::from_utf8_lossy(text).into_owned());
    rows.refuse(target, origin(record), value, error)
}

fn origin(record: &Record<'_>) -> Origin {
    Origin::Line { line: record.line, byte_offset: record.byte_offset }
}

/// What must hold for a record as a whole.
#[inline]
fn check_record(record: &Record<'_>, rows: &Rows<'_>) -> Result<(), Halt> {
    check_text(record.bytes()).map_err(|(offset, error)| match rows.targets.get(record.field_at(offset)) {
        Some(target) => rows.refuse(target, origin(record), None, error),
        None => not_text(record, error),
    })
}
