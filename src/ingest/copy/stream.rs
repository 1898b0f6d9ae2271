//! One COPY in progress, and what the server says of it in the end.

use std::pin::Pin;
use std::time::Instant;

use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::CopyInSink;

use super::context::{Place, place};
use crate::encode::{HEADER, TRAILER};
use crate::engine::catalog::Table;
use crate::error::{DatabaseError, LoadError, Position};
use crate::ingest::segment::{Chunk, Form, Originals};

/// What the index of one COPY may take. A single COPY may be endless; rows beyond that are named by their number only.
const INDEX_BYTES_MAX: usize = 16 << 20;

/// Rows on their way to the server.
pub(super) struct Stream {
    form: Form,
    sink: Pin<Box<CopyInSink<Bytes>>>,
    /// with its rows, so that they can be sent again; without, to name one of them
    kept: Vec<Chunk>,
    keeps_rows: bool,
    index_bytes: usize,
    /// sent
    rows: u64,
    bytes: usize,
    /// held on to
    kept_bytes: usize,
    opened: Instant,
}

/// A COPY that the server did not take.
pub(super) struct Refused {
    pub(super) error: DatabaseError,
    /// the row that it is about, counted from 0, if it says so
    pub(super) row: Option<u64>,
    pub(super) kept: Vec<Chunk>,
}

impl Stream {
    pub(super) async fn begin(form: Form, sink: CopyInSink<Bytes>, keeps_rows: bool) -> Result<Stream, LoadError> {
        let mut sink = Box::pin(sink);
        if form == Form::Binary {
            sink.feed(Bytes::from_static(HEADER)).await.map_err(DatabaseError::from)?;
        }
        Ok(Stream {
            form,
            sink,
            kept: Vec::new(),
            keeps_rows,
            index_bytes: 0,
            rows: 0,
            bytes: 0,
            kept_bytes: 0,
            opened: Instant::now(),
        })
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// How many rows were sent.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// How many bytes they are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is held on to.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Here the pipeline waits for PostgreSQL.
    pub(super) async fn send(&mut self, mut chunk: Chunk) -> Result<(), DatabaseError> {
        let data = chunk.data.clone();
        if !self.keeps_rows {
            (chunk.data, chunk.originals) = (Bytes::new(), Originals::None);
        }
        self.rows += chunk.rows();
        self.bytes += data.len();
        self.kept_bytes += chunk.memory_bytes();
        self.index_bytes += chunk.index.memory_bytes();
        if self.keeps_rows || self.index_bytes <= INDEX_BYTES_MAX {
            self.kept.push(chunk);
        }
        self.send_again(data).await
    }

    /// Sends rows that somebody else keeps.
    pub(super) async fn send_again(&mut self, rows: Bytes) -> Result<(), DatabaseError> {
        Ok(self.sink.feed(rows).await?)
    }

    /// Ends the COPY: the rows that the server took, or why it took none.
    pub(super) async fn finish(mut self, table: &Table) -> Result<u64, Refused> {
        match self.end().await {
            Ok(rows) => Ok(rows),
            Err(mut error) => {
                let columns = || table.columns.iter().map(|column| column.name.as_str());
                let place = error.context.as_deref().and_then(|context| place(context, &table.name, columns()));
                let Place { row, column, value } = place.unwrap_or_default();
                // The column that a trigger names may be one of another table.
                let named = error.position.column.take().filter(|name| columns().any(|column| column == name));
                error.position.column = column.or(named);
                error.value = value;
                Err(Refused { error, row: row.map(|row| row - 1), kept: self.kept })
            }
        }
    }

    async fn end(&mut self) -> Result<u64, DatabaseError> {
        if self.form == Form::Binary {
            self.sink.feed(Bytes::from_static(TRAILER)).await?;
        }
        Ok(self.sink.as_mut().finish().await?)
    }
}

impl Refused {
    /// Names the row by where it stood in the body.
    pub(super) fn named(self) -> DatabaseError {
        let mut error = self.error;
        if let Some(row) = self.row {
            let column = error.position.column.take();
            let place = Position { row: Some(row + 1), ..Position::default() };
            error.position = Position { column, ..origin(&self.kept, row).unwrap_or(place) };
        }
        error
    }
}

fn origin(kept: &[Chunk], mut row: u64) -> Option<Position> {
    for chunk in kept {
        if row < chunk.index.rows() {
            return chunk.index.origin(row).map(Position::from);
        }
        row -= chunk.index.rows();
    }
    None
}
