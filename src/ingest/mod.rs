//! DATA PLANE: one load, from the first byte of its body to its commit. The stages, in their order; only this file knows it:
//!
//! ```text
//!  body ──► queue ──► decompress ──► transcode ──► parse + encode ──► queue ──► copy ──► ledger + COMMIT
//!  (async)  bytes     gzip | zstd |  to UTF-8      csv | ndjson |     bytes     (async)  one transaction
//!                     lz4 | br                     arrow | parquet (by way of the disk)
//!                     └──────────── a thread of its own ────────────┘
//! ```
//!
//! Backpressure is one sentence: when PostgreSQL is slow, the body is not polled. Both queues are bounded in bytes, so the memory of a
//! load does not depend on the size of its body.

#[cfg(any(test, fuzzing))]
pub mod apart;
pub mod arrow;
mod aside;
mod batch;
mod body;
pub mod commit;
mod copy;
pub mod csv;
mod decompress;
pub mod digest;
mod memory;
pub mod meter;
pub mod ndjson;
pub mod parquet;
mod queue;
pub mod rejects;
mod rows;
mod segment;
mod transcode;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::aside::Aside;
pub use self::body::Frames;
pub use self::copy::Segments;
pub use self::decompress::Coding;
pub use self::memory::memory_bytes;
use self::meter::Meter;
use self::queue::{Closed, Item, Receiver, Sender};
use self::rejects::Rejects;
use self::rows::{Emit, Feed, Halt, Rows};
pub use self::transcode::{ByteOrder, Charset, Encoding};
use self::transcode::{Piece, Transcoder};
use crate::config::Limits;
use crate::engine::bulk::{Bulk, Connection};
use crate::engine::catalog::Table;
use crate::error::{DataError, LoadError, Stop, TableError};
use crate::telemetry::Trace;

/// What a body is written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// `text/csv`, `text/tab-separated-values`
    Csv(csv::Options),
    /// `application/x-ndjson`
    Ndjson(ndjson::Options),
    /// Arrow IPC
    Arrow(arrow::Container),
    /// `application/vnd.apache.parquet`
    Parquet(parquet::Options),
}

impl Format {
    /// Every name that a format has.
    pub const NAMES: [&'static str; 6] = ["text", "csv", "ndjson", "arrow-stream", "arrow-file", "parquet"];

    /// The format's name in the jobs' metadata.
    pub fn name(&self) -> &'static str {
        match self {
            Format::Csv(csv::Options { syntax: csv::Syntax::Text, .. }) => "text",
            Format::Csv(_) => "csv",
            Format::Ndjson(_) => "ndjson",
            Format::Arrow(arrow::Container::Stream) => "arrow-stream",
            Format::Arrow(arrow::Container::File) => "arrow-file",
            Format::Parquet(_) => "parquet",
        }
    }
}

/// One load, accepted.
#[derive(Debug)]
pub struct Load {
    /// the span under which its stages are traced
    pub trace: Trace,
    /// its job
    pub job: Uuid,
    /// where to
    pub table: Table,
    /// what of
    pub format: Format,
    /// what was applied to the body, in this order
    pub codings: Vec<Coding>,
    /// what the text of it is encoded in
    pub encoding: Encoding,
    /// how to cut it
    pub segments: Segments,
    /// the role that it runs in, if that is not the service's own
    pub pg_role: Option<String>,
    /// how long it may take
    pub timeout: Duration,
    /// what its body is declared to be
    pub digests: Vec<digest::Declared>,
    /// how many rows its body is declared to hold
    pub expected_rows: Option<u64>,
    /// its counters
    pub meter: Arc<Meter>,
    /// where bad rows go, if they do not end it
    pub rejects: Option<Arc<Rejects>>,
    /// where its body is kept if it has to be whole before it can be read
    pub spools: parquet::Spools,
}

/// Stops a load from outside, and says who did.
#[derive(Debug, Clone, Default)]
pub struct Stopper {
    token: CancellationToken,
    reason: Arc<std::sync::OnceLock<Stop>>,
}

