//! Finds the bad rows of a segment that the server has refused, and sends it the others again.
//!
//! The outcome is that of sending row by row, in order: a row is turned away if the server refuses it with all the rows in the table that
//! were taken before it. Where the server names the row, the others are sent again without it, and if they are taken it stands as refused;
//! where it names none (a foreign key, a trigger after the fact), it is found by halving. So the work grows with the number of bad rows and
//! not with its square.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

use super::pace::Pace;
use super::session::Session;
use super::stream::Refused;
use crate::engine::catalog::Table;
use crate::error::{DatabaseError, LoadError, Position, RowError};
use crate::ingest::meter::Meter;
use crate::ingest::rejects::Rejects;
use crate::ingest::rows::shorten;
use crate::ingest::segment::{Chunk, Form, Origin};

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

/// How far the search has come.
struct Search {
    /// rows before this one are dealt with
    at: u64,
    /// up to here they are tried next
    end: u64,
    /// rows that were refused when all others before them had been taken, so that they are left out, in their order; if the others are
    /// taken this time too, they stand as refused
    left_out: Vec<(u64, DatabaseError)>,
    /// the rows up to the end were refused, and none was named
    unnamed: Option<DatabaseError>,
}

impl Search {
    /// A refusal of the rows up to `end` tells more.
    fn refused(&mut self, end: u64, refused: Refused, pace: &Pace) {
        match refused.row.map(|number| self.tried_row(number)).filter(|row| *row < end) {
            // A row that came later was refused beside this one, and may not be without it.
            Some(row) => {
                self.left_out.retain(|(other, _)| *other < row);
                self.left_out.push((row, refused.error));
                self.unnamed = None;
                self.end = end.min((row + 1).max(self.at + pace.rows_after_a_bad_one(row - self.at)));
            }
            None => {
                self.left_out.retain(|(other, _)| *other < end);
                self.unnamed = Some(refused.error);
                self.end = end;
            }
        }
    }

    /// Which row the server means by a number: it does not know of those that were left out.
    fn tried_row(&self, number: u64) -> u64 {
        let mut row = self.at + number;
        for (left_out, _) in &self.left_out {
            row += u64::from(*left_out <= row);
        }
        row
    }

    /// Up to where to try next.
    fn next_end(&self) -> u64 {
        if self.unnamed.is_some() { self.at + (self.end - self.at) / 2 } else { self.end }
    }

    /// The first of the rows is the bad one.
    fn found(&mut self) -> Option<DatabaseError> {
        self.unnamed.take_if(|_| self.end == self.at + 1)
    }

    /// The rows up to `end` were taken but for those that were left out, which stand as refused now.
    fn taken(&mut self, end: u64) -> impl Iterator<Item = (u64, DatabaseError)> {
        self.at = end;
        let count = self.left_out.iter().take_while(|(row, _)| *row < end).count();
        self.left_out.drain(..count)
    }

    /// The rows to try, in runs between those that are left out.
    fn runs(&self, end: u64) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        let mut from = self.at;
        for (row, _) in self.left_out.iter().take_while(|(row, _)| *row < end) {
            runs.push(from..*row);
            from = row + 1;
        }
        runs.push(from..end);
        runs
    }
}

/// What became of a refused segment.
pub(super) struct Sifted {
    /// how many rows the server took
    pub(super) taken: u64,
    /// rows that have not been tried again yet
    pub(super) rest: Vec<Chunk>,
}

/// Loads the rows of a refused segment up to a bad one at least, and turns the bad ones away.
pub(super) async fn sift(
    session: &mut Session<'_>,
    mut refused: Refused,
    rejects: &Rejects,
    pace: &mut Pace,
    meter: &Meter,
) -> Result<Sifted, LoadError> {
    session.spoil();
    let rows = KeptRows::new(std::mem::take(&mut refused.kept));
    let mut search = Search { at: 0, end: rows.count, left_out: Vec::new(), unnamed: None };
    search.refused(rows.count, refused, pace);
    let mut taken = 0;
    loop {
        if let Some(error) = search.found() {
            rejects.add(rows.refusal(search.at, error, session.table), rows.record(search.at), meter)?;
            pace.met_a_bad_row();
            search.at += 1;
            break;
        }
        let (at, end) = (search.at, search.next_end());
        let tried = try_rows(session, &rows, &search.runs(end), meter).await?;
        meter.waits.go_on();
        match tried {
            Ok(count) => {
                taken += count;
                pace.went_well(end - at, rows.bytes(at..end));
                for (row, error) in search.taken(end) {
                    rejects.add(rows.refusal(row, error, session.table), rows.record(row), meter)?;
                    pace.met_a_bad_row();
                }
                if search.unnamed.is_none() {
                    break;
                }
            }
            Err(refused) if refused.is_about_rows() => {
                session.spoil();
                search.refused(end, refused, pace);
            }
            Err(refused) => return Err(refused.named().into()),
        }
    }
    Ok(Sifted { taken, rest: rows.from(search.at) })
}

async fn try_rows(
    session: &mut Session<'_>,
    rows: &KeptRows,
    runs: &[Range<u64>],
    meter: &Meter,
) -> Result<Result<u64, Refused>, LoadError> {
    if runs.iter().all(Range::is_empty) {
        return Ok(Ok(0));
    }
    let mut stream = session.open(rows.form, false).await?;
    for run in runs {
        for piece in rows.pieces(run.clone()) {
            stream.send_again(piece).await?;
            meter.waits.go_on();
        }
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

    /// The rows from that number on.
    fn from(self, row: u64) -> Vec<Chunk> {
        let later = self.chunks.into_iter().filter(|kept| kept.rows().end > row);
        let cut = later.map(|kept| {
            let before = row.saturating_sub(kept.first);
            if before == 0 { Some(kept.chunk) } else { kept.chunk.cut(before, u64::MAX).pop() }
        });
        cut.flatten().collect()
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
            let rest: Vec<u8> = rows.from(cuts[0] as u64).iter().flat_map(|chunk| chunk.data.to_vec()).collect();
            let expected: Vec<u8> = all[cuts[0]..].iter().flat_map(|length| [vec![b'x'; *length], vec![b'\n']].concat()).collect();
            prop_assert_eq!(&rest, &expected);
        }
    }
}
