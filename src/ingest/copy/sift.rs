//! Finds the bad rows of a segment that the server has refused, and sends it the others again.
//!
//! The outcome is that of sending row by row, in order: a row is turned away if the server refuses it with all the rows in the table that
//! were taken before it. Where the server names the row, those before it are sent, and then it stands as refused; where it names none (a
//! foreign key, a trigger after the fact), it is found by halving. So the work grows with the number of bad rows and not with its square.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

use super::session::Session;
use super::stream::Refused;
use crate::engine::catalog::Table;
use crate::error::{DatabaseError, LoadError, Position, RowError};
use crate::ingest::meter::Meter;
use crate::ingest::rejects::Rejects;
use crate::ingest::rows::shorten;
use crate::ingest::segment::{Chunk, Form, Origin};

/// What one more COPY costs, as bytes that could be sent in its time.
const COPY_COST_BYTES: f64 = 65_536.0;
/// A COPY is not made smaller than this for fear of the next bad row …
const BYTES_MIN: f64 = 16_384.0;
/// … nor larger than this at the beginning of a load; later the more, the more rows have been taken, because each savepoint is one more
/// subtransaction, of which PostgreSQL likes a load to have few …
const BYTES_MAX_FIRST: f64 = 16_777_216.0;
/// … but this is all that a load may keep.
const BYTES_MAX: f64 = super::KEPT_BYTES_MAX as f64;
/// How many segments a load is cut into before they grow.
const SEGMENTS_FEW: f64 = 32.0;

/// How much to send in one COPY, by how far apart the bad rows have been. With `d` bytes between them and COPYs of `p` bytes, those cost
/// `d / p` times what a COPY costs, and half of `p` has to be sent again: the least in all is at `p = √(2 · d · cost)`.
#[derive(Debug)]
pub(super) struct Pace {
    /// bytes between two bad rows, on average
    spacing: f64,
    /// taken since the last one
    since: f64,
    /// taken in all
    taken: f64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { spacing: f64::INFINITY, since: 0.0, taken: 0.0 }
    }
}

impl Pace {
    pub(super) fn bytes(&self) -> usize {
        let most = (self.taken / SEGMENTS_FEW).clamp(BYTES_MAX_FIRST, BYTES_MAX);
        let spacing = self.spacing.max(self.since);
        (2.0 * COPY_COST_BYTES * spacing).sqrt().clamp(BYTES_MIN, most) as usize
    }

    pub(super) fn went_well(&mut self, bytes: usize) {
        self.since += bytes as f64;
        self.taken += bytes as f64;
    }

    fn met_a_bad_row(&mut self) {
        self.spacing = if self.spacing.is_finite() { (3.0 * self.spacing + self.since) / 4.0 } else { self.since };
        self.since = 0.0;
    }
}

/// Classes of SQLSTATE (appendix A of PostgreSQL's manual) that are about the server or the session, whatever row they struck …
const ABOUT_THE_SERVER: [&str; 13] = ["08", "25", "26", "28", "2D", "3B", "3D", "40", "53", "55", "57", "58", "F0"];
/// … and that can be about the statement as a whole. The others are about data, or a trigger has made them up.
const ABOUT_EITHER: [&str; 18] =
    ["01", "02", "03", "0A", "0B", "20", "21", "24", "27", "2B", "2F", "34", "38", "39", "3F", "42", "54", "72"];

impl Refused {
    /// Another row would not have been refused for this.
    pub(super) fn is_about_rows(&self) -> bool {
        let class = self.error.sqlstate.as_deref().and_then(|code| code.get(..2));
        let Some(class) = class else {
            return false;
        };
        if ABOUT_THE_SERVER.contains(&class) {
            return false;
        }
        match class {
            // What an extension's input function says of a value.
            "XX" => self.row.is_some() && self.error.position.column.is_some(),
            class if ABOUT_EITHER.contains(&class) => self.row.is_some(),
            _ => true,
        }
    }
}

/// There is a bad row among those that come next, before `end`.
struct Suspicion {
    end: u64,
    /// it is the last of them
    named: bool,
    error: DatabaseError,
}

impl Suspicion {
    fn new(refused: Refused, tried: &Range<u64>) -> Suspicion {
        let named = refused.row.map(|row| tried.start + row).filter(|row| tried.contains(row));
        Suspicion {
            end: named.map_or(tried.end, |row| row + 1),
            named: named.is_some(),
            error: refused.error,
        }
    }

