//! Stage *copy*: chunks into `COPY … FROM STDIN`, segment by segment, in the load's one transaction. Nearly all rows go in the binary
//! format; those that only the server's own parser can judge go in the text format, in a segment of their own and in their place.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::{CopyInSink, Statement};

use super::meter::Meter;
use super::queue::{Item, Receiver};
use super::rows::Feed;
use super::segment::{Chunk, Form, RowIndex};
use crate::encode::{HEADER, TRAILER};
use crate::engine::bulk::Connection;
use crate::engine::catalog::{self, Table};
use crate::engine::quote_identifier;
use crate::error::{DatabaseError, LoadError, Position, TableError};

/// A segment is closed after about this much work: at full speed some 60 MiB, of which the seam costs less than can be measured …
const SEGMENT_TIME: Duration = Duration::from_millis(500);
/// … but not below this size, so that the round trip between two segments costs next to nothing …
const SEGMENT_BYTES_MIN: usize = 8 << 20;
/// … and not above this one, which bounds the index that names a refused row.
const SEGMENT_BYTES_MAX: usize = 256 << 20;

/// What the index of one segment may take. A single COPY may be endless; rows beyond that are named by their number only.
const INDEX_BYTES_MAX: usize = 16 << 20;

/// How many different COPY statements a load keeps prepared.
const STATEMENTS_MAX: usize = 32;

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
    meter: &Meter,
) -> Result<Option<u64>, LoadError> {
    let mut copies = Copies {
        connection,
        table,
        segments,
        meter,
        columns: Vec::new(),
        statements: HashMap::new(),
        open: None,
        rows: 0,
    };
    loop {
        let Ok(item) = chunks.recv().await else {
            return Ok(None);
        };
        let working_since = Instant::now();
        let _wait = meter.waits.begin();
        match item {
            Item::Value(Feed::Columns(columns)) => {
                copies.close().await?;
                copies.columns = columns;
            }
            Item::Value(Feed::Rows(chunk)) => copies.send(chunk).await?,
            Item::Value(Feed::Refused(error)) => {
                copies.close().await?;
                return Err(error.into());
            }
            Item::End => {
                copies.close().await?;
                meter.database.add_since(working_since);
                return Ok(Some(copies.rows));
            }
        }
        meter.database.add_since(working_since);
    }
}

/// The load's COPY statements, one after the other.
struct Copies<'a> {
    connection: &'a Connection,
    table: &'a Table,
    segments: Segments,
    meter: &'a Meter,
    columns: Vec<usize>,
    /// the same few come again and again
    statements: HashMap<(Vec<usize>, Form), Statement>,
    open: Option<Segment>,
    rows: u64,
}

impl Copies<'_> {
    /// A chunk in another form than the one before needs a COPY of its own.
    async fn send(&mut self, chunk: Chunk) -> Result<(), LoadError> {
        if self.open.as_ref().is_some_and(|segment| segment.form != chunk.form) {
            self.close().await?;
        }
        let mut segment = match self.open.take() {
            Some(segment) => segment,
            None => self.open(chunk.form).await?,
        };
        segment.send(chunk, self.table).await?;
        let due = self.segments == Segments::Adaptive && segment.is_due();
        self.open = Some(segment);
        if due { self.close().await } else { Ok(()) }
    }

    async fn open(&mut self, form: Form) -> Result<Segment, LoadError> {
        let key = (self.columns.clone(), form);
        if !self.statements.contains_key(&key) {
            // Each is a statement kept on the server.
            if self.statements.len() == STATEMENTS_MAX {
                self.statements.clear();
            }
            let sql = copy_statement(self.table, &self.columns, form);
            let statement = self.connection.client().prepare(&sql).await.map_err(DatabaseError::from)?;
            self.statements.insert(key.clone(), statement);
        }
        match self.statements.get(&key) {
            Some(statement) => Segment::open(self.connection, statement, form).await,
            None => Err(LoadError::Internal("a statement is missing".into())),
        }
    }

    async fn close(&mut self) -> Result<(), LoadError> {
        if let Some(segment) = self.open.take() {
            self.rows += segment.finish(self.table, self.meter).await?;
        }
        Ok(())
    }
}

