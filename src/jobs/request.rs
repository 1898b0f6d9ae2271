//! What a load is asked for with, and what is said when it is not committed.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::keys::{Difference, Key};
use crate::access::Caller;
use crate::access::limits::{Counted, Exceeded};
use crate::engine::bulk::{Reading, SynchronousCommit};
use crate::error::{DatabaseError, LoadError, SlotError, Stop, TableError};
use crate::ingest::digest::Declared;
use crate::ingest::rejects::OnError;
use crate::ingest::{Coding, Encoding, Format, Segments};
use crate::telemetry::Trace;

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// who asks for it
    pub caller: Caller,
    /// `name` or `schema.name`
    pub table: String,
    /// what the body is written in
    pub format: Format,
    /// what was applied to it, in this order
    pub codings: Vec<Coding>,
    /// what its text is encoded in
    pub encoding: Encoding,
    /// how to cut it
    pub segments: Segments,
    /// how its text is to be read
    pub reading: Reading,
    /// what its COMMIT waits for
    pub synchronous_commit: Option<SynchronousCommit>,
    /// what a bad row does
    pub on_error: OnError,
    /// how long it may take; the service's own limit otherwise
    pub timeout: Option<Duration>,
    /// what the body is declared to be
    pub digests: Vec<Declared>,
    /// how many bytes it says that it has
    pub declared_bytes: Option<u64>,
    /// how many rows it is declared to hold
    pub expected_rows: Option<u64>,
    /// under which it is loaded once
    pub key: Option<Key>,
    /// the trace that it is part of
    pub trace: Trace,
}

impl Request {
    /// Counts it against the limits of whoever asks, where there are any.
    pub(super) fn count(&self) -> Result<Option<Counted>, Exceeded> {
        self.caller.allowance.as_ref().map(|allowance| allowance.load(self.declared_bytes)).transpose()
    }
}

/// Why a load was not committed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// no room
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// not such a table
    #[error(transparent)]
    Table(#[from] TableError),
    /// not a table for whoever asks
    #[error("this key is not for the table {table:?}")]
    Forbidden {
        /// which
        table: String,
    },
    /// over a limit of whoever asks
    #[error(transparent)]
    OverLimit(#[from] Exceeded),
    /// the jobs' metadata cannot be written, so no load is begun
    #[error("the jobs' metadata cannot be reached: {0}")]
    Metadata(DatabaseError),
    /// stopped before it had a job
    #[error(transparent)]
    Stopped(Stop),
    /// its key is for another request
    #[error("the idempotency key was used before, {difference}")]
    KeyReused {
        /// the load that has it
        job: Uuid,
        /// what is not the same
        difference: Difference,
    },
    /// another load with its key runs
    #[error("a load with this idempotency key is in progress")]
    KeyInProgress {
        /// that load; `None` when there was a new one each time
        job: Option<Uuid>,
    },
    /// the load itself failed; its job has the document that describes it
    #[error("{error}")]
    Load {
        /// its job
        job: Uuid,
        /// why
        error: LoadError,
    },
}

/// Puts a failure into the document that the client gets; the job keeps the same one. It belongs to the edge, which knows the format.
pub trait Describe: Send + Sync {
    /// The problem's short name and the document.
    fn describe(&self, job: Uuid, error: &LoadError) -> (String, Value);
}

/// Whoever asked for a load. While that waits for a place, its body is not read, and a client that leaves is not noticed by that.
pub trait Client: Sync {
    /// Returns when the client has closed its end, or only its sending side: that cannot be told apart.
    fn gone(&self) -> impl Future<Output = ()> + Send;
}
