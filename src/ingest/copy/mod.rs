//! Stage *copy*: chunks into `COPY … FROM STDIN`, segment by segment, in the load's one transaction. Nearly all rows go in the binary
//! format; those that only the server's own parser can judge go in the text format, in a segment of their own and in their place.
//!
//! A segment that the server refuses ends the load. Where bad rows are turned away (`on_error=skip`), each segment is under a savepoint and
//! kept until the server has taken it; of one that is refused, the bad rows are found and the others are sent again (`sift`).

mod context;
mod pace;
mod session;
mod sift;
mod stream;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::pace::Pace;
use self::session::Session;
use self::sift::{Sifted, sift};
use self::stream::Stream;
use super::meter::Meter;
use super::queue::{Item, Receiver};
use super::rejects::Rejects;
use super::rows::Feed;
use super::segment::Chunk;
use crate::engine::bulk::Connection;
use crate::engine::catalog::{self, Table};
use crate::error::{DatabaseError, LoadError, TableError};

/// A segment is closed after about this much work: at full speed some 60 MiB, of which the seam costs less than can be measured …
const SEGMENT_TIME: Duration = Duration::from_millis(500);
/// … but not below this size, so that the round trip between two segments costs next to nothing …
const SEGMENT_BYTES_MIN: usize = 8 << 20;
/// … and not above this one, which bounds the index that names a refused row.
const SEGMENT_BYTES_MAX: usize = 256 << 20;

/// What a load may hold on to until the server has taken it, where bad rows are turned away.
pub(super) const KEPT_BYTES_MAX: usize = 64 << 20;

/// How a load is cut into COPY statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segments {
    /// by time and size, so that the server's errors are seen soon
    Adaptive,
    /// a single COPY: statement-level triggers fire once
    One,
}

/// Locks the table against every later ALTER TABLE and holds, by a second look, that it is still the one that the load was accepted
/// for.
pub(super) async fn lock(connection: &Connection, table: &Table) -> Result<(), LoadError> {
    let client = connection.client();
    let lock = format!("LOCK TABLE ONLY {} IN ROW EXCLUSIVE MODE", table.quoted_name());
    client.batch_execute(&lock).await.map_err(DatabaseError::from)?;
    match catalog::look_up(client, table.oid).await {
        Ok(Some(now)) if now == *table => Ok(()),
        Err(TableError::Database(error)) => Err(error.into()),
        _ => Err(LoadError::TableChanged),
    }
}

/// Sends all chunks and returns how many rows PostgreSQL took. Only a properly ended queue is a success.
pub(super) async fn run(
    connection: &Connection,
    table: &Table,
    mut chunks: Receiver<Feed>,
    segments: Segments,
    rejects: Option<&Rejects>,
    meter: &Meter,
) -> Result<Option<u64>, LoadError> {
    let mut copies = Copies {
        session: Session::new(connection, table, rejects.is_some()),
        segments,
        rejects,
        meter,
        pace: Pace::default(),
        waiting: VecDeque::new(),
        open: None,
        rows: 0,
    };
    let mut pacer = connection.pacer();
    loop {
        let Ok(item) = chunks.recv().await else {
            return Ok(None);
        };
        let working_since = Instant::now();
        let wait = meter.waits.begin();
        let mut sent_bytes = 0;
        match item {
            Item::Value(Feed::Columns(columns)) => {
                copies.close().await?;
                copies.session.columns = columns;
            }
            Item::Value(Feed::Rows(chunk)) => {
                sent_bytes = chunk.data.len();
                copies.send(chunk).await?;
            }
            Item::Value(Feed::Refused(error)) => {
                copies.close().await?;
                return Err(error.into());
            }
            Item::End => {
                copies.close().await?;
                copies.session.settle().await?;
                meter.database.add_since(working_since);
                return Ok(Some(copies.rows));
            }
        }
        meter.database.add_since(working_since);
        drop(wait);
        pacer.passed(sent_bytes).await;
    }
}

