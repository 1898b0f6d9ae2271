//! Encoded rows on their way to PostgreSQL: chunks of whole rows, each with a compact index of where its rows stood in the body, so
//! that a row which the *server* refuses can be named too.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Position;

/// The COPY format that rows are sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// encoded here
    Binary,
    /// for the server's own parser, which knows what ours does not
    Text,
}

/// A run of whole rows in one COPY format, ready to be sent.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) form: Form,
    pub(super) data: Bytes,
    pub(super) index: RowIndex,
    pub(super) originals: Originals,
}

impl Chunk {
    pub(super) fn memory_bytes(&self) -> usize {
        self.data.len() + self.index.memory_bytes() + self.originals.memory_bytes()
    }

    pub(super) fn rows(&self) -> u64 {
        self.index.rows()
    }

    /// Cuts the chunk into pieces: the first of so many rows, the others of so many.
    pub(super) fn cut(&self, first: u64, others: u64) -> Vec<Chunk> {
        let ends = self.row_ends();
        let mut origins = self.index.origins();
        let mut pieces = Vec::new();
        let (mut row, mut at, mut size) = (0, 0, first);
        while row < ends.len() {
            let next = row.saturating_add(size.max(1) as usize).min(ends.len());
            let mut index = RowIndex::default();
            origins.by_ref().take(next - row).for_each(|origin| index.push(origin));
            let originals = self.originals.part(row..next);
            pieces.push(Chunk { form: self.form, data: self.data.slice(at..ends[next - 1]), index, originals });
            (row, at, size) = (next, ends[next - 1], others);
        }
        pieces
    }

    /// Where in the data each row ends.
    pub(super) fn row_ends(&self) -> Vec<usize> {
        match self.form {
            // Line ends in values are escaped, so each that stands here ends a row.
            Form::Text => memchr::memchr_iter(b'\n', &self.data).map(|at| at + 1).collect(),
            Form::Binary => binary_row_ends(&self.data),
        }
    }
}

fn binary_row_ends(data: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(count) = data.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
        at += 2;
        for _ in 0..u16::from_be_bytes(*count) {
            let length = data.get(at..).and_then(|rest| rest.first_chunk::<4>());
            let length = length.map_or(0, |word| i32::from_be_bytes(*word));
            // A NULL has a length of -1 and no bytes.
            at += 4 + usize::try_from(length).unwrap_or(0);
        }
        ends.push(at);
    }
    ends
}

/// What the rows of a chunk were made of, for a load that turns bad rows away and has to show them.
#[derive(Debug, Default)]
pub(super) enum Originals {
    /// nobody will ask
    #[default]
    None,
    /// records of a text format, one after the other, and where each of them ends
    Records { bytes: Vec<u8>, ends: Vec<usize> },
    /// typed values, and what they take in memory that no chunk before has answered for
    Values { values: Arc<dyn Values>, memory_bytes: usize },
}

/// Typed rows that can be shown as records of CSV.
pub(super) trait Values: std::fmt::Debug + Send + Sync {
    /// The row of this place in the body.
    fn record(&self, origin: Origin) -> Vec<u8>;
}

impl Originals {
    /// Notes the record of the next row.
    #[inline]
    pub(super) fn push(&mut self, record: &[u8]) {
        match self {
            Originals::None => *self = Originals::Records { bytes: record.to_vec(), ends: vec![record.len()] },
            Originals::Records { bytes, ends } => {
                bytes.extend_from_slice(record);
                ends.push(bytes.len());
            }
            Originals::Values { .. } => {}
        }
    }

    /// What the rows so far were made of; the same values go on being those of the rows that follow.
    pub(super) fn take(&mut self) -> Originals {
        match self {
            Originals::Values { values, memory_bytes } => {
                Originals::Values { values: Arc::clone(values), memory_bytes: std::mem::take(memory_bytes) }
            }
            records => std::mem::take(records),
        }
    }

    /// What the rows of these numbers were made of.
    fn part(&self, rows: Range<usize>) -> Originals {
        match self {
            Originals::None => Originals::None,
            Originals::Records { bytes, ends } => {
                let end_of = |rows: usize| rows.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0);
                let start = end_of(rows.start);
                Originals::Records {
                    bytes: bytes.get(start..end_of(rows.end)).unwrap_or_default().to_vec(),
                    ends: ends.get(rows).unwrap_or_default().iter().map(|end| end - start).collect(),
                }
            }
            // The first part answers for the values of all.
            Originals::Values { values, memory_bytes } => Originals::Values {
                values: Arc::clone(values),
                memory_bytes: if rows.start == 0 { *memory_bytes } else { 0 },
            },
        }
    }

    /// Gives back what growing has reserved too much.
    pub(super) fn shrink(&mut self) {
        if let Originals::Records { bytes, ends } = self {
            bytes.shrink_to_fit();
            ends.shrink_to_fit();
        }
    }

    /// The record of the row with this 0-based number, which stood there.
    pub(super) fn record(&self, number: usize, origin: Origin) -> Vec<u8> {
        match self {
            Originals::None => Vec::new(),
            Originals::Records { bytes, ends } => {
                let start = number.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
                ends.get(number).and_then(|end| bytes.get(start..*end)).unwrap_or_default().to_vec()
            }
            Originals::Values { values, .. } => values.record(origin),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Originals::None => 0,
            Originals::Records { bytes, ends } => bytes.len() + size_of_val(ends.as_slice()),
            Originals::Values { memory_bytes, .. } => *memory_bytes,
        }
    }
}

