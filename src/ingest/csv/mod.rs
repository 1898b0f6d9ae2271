//! Stage *parse* for CSV: records in, rows out.

mod scan;

use self::scan::{Marks, Record, Scanner};
use super::rows::{Halt, Rows, shorten};
use super::segment::Origin;
use crate::encode::{FieldError, check_text, text_field};
use crate::error::{DataError, Position, RowError};

/// How a CSV body is written; the words are those of PostgreSQL's COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// between fields
    pub delimiter: u8,
    /// around fields
    pub quote: u8,
    /// before a quote inside of quotes
    pub escape: u8,
    /// what stands, unquoted, for NULL
    pub null: String,
    /// the first record holds names
    pub header: bool,
    /// the columns in the order of the fields; else the header names them, or they are the table's
    pub columns: Option<Vec<String>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            delimiter: b',',
            quote: b'"',
            escape: b'"',
            null: String::new(),
            header: true,
            columns: None,
        }
    }
}

/// Turns a CSV body into rows.
#[derive(Debug)]
pub(super) struct Decoder {
    options: Options,
    scanner: Scanner,
    header_pending: bool,
    begun: bool,
    scratch: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(options: Options, record_bytes_max: usize) -> Decoder {
        let marks = Marks { delimiter: options.delimiter, quote: options.quote, escape: options.escape };
        Decoder {
            header_pending: options.header,
            options,
            scanner: Scanner::new(marks, record_bytes_max),
            begun: false,
            scratch: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), Halt> {
        self.scanner.push(bytes);
        // A byte order mark can only be told from a name when three bytes are there.
        if self.header_pending && self.scanner.buffered() < 3 {
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
        if self.header_pending {
            self.scanner.skip_byte_order_mark();
        }
        let Decoder { options, scanner, header_pending, begun, scratch } = self;
        scanner.scan(last, |record| {
            if *header_pending {
                *header_pending = false;
                *begun = true;
                return begin_with_header(options, record, scratch, rows);
            }
            if !*begun {
                *begun = true;
                begin_without_header(options, rows)?;
            }
            encode_record(options, record, scratch, rows)
        })
    }
}

fn begin_with_header(options: &Options, record: &Record<'_>, scratch: &mut Vec<u8>, rows: &mut Rows<'_>) -> Result<(), Halt> {
    check_record(record, rows)?;
    if let Some(columns) = &options.columns {
        return rows.begin(columns);
    }
    let names: Vec<String> = (0..record.len())
        .map(|index| String::from_utf8_lossy(record.field(index, scratch).0).into_owned())
        .collect();
    rows.begin(&names).map_err(|halt| match halt {
        Halt::Data(DataError::Misfit(mut misfits)) => {
            misfits.extend(header_hint(options, &names, rows));
            Halt::Data(DataError::Misfit(misfits))
        }
        other => other,
    })
}

/// What is probably meant when not one name in the header is a column's.
fn header_hint(options: &Options, names: &[String], rows: &Rows<'_>) -> Option<String> {
    let is_column = |name: &String| rows.table.columns.iter().any(|column| column.name == *name);
    if names.iter().any(is_column) {
        return None;
    }
    if let [only] = names
        && let Some(other) = [';', '\t', '|', ','].into_iter().find(|c| only.contains(*c))
    {
        let (used, escaped) = (char::from(options.delimiter), format!("%{:02X}", u32::from(other)));
        return Some(format!("the header has no {used:?} in it: if fields end with {other:?}, say delimiter={escaped}"));
    }
    let shown = shorten(&names.join(", "));
    Some(format!("the first line was read as a header ({shown}): if it is data, say header=absent"))
}

/// As in COPY without a column list: all columns of the table, but for those that nobody may write.
fn begin_without_header(options: &Options, rows: &mut Rows<'_>) -> Result<(), Halt> {
    match &options.columns {
        Some(columns) => rows.begin(columns),
        None => {
            let writable = rows.table.columns.iter().filter(|column| !column.generated);
            let names: Vec<String> = writable.map(|column| column.name.clone()).collect();
            rows.begin(&names)
        }
    }
}

#[inline]
fn encode_record(options: &Options, record: &Record<'_>, scratch: &mut Vec<u8>, rows: &mut Rows<'_>) -> Result<(), Halt> {
    check_record(record, rows)?;
    if record.len() != rows.targets.len() {
        return Err(wrong_field_count(record, rows));
    }
    let origin = origin(record);
    rows.writer.begin();
    for index in 0..record.len() {
        let target = rows.targets[index];
        let (text, quoted) = record.field(index, scratch);
        if !quoted && text == options.null.as_bytes() {
            if target.refuse_null {
                return Err(rows.refuse_null(target, origin));
            }
            rows.writer.null();
        } else if let Err(error) = text_field(target.kind, rows.dialect(), text, &mut rows.writer) {
            let value = String::from_utf8_lossy(text).into_owned();
            return Err(rows.refuse(target, origin, Some(value), error));
        }
    }
    rows.finish_row(origin)
}

fn origin(record: &Record<'_>) -> Origin {
    Origin::Line { line: record.line, byte_offset: record.byte_offset }
}

/// What must hold for a record as a whole.
#[inline]
fn check_record(record: &Record<'_>, rows: &Rows<'_>) -> Result<(), Halt> {
    let bytes = record.bytes();
    if bytes == b"\\." {
        let reason = "a line that holds only \\. ends the data for some versions of PostgreSQL and is data for others: quote it";
        let position = Position::from(origin(record));
        return Err(DataError::malformed("end-of-data-marker", reason, position).into());
    }
    check_text(bytes).map_err(|(offset, error)| {
        let target = rows.targets.get(record.field_at(offset)).copied();
        match (target, error) {
            (Some(target), error) => rows.refuse(target, origin(record), None, error),
            (None, error) => bad_record(record, error),
        }
    })
}

#[cold]
fn bad_record(record: &Record<'_>, error: FieldError) -> Halt {
    let reason = match error {
        FieldError::Refused { reason, .. } => reason,
        FieldError::NotMine => "not text".into(),
    };
    let looks_like = match record.bytes() {
        [0x1F, 0x8B, ..] => "; it looks like gzip: send Content-Encoding: gzip",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "; it looks like zstd: send Content-Encoding: zstd",
        [0x04, 0x22, 0x4D, 0x18, ..] => "; it looks like lz4: send Content-Encoding: lz4",
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "; it looks like UTF-16: say encoding=UTF-16",
        [b'P', b'K', 3, 4, ..] => "; it looks like a ZIP archive or a spreadsheet",
        [b'P', b'A', b'R', b'1', ..] => "; it looks like Parquet",
        _ => "",
    };
    let error = RowError {
        position: origin(record).into(),
        value: None,
        type_name: None,
        sqlstate: "22021",
        reason: format!("{reason}; a CSV body is UTF-8 unless encoding= says otherwise{looks_like}").into(),
    };
    error.into()
}

/// In the words of COPY: which column lacks data, or what there is too much.
#[cold]
fn wrong_field_count(record: &Record<'_>, rows: &Rows<'_>) -> Halt {
    let (found, expected) = (record.len(), rows.targets.len());
    let mut position = Position::from(origin(record));
    let reason = match rows.targets.get(found) {
        Some(target) => {
            let column = rows.table.columns[target.index].name.clone();
            let reason = format!("missing data for column \"{column}\": the record has {found} fields, not {expected}");
            position.column = Some(column);
            reason
        }
        None => format!("extra data after last expected column: the record has {found} fields, not {expected}"),
    };
    let error = RowError {
        position,
        value: Some(shorten(&String::from_utf8_lossy(record.bytes()))),
        type_name: None,
        sqlstate: "22P04",
        reason: reason.into(),
    };
    error.into()
}