/// The load's COPY statements, one after the other.
struct Copies<'a> {
    session: Session<'a>,
    segments: Segments,
    rejects: Option<&'a Rejects>,
    meter: &'a Meter,
    pace: Pace,
    /// rows that are to be sent next
    waiting: VecDeque<Chunk>,
    open: Option<Stream>,
    rows: u64,
}

impl Copies<'_> {
    async fn send(&mut self, chunk: Chunk) -> Result<(), LoadError> {
        self.waiting.push_back(chunk);
        self.send_waiting().await
    }

    /// Sends what is left and sees to it that the server has taken it all.
    async fn close(&mut self) -> Result<(), LoadError> {
        loop {
            self.finish_open().await?;
            if self.waiting.is_empty() {
                return Ok(());
            }
            self.send_waiting().await?;
        }
    }

    async fn send_waiting(&mut self) -> Result<(), LoadError> {
        while let Some(chunk) = self.waiting.pop_front() {
            // A chunk in another form than the one before needs a COPY of its own.
            if self.open.as_ref().is_some_and(|stream| stream.form() != chunk.form) {
                self.waiting.push_front(chunk);
                self.finish_open().await?;
                continue;
            }
            let mut stream = match self.open.take() {
                Some(stream) => stream,
                None => self.session.open(chunk.form, self.rejects.is_some()).await?,
            };
            let mut pieces = self.cut(chunk, &stream).into_iter();
            if let Some(first) = pieces.next() {
                stream.send(first).await?;
                // Each chunk is waited for by itself.
                self.meter.waits.go_on();
            }
            let due = pieces.len() > 0 || self.is_due(&stream);
            pieces.rev().for_each(|piece| self.waiting.push_front(piece));
            self.open = Some(stream);
            if due {
                self.finish_open().await?;
            }
        }
        Ok(())
    }

    /// Where bad rows come often, a chunk may be more than is sent at a time: then it is cut.
    fn cut(&self, chunk: Chunk, stream: &Stream) -> Vec<Chunk> {
        let room = self.pace.rows().saturating_sub(stream.rows());
        if self.rejects.is_none() || chunk.rows() <= room {
            return vec![chunk];
        }
        chunk.cut(room, self.pace.rows())
    }

    fn is_due(&self, stream: &Stream) -> bool {
        let bytes = stream.bytes();
        match (self.segments, self.rejects) {
            (Segments::One, _) => false,
            (Segments::Adaptive, Some(_)) => {
                stream.rows() >= self.pace.rows() || bytes >= self.pace.bytes() || stream.kept_bytes() >= KEPT_BYTES_MAX
            }
            (Segments::Adaptive, None) => {
                bytes >= SEGMENT_BYTES_MAX || bytes >= SEGMENT_BYTES_MIN && stream.opened().elapsed() >= SEGMENT_TIME
            }
        }
    }

    async fn finish_open(&mut self) -> Result<(), LoadError> {
        let Some(stream) = self.open.take() else {
            return Ok(());
        };
        let (rows, bytes) = (stream.rows(), stream.bytes());
        let finished = stream.finish(self.session.table).await;
        // Rows that are left may need many more COPYs: none of them is waited for by itself.
        self.meter.waits.go_on();
        let taken = match (finished, self.rejects) {
            (Ok(taken), _) => {
                self.pace.went_well(rows, bytes);
                taken
            }
            (Err(refused), Some(rejects)) if refused.is_about_rows() => {
                let Sifted { taken, rest } = sift(&mut self.session, refused, rejects, &mut self.pace, self.meter).await?;
                rest.into_iter().rev().for_each(|chunk| self.waiting.push_front(chunk));
                taken
            }
            (Err(refused), _) => return Err(refused.named().into()),
        };
        self.rows += taken;
        self.meter.rows_copied.add(taken);
        Ok(())
    }
}