/// Where each row of a run starts, in about two bytes a row.
///
/// Per row that starts with a line: the distance to the next row's first byte, and the number of lines in between when it is not one, both
/// as variable-length integers (LEB128); the lowest bit of the first says whether the second follows. Per row without lines: the distance
/// in rows, which is more than one where rows between them were turned away.
#[derive(Debug, Clone, Default)]
pub(super) struct RowIndex {
    rows: u64,
    start: Option<Origin>,
    last: Option<Origin>,
    deltas: Vec<u8>,
}

/// Where one row starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// a record in a text format
    Line { line: u64, byte_offset: u64 },
    /// a row in a format without lines, 1-based
    Row(u64),
}

impl From<Origin> for Position {
    fn from(origin: Origin) -> Position {
        match origin {
            Origin::Line { line, byte_offset } => Position { line: Some(line), byte_offset: Some(byte_offset), ..Position::default() },
            Origin::Row(row) => Position { row: Some(row), ..Position::default() },
        }
    }
}

impl RowIndex {
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.deltas.len()
    }

    /// Gives back what growing has reserved too much: the index is kept until its segment is closed.
    pub(super) fn shrink(&mut self) {
        self.deltas.shrink_to_fit();
    }

    /// Notes the next row.
    pub(super) fn push(&mut self, origin: Origin) {
        match (self.last, origin) {
            (Some(Origin::Line { line, byte_offset }), Origin::Line { line: next_line, byte_offset: next_offset }) => {
                let (bytes, lines) = (next_offset - byte_offset, next_line - line);
                put_varint(&mut self.deltas, bytes << 1 | u64::from(lines != 1));
                if lines != 1 {
                    put_varint(&mut self.deltas, lines);
                }
            }
            (Some(Origin::Row(row)), Origin::Row(next)) => put_varint(&mut self.deltas, next - row),
            // A body has lines or it has none.
            (Some(_), _) => {}
            (None, _) => self.start = Some(origin),
        }
        self.last = Some(origin);
        self.rows += 1;
    }

    /// Where the row with this 0-based number stood.
    pub(super) fn origin(&self, number: u64) -> Option<Origin> {
        self.origins().nth(usize::try_from(number).ok()?)
    }

    /// Where each row stood, in order.
    fn origins(&self) -> impl Iterator<Item = Origin> {
        let mut deltas = self.deltas.as_slice();
        std::iter::successors(self.start, move |origin| match *origin {
            Origin::Row(row) => Some(Origin::Row(row + take_varint(&mut deltas)?)),
            Origin::Line { line, byte_offset } => {
                let bytes = take_varint(&mut deltas)?;
                let lines = if bytes & 1 == 1 { take_varint(&mut deltas)? } else { 1 };
                Some(Origin::Line { line: line + lines, byte_offset: byte_offset + (bytes >> 1) })
            }
        })
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_is_found_again(steps in prop::collection::vec((1u64..70_000, 1u64..4), 1..200)) {
            let mut index = RowIndex::default();
            let mut origins = Vec::new();
            let (mut line, mut byte_offset) = (2, 17);
            for (bytes, lines) in steps {
                origins.push(Origin::Line { line, byte_offset });
                index.push(Origin::Line { line, byte_offset });
                line += lines;
                byte_offset += bytes;
            }
            for (number, origin) in origins.iter().enumerate() {
                prop_assert_eq!(index.origin(number as u64), Some(*origin));
            }
            prop_assert_eq!(index.origin(origins.len() as u64), None);
        }
    }

    #[test]
    fn rows_without_lines_are_counted() {
        let mut index = RowIndex::default();
        for row in (11..=20).chain([500]) {
            index.push(Origin::Row(row));
        }
        assert_eq!(index.origin(9), Some(Origin::Row(20)));
        assert_eq!(index.origin(10), Some(Origin::Row(500)));
        assert_eq!(index.origin(11), None);
    }

    #[test]
    fn rows_are_found_in_their_data() {
        let chunk = |form, data: &'static [u8]| Chunk {
            form,
            data: Bytes::from_static(data),
            index: RowIndex::default(),
            originals: Originals::None,
        };
        let binary = b"\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x02\0\0\0\0\0\0\0\x03abc";
        assert_eq!(chunk(Form::Binary, binary).row_ends(), [11, 24]);
        assert_eq!(chunk(Form::Text, b"1\ta\\nb\n\\N\t\n").row_ends(), [7, 11]);
        assert!(chunk(Form::Binary, b"").row_ends().is_empty());
    }

    #[test]
    fn records_are_found_again() {
        let mut originals = Originals::default();
        for record in ["1,a", "", "3,ccc"] {
            originals.push(record.as_bytes());
        }
        let record = |number| originals.record(number, Origin::Row(1));
        assert_eq!([record(0), record(1), record(2), record(3)], [&b"1,a"[..], b"", b"3,ccc", b""]);
    }

    #[test]
    fn a_chunk_is_cut_between_rows() {
        let (mut data, mut index, mut originals) = (Vec::new(), RowIndex::default(), Originals::default());
        for row in 1..=7u8 {
            data.extend_from_slice(&[b'0' + row, b'\n']);
            index.push(Origin::Line { line: u64::from(row) * 2, byte_offset: u64::from(row) * 10 });
            originals.push(&vec![b'x'; row.into()]);
        }
        let chunk = Chunk { form: Form::Text, data: data.into(), index, originals };
        let pieces = chunk.cut(1, 4);
        let texts: Vec<&[u8]> = pieces.iter().map(|piece| &*piece.data).collect();
        assert_eq!(texts, [&b"1\n"[..], b"2\n3\n4\n5\n", b"6\n7\n"]);
        let second = &pieces[1];
        assert_eq!((second.rows(), second.index.origin(3)), (4, Some(Origin::Line { line: 10, byte_offset: 50 })));
        assert_eq!(second.originals.record(3, Origin::Row(1)), b"xxxxx");
        assert_eq!(chunk.cut(100, 1).len(), 1);
    }
}