    /// Up to where to try next.
    fn middle(&self, at: u64) -> u64 {
        if self.named { self.end - 1 } else { at + (self.end - at) / 2 }
    }
}

/// Loads the rows of a refused segment but for the bad ones, and returns how many the server took.
pub(super) async fn sift(
    session: &mut Session<'_>,
    refused: Refused,
    rejects: &Rejects,
    pace: &mut Pace,
    meter: &Meter,
) -> Result<u64, LoadError> {
    session.spoil();
    let mut refused = refused;
    let rows = KeptRows::new(std::mem::take(&mut refused.kept));
    let mut suspicion = Some(Suspicion::new(refused, &(0..rows.count)));
    let (mut at, mut taken) = (0, 0);
    while at < rows.count {
        if let Some(found) = suspicion.take_if(|suspicion| suspicion.end == at + 1) {
            rejects.add(rows.refusal(at, found.error, session.table), rows.record(at), meter)?;
            pace.met_a_bad_row();
            at += 1;
            continue;
        }
        let end = match &suspicion {
            Some(suspicion) => suspicion.middle(at),
            None => rows.end_within(at, pace.bytes()),
        };
        let tried = try_rows(session, &rows, at..end).await?;
        meter.waits.go_on();
        match tried {
            Ok(count) => {
                taken += count;
                pace.went_well(rows.bytes(at..end));
                at = end;
            }
            Err(refused) if refused.is_about_rows() => {
                session.spoil();
                suspicion = Some(Suspicion::new(refused, &(at..end)));
            }
            Err(refused) => return Err(refused.named().into()),
        }
    }
    Ok(taken)
}

async fn try_rows(session: &mut Session<'_>, rows: &KeptRows, range: Range<u64>) -> Result<Result<u64, Refused>, LoadError> {
    let mut stream = session.open(rows.form, false).await?;
    for piece in rows.pieces(range) {
        stream.send_again(piece).await?;
    }
    Ok(stream.finish(session.table).await)
}

/// The rows of a segment, by their number in it.
struct KeptRows {
    form: Form,
    chunks: Vec<KeptChunk>,
    count: u64,
}

struct KeptChunk {
    chunk: Chunk,
    /// the number of its first row
    first: u64,
    /// where each of its rows ends; looked for when a part of the chunk is sent
    ends: OnceLock<Vec<usize>>,
}

impl KeptChunk {
    fn rows(&self) -> Range<u64> {
        self.first..self.first + self.chunk.index.rows()
    }

    /// Where the row of that number begins, or the chunk ends.
    fn offset(&self, row: u64) -> usize {
        match row - self.first {
            0 => 0,
            before if self.first + before == self.rows().end => self.chunk.data.len(),
            before => {
                let ends = self.ends.get_or_init(|| self.chunk.row_ends());
                ends.get(before as usize - 1).copied().unwrap_or(self.chunk.data.len())
            }
        }
    }
}

impl KeptRows {
    fn new(chunks: Vec<Chunk>) -> KeptRows {
        let form = chunks.first().map_or(Form::Binary, |chunk| chunk.form);
        let mut count = 0;
        let chunks = chunks.into_iter().map(|chunk| {
            let first = count;
            count += chunk.index.rows();
            KeptChunk { chunk, first, ends: OnceLock::new() }
        });
        KeptRows { form, chunks: chunks.collect(), count }
    }

    /// Those chunks that have rows of the range, with the part of the range that is theirs.
    fn parts(&self, range: Range<u64>) -> impl Iterator<Item = (&KeptChunk, Range<usize>)> {
        let from = self.chunks.partition_point(|kept| kept.rows().end <= range.start);
        self.chunks[from..].iter().take_while(move |kept| kept.first < range.end).map(move |kept| {
            let start = kept.offset(range.start.max(kept.first));
            let end = kept.offset(range.end.min(kept.rows().end));
            (kept, start..end)
        })
    }

    fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Bytes> {
        self.parts(range).map(|(kept, bytes)| kept.chunk.data.slice(bytes))
    }

    fn bytes(&self, range: Range<u64>) -> usize {
        self.parts(range).map(|(_, bytes)| bytes.len()).sum()
    }

