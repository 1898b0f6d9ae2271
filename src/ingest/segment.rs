//! Encoded rows on their way to PostgreSQL: chunks of whole rows, each with a compact index of where its rows stood in the body, so
//! that a row which the *server* refuses can be named too.

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
}

/// Where each row of a run starts, in about two bytes a row.
///
/// Per row: the distance to the next row's first byte, and the number of lines in between when it is not one, both as variable-length
/// integers (LEB128); the lowest bit of the first says whether the second follows.
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
            // Rows without lines follow each other by one.
            (Some(_), _) => {}
            (None, _) => self.start = Some(origin),
        }
        self.last = Some(origin);
        self.rows += 1;
    }

    /// Where the row with this 0-based number stood.
    pub(super) fn origin(&self, number: u64) -> Option<Origin> {
        if number >= self.rows {
            return None;
        }
        match self.start? {
            Origin::Row(first) => Some(Origin::Row(first + number)),
            Origin::Line { mut line, mut byte_offset } => {
                let mut deltas = self.deltas.as_slice();
                for _ in 0..number {
                    let bytes = take_varint(&mut deltas)?;
                    byte_offset += bytes >> 1;
                    line += if bytes & 1 == 1 { take_varint(&mut deltas)? } else { 1 };
                }
                Some(Origin::Line { line, byte_offset })
            }
        }
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
        for row in 11..=20 {
            index.push(Origin::Row(row));
        }
        assert_eq!(index.origin(9), Some(Origin::Row(20)));
        assert_eq!(index.origin(10), None);
    }
}
