//! Bodies: the same rows in every format and under every coding, and what is done to them so that it must be noticed.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::support::{arrow as ipc, coding};

/// The columns of every trial's table. `n` is wider in bodies, so that a value can be too large for the table in all formats.
pub(crate) const COLUMNS: &str = "trial int NOT NULL, attempt int NOT NULL, n int NOT NULL, note text";
/// What no `int` takes.
const TOO_LARGE: i64 = 1 << 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Text,
    Ndjson,
    ArrowStream,
    ArrowFile,
    Parquet,
}

impl Format {
    pub(crate) const ALL: [Format; 6] =
        [Format::Csv, Format::Text, Format::Ndjson, Format::ArrowStream, Format::ArrowFile, Format::Parquet];

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv",
            Format::Text => "text/tab-separated-values",
            Format::Ndjson => "application/x-ndjson",
            Format::ArrowStream => ipc::STREAM,
            Format::ArrowFile => ipc::FILE,
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// A body that is cut off by itself says so.
    pub(crate) fn has_an_end(self) -> bool {
        !self.is_text()
    }

    pub(crate) fn is_text(self) -> bool {
        matches!(self, Format::Csv | Format::Text | Format::Ndjson)
    }

    /// Lines before the first row.
    pub(crate) fn header_lines(self) -> u64 {
        u64::from(matches!(self, Format::Csv | Format::Text))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Zstd,
    Lz4,
    Brotli,
}

impl Coding {
    pub(crate) const ALL: [Coding; 5] = [Coding::Identity, Coding::Gzip, Coding::Zstd, Coding::Lz4, Coding::Brotli];

    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Zstd => Some("zstd"),
            Coding::Lz4 => Some("lz4"),
            Coding::Brotli => Some("br"),
        }
    }

    fn apply(self, data: Vec<u8>) -> Vec<u8> {
        match self {
            Coding::Identity => data,
            Coding::Gzip => coding::gzip(&data),
            Coding::Zstd => coding::zstd(&data),
            Coding::Lz4 => coding::lz4(&data),
            Coding::Brotli => coding::brotli(&data),
        }
    }

    /// Bytes that are covered by a checksum or are one. Brotli has none, and the others' first bytes are options, of which some would
    /// only turn the checksum off.
    fn checked(self, length: usize) -> Option<Range<usize>> {
        match self {
            Coding::Identity | Coding::Brotli => None,
            Coding::Gzip => Some(10..length),
            Coding::Zstd => Some(6..length),
            Coding::Lz4 => Some(7..length),
        }
    }
}

/// The rows of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) trial: u64,
    pub(crate) attempt: u32,
    pub(crate) count: usize,
    /// the rows that hold a value too large, and those that repeat the one before
    pub(crate) too_large: Vec<usize>,
    pub(crate) doubles: Vec<usize>,
}

impl Rows {
    fn n(&self, row: usize) -> i64 {
        if self.too_large.contains(&row) {
            TOO_LARGE
        } else if self.doubles.contains(&row) {
            row as i64 - 1
        } else {
            row as i64
        }
    }

    fn note(row: usize) -> String {
        format!("note {} of row {row}", row.wrapping_mul(2_654_435_761) % 1_000_003)
    }

    /// Body positions of rows that cannot go in, from 0.
    pub(crate) fn bad(&self) -> Vec<usize> {
        let mut bad = [self.too_large.clone(), self.doubles.clone()].concat();
        bad.sort_unstable();
        bad
    }

    /// How many go in, and the sum of their `n`.
    pub(crate) fn good(&self) -> (i64, i64) {
        let bad = self.bad();
        let all = self.count as i64 * (self.count as i64 - 1) / 2;
        (self.count as i64 - bad.len() as i64, all - bad.iter().map(|row| *row as i64).sum::<i64>())
    }