impl Stopper {
    /// Stops the load, unless it is stopped already; the first reason is the one that counts.
    pub fn stop(&self, reason: Stop) {
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    /// Waits for the load to be stopped, and says why.
    pub async fn stopped(&self) -> Stop {
        self.token.cancelled().await;
        self.reason.get().copied().unwrap_or(Stop::Cancelled)
    }
}

/// Asked between the ledger row and COMMIT: the last moment at which a load can still be stopped.
pub trait Witness {
    /// Records that the load is about to commit in the transaction `xid`; an error stops it.
    fn committing(&self, xid: &str) -> impl Future<Output = Result<(), LoadError>> + Send;
}

/// Refuses, before the body is asked for, what is sure to be refused: columns that the request itself names wrongly.
///
/// # Errors
/// All misfits.
pub fn check_columns(table: &Table, format: &Format) -> Result<(), TableError> {
    match format {
        Format::Csv(csv::Options { columns: Some(columns), .. })
        | Format::Ndjson(ndjson::Options { columns: Some(columns) })
        | Format::Parquet(parquet::Options { columns: Some(columns) }) => {
            rows::resolve(table, columns).map(|_| ()).map_err(TableError::Misfit)
        }
        _ => Ok(()),
    }
}

/// Runs one load to its end and returns how many rows are in the table. An error means that nothing of it is (but see
/// [`LoadError::OutcomePending`] and [`LoadError::PartialCommit`]).
///
/// # Errors
/// See [`LoadError`].
pub async fn run(
    load: Load,
    frames: impl Frames + 'static,
    bulk: &Bulk,
    connection: Connection,
    limits: &Limits,
    stopper: &Stopper,
    witness: &impl Witness,
) -> Result<u64, LoadError> {
    let sealed = async {
        let name = load.table.display_name();
        let copying = load.trace.database_stage("copy", &name);
        let rows = copying.end(transfer(&load, frames, bulk, &connection, limits).await)?;
        check_count(load.expected_rows, load.meter.rows_received.get())?;
        let committing_since = Instant::now();
        let sealing = load.trace.database_stage("ledger", &name);
        let xid = {
            let _wait = load.meter.waits.begin();
            commit::write_ledger(&connection, load.job, &name, rows, load.pg_role.as_deref()).await
        };
        let xid = sealing.end(xid)?;
        let announcing = load.trace.database_stage("announce commit", "pgsluice.jobs");
        announcing.end(witness.committing(&xid).await)?;
        load.meter.commit.add_since(committing_since);
        Ok::<u64, LoadError>(rows)
    };
    let dead_link = watch::dead_link(bulk, &connection, &load.meter.waits, limits.database_stall);
    // Up to here a load can be stopped; dropping `connection` on the way out rolls it back.
    let rows = tokio::select! {
        biased;
        stop = stopper.stopped() => return Err(stop.into()),
        () = tokio::time::sleep(load.timeout) => return Err(Stop::Timeout.into()),
        error = dead_link => return Err(error.into()),
        sealed = sealed => sealed?,
    };
    let committing_since = Instant::now();
    let committing = load.trace.database_stage("commit", &load.table.display_name());
    let outcome = committing.end(commit::settle(bulk, connection, load.job, rows, load.timeout).await);
    load.meter.commit.add_since(committing_since);
    outcome.map_err(|error| match error {
        // The ledger tells of its own server, and not of those.
        LoadError::Database(error) if load.table.has_foreign_parts => LoadError::PartialCommit(error),
        error => error,
    })
}

/// Holds the body to the number of rows that it was said to have.
fn check_count(expected: Option<u64>, found: u64) -> Result<(), LoadError> {
    match expected {
        Some(expected) if expected != found => Err(LoadError::RowCount { expected, found }),
        _ => Ok(()),
    }
}

/// Body to COPY: three stages at work at the same time, the first failure ends all of them.
async fn transfer(load: &Load, frames: impl Frames, bulk: &Bulk, connection: &Connection, limits: &Limits) -> Result<u64, LoadError> {
    let (body_in, body_out) = queue::queue(limits.body_queue_bytes);
    let (chunks_in, chunks_out) = queue::queue(limits.chunk_queue_bytes);
    let bounds = body::Bounds { bytes_max: limits.body_bytes_max, stall: limits.client_stall };
    let meter = &*load.meter;
    let receive = body::receive(frames, body_in, bounds, digest::Check::new(&load.digests), meter);
    let encode = encode_on_thread(load, body_out, chunks_in, bulk, limits);
    let send = async {
        let wait = meter.waits.begin();
        copy::lock(connection, &load.table).await?;
        drop(wait);
        copy::run(connection, &load.table, chunks_out, load.segments, load.rejects.as_deref(), meter).await
    };
    let ((), (), rows) = tokio::try_join!(receive, encode, send)?;
    let rows = rows.ok_or_else(|| LoadError::Internal("a stage ended without a word".into()))?;
    if let Some(rejects) = &load.rejects {
        rejects.check_ratio(meter.rows_received.get())?;
    }
    Ok(rows)
}

/// Parsing and encoding burn CPU, so they have a thread of their own for as long as the load runs.
async fn encode_on_thread(load: &Load, body: Receiver<Bytes>, chunks: Sender<Feed>, bulk: &Bulk, limits: &Limits) -> Result<(), LoadError> {
    let (table, format, meter) = (load.table.clone(), load.format.clone(), Arc::clone(&load.meter));
    let (limits, spools, codings) = (limits.clone(), load.spools.clone(), load.codings.clone());
    let (encoding, bulk, rejects) = (load.encoding, bulk.clone(), load.rejects.clone());
    // Whoever says how many rows there are may say that there are none.
    let counted = load.expected_rows.is_some();
    let may_be_empty = counted && matches!(format, Format::Csv(_) | Format::Ndjson(_));
    // One COPY has one format, and only the text format takes every row. And where text has to be converted, that comes first: only the
    // server knows what becomes of it.
    let text_only = load.segments == Segments::One || !load.table.is_utf8;
    let runtime = Handle::current();
    // Dropped when the load is over, also when it is stopped: then the thread must not go on waiting for the server.
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let span = tracing::Span::current();
    let thread = tokio::task::spawn_blocking(move || {
        let _request = span.entered();
        let transcoder = match encoding {
            Encoding::Utf8 => None,
            Encoding::Foreign(charset) => {
                let server = Aside::new(bulk, runtime.clone(), over, limits.database_stall);
                Some(Transcoder::new(charset, limits.record_bytes_max, rejects.is_some(), server))
            }
        };
        let mut emit = ChunkQueue { chunks, runtime, waited: Duration::ZERO };
        let body = decompress::Body::new(body, &codings, &limits);
        let input = Input { body, transcoder, counted, may_be_empty };
        let mut rows = Rows::new(&table, text_only, rejects.as_deref(), &meter, &mut emit);
        encode(input, Decoder::new(format, &table, &limits, &spools), &mut rows, &meter)?;
        emit.chunks.blocking_send(&emit.runtime, Item::End, 0).map_err(Halt::from)
    });
    match thread.await {
        Ok(Ok(()) | Err(Halt::Closed)) => Ok(()),
        Ok(Err(Halt::Data(error))) => Err(error.into()),
        Ok(Err(Halt::Spool(error))) => Err(error.into()),
        Ok(Err(Halt::Excess(excess))) => Err(excess.into()),
        Err(panic) => Err(LoadError::Internal(panic.to_string())),
    }
}

enum Decoder {
    Csv(Box<csv::Decoder>),
    Ndjson(Box<ndjson::Decoder>),
    Arrow(Box<arrow::Decoder>),
    Parquet(Box<parquet::Decoder>),
}

impl Decoder {
    fn new(format: Format, table: &Table, limits: &Limits, spools: &parquet::Spools) -> Decoder {
        match format {
            Format::Csv(options) => Decoder::Csv(Box::new(csv::Decoder::new(options, table.dialect, limits.record_bytes_max))),
            Format::Ndjson(options) => Decoder::Ndjson(Box::new(ndjson::Decoder::new(&options, table, limits.record_bytes_max))),
            Format::Arrow(container) => {
                Decoder::Arrow(Box::new(arrow::Decoder::new(container, limits.arrow_message_bytes_max, limits.record_bytes_max)))
            }
            Format::Parquet(options) => {
                let decoder = parquet::Decoder::new(options, spools, limits.parquet_memory_bytes_max, limits.record_bytes_max);
                Decoder::Parquet(Box::new(decoder))
            }
        }
    }