fn copy_statement(table: &Table, columns: &[usize], form: Form) -> String {
    let columns: Vec<String> = columns.iter().map(|index| quote_identifier(&table.columns[*index].name)).collect();
    let (name, columns) = (table.quoted_name(), columns.join(", "));
    let format = match form {
        Form::Binary => "binary",
        Form::Text => "text",
    };
    format!("COPY {name} ({columns}) FROM STDIN (FORMAT {format})")
}

/// One COPY in progress.
struct Segment {
    form: Form,
    sink: Pin<Box<CopyInSink<Bytes>>>,
    indexes: Vec<RowIndex>,
    index_bytes: usize,
    bytes: usize,
    opened: Instant,
}

impl Segment {
    async fn open(connection: &Connection, statement: &Statement, form: Form) -> Result<Segment, LoadError> {
        let sink = connection.client().copy_in(statement).await.map_err(DatabaseError::from)?;
        let mut sink = Box::pin(sink);
        if form == Form::Binary {
            sink.feed(Bytes::from_static(HEADER)).await.map_err(DatabaseError::from)?;
        }
        Ok(Segment {
            form,
            sink,
            indexes: Vec::new(),
            index_bytes: 0,
            bytes: 0,
            opened: Instant::now(),
        })
    }

    /// Here the pipeline waits for PostgreSQL.
    async fn send(&mut self, chunk: Chunk, table: &Table) -> Result<(), LoadError> {
        self.bytes += chunk.data.len();
        self.index_bytes += chunk.index.memory_bytes();
        if self.index_bytes <= INDEX_BYTES_MAX {
            self.indexes.push(chunk.index);
        }
        let sent = self.sink.feed(chunk.data).await;
        sent.map_err(|error| self.explain(error.into(), table))
    }

    fn is_due(&self) -> bool {
        self.bytes >= SEGMENT_BYTES_MAX || self.bytes >= SEGMENT_BYTES_MIN && self.opened.elapsed() >= SEGMENT_TIME
    }

    async fn finish(mut self, table: &Table, meter: &Meter) -> Result<u64, LoadError> {
        if self.form == Form::Binary {
            let fed = self.sink.feed(Bytes::from_static(TRAILER)).await;
            fed.map_err(|error| self.explain(error.into(), table))?;
        }
        let finished = self.sink.as_mut().finish().await;
        let rows = finished.map_err(|error| self.explain(error.into(), table))?;
        meter.rows_copied.add(rows);
        Ok(rows)
    }

    /// Names the row that the server's context speaks of.
    fn explain(&self, mut error: DatabaseError, table: &Table) -> LoadError {
        let place = error.context.as_deref().and_then(|context| copy_context(context, &table.name));
        if let Some((row, column)) = place {
            let column = column.or(error.position.column.take());
            let origin = self.origin(row - 1).unwrap_or(Position { row: Some(row), ..Position::default() });
            error.position = Position { column, ..origin };
        }
        LoadError::Database(error)
    }

    fn origin(&self, mut row: u64) -> Option<Position> {
        for index in &self.indexes {
            if row < index.rows() {
                return index.origin(row).map(Position::from);
            }
            row -= index.rows();
        }
        None
    }
}

/// Reads `COPY table, line 5, column name: "value"` out of an error's context. The words for *line* and *column* are in the server's
/// language, so only their places count.
fn copy_context(context: &str, table: &str) -> Option<(u64, Option<String>)> {
    let rest = context
        .lines()
        .find_map(|line| line.strip_prefix("COPY ")?.strip_prefix(table)?.strip_prefix(", "))?;
    let digits = rest.find(|c: char| c.is_ascii_digit())?;
    let rest = &rest[digits..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let row: u64 = rest[..end].parse().ok().filter(|row| *row > 0)?;
    let column = rest[end..].strip_prefix(", ").and_then(|rest| rest.split_once(' '));
    let column = column.map(|(_, name)| name.split(": \"").next().unwrap_or(name).to_owned());
    Some((row, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_names_row_and_column() {
        let place = |context| copy_context(context, "t");
        assert_eq!(place("COPY t, line 12"), Some((12, None)));
        assert_eq!(place("COPY t, line 3, column a b: \"x\""), Some((3, Some("a b".into()))));
        assert_eq!(place("COPY t, Zeile 7, Spalte v"), Some((7, Some("v".into()))));
        assert_eq!(place("PL/pgSQL function f() line 3 at RAISE\nCOPY t, line 2"), Some((2, None)));
        assert_eq!(place("SQL statement \"SELECT 1\""), None);
    }
}