    /// Numbers and notes, the format's first step.
    fn values(&self) -> Vec<(i64, String)> {
        // `contains` on a list for every row would be slow, so the few bad ones are put in afterwards.
        let mut values: Vec<(i64, String)> = (0..self.count).map(|row| (row as i64, Rows::note(row))).collect();
        for row in self.bad() {
            values[row].0 = self.n(row);
        }
        values
    }

    pub(crate) fn encode(&self, format: Format, coding: Coding) -> Vec<u8> {
        let data = match format {
            Format::Csv => self.lines("trial,attempt,n,note\n", |trial, attempt, n, note| format!("{trial},{attempt},{n},{note}\n")),
            Format::Text => self.lines("trial\tattempt\tn\tnote\n", |trial, attempt, n, note| format!("{trial}\t{attempt}\t{n}\t{note}\n")),
            Format::Ndjson => self.lines("", |trial, attempt, n, note| {
                format!("{{\"trial\":{trial},\"attempt\":{attempt},\"n\":{n},\"note\":\"{note}\"}}\n")
            }),
            Format::ArrowStream => ipc::stream(&self.batches()),
            Format::ArrowFile => ipc::file(&self.batches()),
            Format::Parquet => self.parquet(),
        };
        coding.apply(data)
    }

    fn lines(&self, header: &str, line: impl Fn(u64, u32, i64, &str) -> String) -> Vec<u8> {
        let mut text = header.to_owned();
        for (n, note) in self.values() {
            text.push_str(&line(self.trial, self.attempt, n, &note));
        }
        text.into_bytes()
    }

    fn batches(&self) -> Vec<RecordBatch> {
        let values = self.values();
        let batch = |rows: &[(i64, String)]| {
            ipc::batch([
                ("trial", Arc::new(Int32Array::from(vec![self.trial as i32; rows.len()])) as _),
                ("attempt", Arc::new(Int32Array::from(vec![self.attempt as i32; rows.len()])) as _),
                ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(n, _)| *n))) as _),
                ("note", Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, note)| note))) as _),
            ])
        };
        values.chunks(self.count.div_ceil(3)).map(batch).collect()
    }

    fn parquet(&self) -> Vec<u8> {
        let batches = self.batches();
        // Plain and uncompressed, so that the text of a row can be found in the file.
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_max_row_group_row_count(Some(20_000))
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
        for batch in &batches {
            writer.write(batch).unwrap();
        }
        writer.into_inner().unwrap()
    }
}

/// What is done to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// its end is missing, and its length says so not
    Truncated,
    /// a byte is another, where a checksum or a digest covers it
    Flipped,
    /// a byte of a text is one that no text has
    Garbled,
}

/// A damaged body that must be noticed, at a place between 0 and 1. `has_digest`: the digest of the whole one is declared.
pub(crate) fn damaged(rows: &Rows, format: Format, coding: Coding, damage: Damage, place: f64, has_digest: bool) -> Vec<u8> {
    let within = |range: Range<usize>| range.start + ((range.len() as f64 * place) as usize).min(range.len() - 1);
    if damage == Damage::Garbled {
        let mut plain = rows.encode(format, Coding::Identity);
        let note = Rows::note(within(0..rows.count));
        let found = memchr::memmem::find(&plain, note.as_bytes()).unwrap();
        plain[found + 2] = 0xFF;
        return coding.apply(plain);
    }
    let mut body = rows.encode(format, coding);
    match damage {
        Damage::Truncated => body.truncate(within(1..body.len())),
        _ => {
            let checked = if has_digest { Some(0..body.len()) } else { coding.checked(body.len()) };
            let at = within(checked.unwrap());
            body[at] ^= 1 << (at % 8);
        }
    }
    body
}

/// Whether this damage is noticed without a digest.
pub(crate) fn is_noticed(format: Format, coding: Coding, damage: Damage) -> bool {
    match damage {
        Damage::Truncated => format.has_an_end() || coding != Coding::Identity,
        Damage::Flipped => coding.checked(100).is_some(),
        Damage::Garbled => true,
    }
}