    fn push(&mut self, bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), Halt> {
        match self {
            Decoder::Csv(decoder) => decoder.push(bytes, rows),
            Decoder::Ndjson(decoder) => decoder.push(bytes, rows),
            Decoder::Arrow(decoder) => decoder.push(bytes, rows),
            Decoder::Parquet(decoder) => decoder.push(bytes),
        }
    }

    fn push_piece(&mut self, piece: Piece<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        match piece {
            Piece::Text(text) => self.push(text, rows),
            Piece::NoText(line, why) => {
                rows.set_no_text(why);
                self.push(line, rows)
            }
        }
    }

    fn finish(self, rows: &mut Rows<'_>) -> Result<(), Halt> {
        match self {
            Decoder::Csv(decoder) => decoder.finish(rows),
            Decoder::Ndjson(decoder) => decoder.finish(rows),
            Decoder::Arrow(decoder) => decoder.finish(rows),
            Decoder::Parquet(decoder) => decoder.finish(rows),
        }
    }
}

/// The body on its way to its decoder.
struct Input {
    body: decompress::Body,
    /// for text that is not UTF-8
    transcoder: Option<Transcoder>,
    /// having no rows is no mistake: their number is held to account elsewhere
    counted: bool,
    /// and of having no rows, no byte at all is a form
    may_be_empty: bool,
}

impl Input {
    /// How long this has waited for the client, and for the server's conversions.
    fn waited(&self) -> Duration {
        self.body.waited() + self.transcoder.as_ref().map_or(Duration::ZERO, Transcoder::waited)
    }

