//! The stages *decompress*, *parse* and *encode* apart from all others, without a server: what fuzz targets drive.

use std::time::Duration;

use bytes::Bytes;

use super::decompress::Body;
use super::meter::Meter;
use super::parquet::Spools;
use super::queue::{Closed, filled};
use super::rows::{Emit, Feed, Halt, Rows};
use super::segment::Form;
use super::{Coding, Decoder, Format};
use crate::config::Limits;
use crate::engine::catalog::Table;
use crate::error::DataError;

/// Undoes the codings that were applied to a body in this order; the body comes in these pieces.
///
/// # Errors
/// The short name of the problem.
///
/// # Panics
/// Only through a defect.
pub fn decompress<'b>(codings: &[Coding], limits: &Limits, pieces: impl IntoIterator<Item = &'b [u8]>) -> Result<Vec<u8>, &'static str> {
    let frames = pieces.into_iter().map(Bytes::copy_from_slice);
    let mut body = Body::new(filled(frames), codings, limits);
    let mut decoded = Vec::new();
    loop {
        match body.next() {
            Ok(Some(bytes)) => decoded.extend_from_slice(bytes),
            Ok(None) => return Ok(decoded),
            Err(Halt::Data(DataError::Malformed { code, .. } | DataError::OverLimit { code, .. })) => return Err(code),
            Err(halt) => panic!("{halt:?}"),
        }
    }
}

/// What became of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// rows in binary, one chunk after the other, with the columns that they go into
    pub binary: Vec<(Vec<usize>, Vec<u8>)>,
    /// rows as text
    pub text: Vec<u8>,
    /// rows in all
    pub rows: u64,
    /// why there are no more
    pub refused: Option<String>,
}

/// Reads a body that comes in these pieces.
///
/// # Panics
/// Only through a defect; that is what it is looked at for.
pub fn read<'b>(table: &Table, format: Format, limits: &Limits, pieces: impl IntoIterator<Item = &'b [u8]>) -> Outcome {
    let meter = Meter::default();
    let mut kept = Kept::default();
    let mut rows = Rows::new(table, false, None, &meter, &mut kept);
    let mut decoder = Decoder::new(format, table, limits, &Spools::new(limits.spool.clone()));
    let read = pieces.into_iter().try_for_each(|piece| decoder.push(piece, &mut rows));
    let read = read.and_then(|()| decoder.finish(&mut rows));
    let count = rows.count();
    let refused = match read {
        Ok(()) => None,
        Err(Halt::Data(error)) => Some(error.to_string()),
        Err(halt) => Some(format!("{halt:?}")),
    };
    Outcome { rows: count, refused, ..kept.outcome }
}

#[derive(Default)]
struct Kept {
    columns: Vec<usize>,
    outcome: Outcome,
}

impl Emit for Kept {
    fn emit(&mut self, feed: Feed, _bytes: usize) -> Result<(), Closed> {
        match feed {
            Feed::Columns(columns) => self.columns = columns,
            Feed::Rows(chunk) if chunk.form == Form::Text => self.outcome.text.extend_from_slice(&chunk.data),
            Feed::Rows(chunk) => self.outcome.binary.push((self.columns.clone(), chunk.data.to_vec())),
            Feed::Refused(_) => {}
        }
        Ok(())
    }

    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// Holds that this is what the binary COPY format allows: rows of so many fields, each as long as it says.
///
/// # Panics
/// It is not.
pub fn check_binary(chunks: &[(Vec<usize>, Vec<u8>)]) -> u64 {
    let mut rows = 0;
    for (columns, data) in chunks {
        let mut rest = data.as_slice();
        while let Some((count, tail)) = rest.split_first_chunk::<2>() {
            assert_eq!(usize::from(u16::from_be_bytes(*count)), columns.len(), "field count");
            rest = tail;
            for _ in columns {
                let (length, tail) = rest.split_first_chunk::<4>().unwrap_or_else(|| panic!("a length word is cut short"));
                let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
                rest = tail.get(length..).unwrap_or_else(|| panic!("a field is cut short"));
            }
            rows += 1;
        }
        assert!(rest.is_empty(), "bytes after the last row");
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Kind;
    use crate::ingest::csv::{Options, Syntax};
    use crate::ingest::{ndjson, parquet};
    use proptest::prelude::*;

    const GOOD_LINES: &[&str] = &[
        r#"{"a":1,"b":"x","c":"2024-02-29"}"#,
        r#" { "c" : null , "\u0061" : "7" } "#,
        r#"{"b":["\"\\",{}],"c":"Jan 8, 1999"}"#,
        r#"{"d":"(1,2)"}"#,
        "{}",
    ];

    /// Found by fuzzing: the first byte came alone, looked like text, and that was the answer.
    #[test]
    fn what_a_body_looks_like_is_told_by_its_beginning_as_a_whole() {
        let table = Table::of_columns(&[("a", Some(Kind::Int4))]);
        for body in [&b"ABA\xb6 and so on"[..], b"ARROW1\0\0", b"a,b\n1,2\n", b"PARE....", b"PAR", b"PAx", b"\x1f\x8b\x08\0", b"x"] {
            let read = |cut| {
                let (front, back) = body.split_at(cut);
                read(&table, Format::Parquet(parquet::Options::default()), &Limits::default(), [front, back]).refused
            };
            let whole = read(0);
            assert!(whole.is_some());
            for cut in 1..body.len() {
                assert_eq!(read(cut), whole, "{} cut at {cut}", body.escape_ascii());
            }
        }
    }

    proptest! {
        #[test]
        fn however_a_body_is_cut_the_rows_are_the_same(body in "[0-9a,\"\n\\\\.]{0,120}", cut in 0usize..120, text: bool) {
            let table = Table::of_columns(&[("a", Some(Kind::Int4)), ("b", Some(Kind::Text)), ("c", Some(Kind::Date))]);
            let syntax = if text { Syntax::Text } else { Syntax::Csv };
            let mut options = Options::new(syntax);
            options.header = false;
            options.delimiter = b',';
            let limits = Limits::default();
            let (body, cut) = (body.as_bytes(), cut.min(body.len()));
            let whole = read(&table, Format::Csv(options.clone()), &limits, [body]);
            let pieces = read(&table, Format::Csv(options), &limits, [&body[..cut], &body[cut..]]);
            check_binary(&whole.binary);
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn lines_of_json_too(
            lines in prop::collection::vec(r#"(\{|"a":1,|"b":"\\u00e4\\n",|"c":\["x"\],|"c":"2024-01-01",|"d":"q",|"b":[12e\.]{1,3},|"a":null\}|\r|ä){1,6}"#, 0..6),
            good in prop::collection::vec(prop::sample::select(GOOD_LINES), 0..6), cut: prop::sample::Index,
        ) {
            let table = Table::of_columns(&[("a", Some(Kind::Int4)), ("b", Some(Kind::Text)), ("c", Some(Kind::Date)), ("d", None)]);
            let body = [good.join("\n"), lines.join("\n")].join("\n");
            let (body, cut) = (body.as_bytes(), cut.index(body.len() + 1));
            let format = || Format::Ndjson(ndjson::Options::default());
            let whole = read(&table, format(), &Limits::default(), [body]);
            let pieces = read(&table, format(), &Limits::default(), [&body[..cut], &body[cut..]]);
            check_binary(&whole.binary);
            prop_assert!(whole.rows >= good.len() as u64, "{:?}", whole);
            prop_assert_eq!(whole, pieces);
        }
    }
}