    /// The last row that still fits when so many bytes are sent from a row on, plus one; at least that row itself.
    fn end_within(&self, at: u64, bytes: usize) -> u64 {
        let mut room = bytes;
        let mut end = at;
        for (kept, part) in self.parts(at..self.count) {
            if let Some(left) = room.checked_sub(part.len()) {
                (room, end) = (left, kept.rows().end);
                continue;
            }
            let ends = kept.ends.get_or_init(|| kept.chunk.row_ends());
            let fitting = ends.partition_point(|end| *end <= part.start + room);
            end = end.max(kept.first + fitting as u64);
            break;
        }
        end.max(at + 1)
    }

    fn chunk_of(&self, row: u64) -> Option<&KeptChunk> {
        self.chunks.get(self.chunks.partition_point(|kept| kept.rows().end <= row))
    }

    fn origin(&self, row: u64) -> Option<Origin> {
        let kept = self.chunk_of(row)?;
        kept.chunk.index.origin(row - kept.first)
    }

    fn record(&self, row: u64) -> Vec<u8> {
        let record = |kept: &KeptChunk| Some(kept.chunk.originals.record((row - kept.first) as usize, self.origin(row)?));
        self.chunk_of(row).and_then(record).unwrap_or_default()
    }

    /// What the server says of a row, in the words of the report.
    fn refusal(&self, row: u64, error: DatabaseError, table: &Table) -> RowError {
        let column = error.position.column.clone();
        let of_column = |name: &String| table.columns.iter().find(|column| column.name == *name);
        RowError {
            type_name: column.as_ref().and_then(of_column).map(|column| column.type_name.clone()),
            reason: error.full_message().into(),
            position: Position { column, ..self.origin(row).map(Position::from).unwrap_or_default() },
            value: error.value.as_deref().map(shorten),
            sqlstate: error.sqlstate.unwrap_or_default().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::segment::{Originals, RowIndex};
    use proptest::prelude::*;

    fn kept(lengths: &[Vec<usize>]) -> KeptRows {
        let mut row = 0;
        let chunks = lengths.iter().filter(|chunk| !chunk.is_empty()).map(|chunk| {
            let (mut data, mut index) = (Vec::new(), RowIndex::default());
            for length in chunk {
                row += 1;
                index.push(Origin::Row(row));
                data.extend(std::iter::repeat_n(b'x', *length));
                data.push(b'\n');
            }
            Chunk { form: Form::Text, data: data.into(), index, originals: Originals::None }
        });
        KeptRows::new(chunks.collect())
    }

    proptest! {
        #[test]
        fn any_range_of_rows_is_just_their_bytes(lengths in prop::collection::vec(prop::collection::vec(0usize..9, 0..6), 0..6), cuts: [prop::sample::Index; 2]) {
            let rows = kept(&lengths);
            let all: Vec<usize> = lengths.concat();
            prop_assert_eq!(rows.count as usize, all.len());
            let mut cuts = cuts.map(|cut| cut.index(all.len() + 1));
            cuts.sort_unstable();
            let range = cuts[0] as u64..cuts[1] as u64;
            let sent: Vec<u8> = rows.pieces(range.clone()).flat_map(|piece| piece.to_vec()).collect();
            let expected: Vec<u8> = all[cuts[0]..cuts[1]].iter().flat_map(|length| [vec![b'x'; *length], vec![b'\n']].concat()).collect();
            prop_assert_eq!(&sent, &expected);
            prop_assert_eq!(rows.bytes(range), expected.len());
        }

        #[test]
        fn as_many_rows_as_fit(lengths in prop::collection::vec(prop::collection::vec(0usize..9, 1..6), 1..6), at: prop::sample::Index, room in 0usize..80) {
            let rows = kept(&lengths);
            let at = at.index(rows.count as usize) as u64;
            let end = rows.end_within(at, room);
            prop_assert!(end > at && end <= rows.count);
            prop_assert!(end == at + 1 || rows.bytes(at..end) <= room);
            prop_assert!(end == rows.count || rows.bytes(at..end + 1) > room);
        }
    }

    #[test]
    fn the_pace_slows_down_where_bad_rows_are_dense_and_recovers() {
        let mut pace = Pace::default();
        assert_eq!(pace.bytes(), BYTES_MAX_FIRST as usize);
        for _ in 0..10 {
            pace.went_well(100_000);
            pace.met_a_bad_row();
        }
        let slow = pace.bytes();
        assert!((BYTES_MIN as usize..500_000).contains(&slow), "{slow}");
        pace.went_well(1 << 30);
        assert!(pace.bytes() > 8 << 20);
    }
}