    /// Hands on the next bytes; false at the body's proper end.
    fn next(&mut self, decoder: &mut Decoder, rows: &mut Rows<'_>, meter: &Meter) -> Result<bool, Halt> {
        let Some(bytes) = self.body.next()? else {
            return Ok(false);
        };
        meter.bytes_decoded.add(bytes.len() as u64);
        match &mut self.transcoder {
            None => decoder.push(bytes, rows)?,
            Some(transcoder) => transcoder.push(bytes, &mut |piece| decoder.push_piece(piece, rows))?,
        }
        Ok(true)
    }

    fn finish(mut self, mut decoder: Decoder, rows: &mut Rows<'_>) -> Result<(), Halt> {
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.finish(&mut |piece| decoder.push_piece(piece, rows))?;
        }
        decoder.finish(rows)
    }
}

/// The work of the encoding thread. Once rows are on their way, a bad body is reported behind them: the server may refuse one that came
/// before.
fn encode(input: Input, decoder: Decoder, rows: &mut Rows<'_>, meter: &Meter) -> Result<(), Halt> {
    match decode(input, decoder, rows, meter) {
        Err(Halt::Data(error)) if rows.count() > 0 => rows.end_refused(error),
        result => result,
    }
}

fn decode(mut input: Input, mut decoder: Decoder, rows: &mut Rows<'_>, meter: &Meter) -> Result<(), Halt> {
    loop {
        let (working_since, waited) = (Instant::now(), input.waited() + rows.waited());
        let more = input.next(&mut decoder, rows, meter)?;
        let waited = input.waited() + rows.waited() - waited;
        meter.encode.add(working_since.elapsed().saturating_sub(waited));
        if !more {
            break;
        }
    }
    let Input { counted, may_be_empty, .. } = input;
    if meter.bytes_decoded.get() == 0 {
        return if may_be_empty { Ok(()) } else { Err(DataError::Empty.into()) };
    }
    let (working_since, waited) = (Instant::now(), rows.waited());
    input.finish(decoder, rows)?;
    meter.encode.add(working_since.elapsed().saturating_sub(rows.waited() - waited));
    if rows.seen() == 0 && !counted { Err(DataError::NoRows.into()) } else { Ok(()) }
}

/// The way out of the encoding thread.
struct ChunkQueue {
    chunks: Sender<Feed>,
    runtime: Handle,
    waited: Duration,
}

impl Emit for ChunkQueue {
    fn emit(&mut self, feed: Feed, bytes: usize) -> Result<(), Closed> {
        let waiting_since = Instant::now();
        self.chunks.blocking_send(&self.runtime, Item::Value(feed), bytes)?;
        self.waited += waiting_since.elapsed();
        Ok(())
    }

    fn waited(&self) -> Duration {
        self.waited
    }

    fn is_closed(&self) -> bool {
        self.chunks.is_closed()
    }
}
