//! CONTROL PLANE: the life of a job.
//!
//! ```text
//!  running ──► committing ──► committed
//!     │             └───────► failed
//!     ├──► failed
//!     └──► cancelled
//! ```
//!
//! The database arbitrates: every step is an UPDATE that names the state it leaves, so of two that race one wins.

mod accept;
pub mod audit;
mod conduct;
mod events;
mod instance;
mod keys;
mod progress;
mod recovery;
mod replica;
mod report;
mod request;
mod retention;
mod statistics;
mod store;
mod tally;
mod witness;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

pub use self::accept::Accepted;
pub use self::conduct::Conductor;
pub use self::events::{Change, Changes, Follow, Followed};
pub use self::keys::{Admission, Difference, Key};
pub use self::recovery::Housekeeper;
pub use self::replica::ReplicaStats;
pub use self::report::Rejected;
pub use self::request::{Client, Describe, Failure, Request};
pub use self::statistics::Statistics;
pub use self::store::Filter;
pub use self::tally::{Loads, Outcome, STAGES, Sums, Tally};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// receiving, encoding, copying
    Running,
    /// COMMIT is being sent
    Committing,
    /// the rows are in the table
    Committed,
    /// nothing is in the table
    Failed,
    /// somebody asked for it to stop; nothing is in the table
    Cancelled,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [State; 5] = [State::Running, State::Committing, State::Committed, State::Failed, State::Cancelled];

    /// Its name in the API and in the database.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Committing => "committing",
            State::Committed => "committed",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Nothing will change any more.
    pub fn is_final(self) -> bool {
        !matches!(self, State::Running | State::Committing)
    }
}

/// Where a load's time went, in milliseconds. The stages work side by side, so they need not add up to the total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// waiting for a place
    pub queue: u64,
    /// waiting for the client
    pub client_wait: u64,
    /// parsing and encoding
    pub encode: u64,
    /// waiting for PostgreSQL
    pub database: u64,
    /// ledger and COMMIT
    pub commit: u64,
    /// from the request to the end
    pub total: u64,
}

/// Where the API has the rows that a job has turned away.
pub fn rejects_url(job: Uuid) -> String {
    format!("/v1/jobs/{job}/rejects")
}

/// A job as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// its id, a UUID of version 7
    pub id: Uuid,
    /// `schema.name`
    pub table: String,
    /// where it is in its life
    pub state: State,
    /// why it is not committed: the short name of the problem in `error`
    pub reason: Option<String>,
    /// what the body is written in
    pub format: String,
    /// what becomes of rows that are there already
    pub mode: String,
    /// the key that it was sent with
    pub idempotency_key: Option<String>,
    /// this is the result of an earlier request with the same key, and nothing was loaded for this one
    pub replayed: bool,
    /// rows parsed, those that were turned away too
    pub rows_received: u64,
    /// rows in the table
    pub rows_loaded: u64,
    /// rows turned away
    pub rows_rejected: u64,
    /// how many of them for each column; a row may be turned away for none in particular
    pub rejected_by_column: Value,
    /// bytes of the body as they came
    pub bytes_received: u64,
    /// bytes of the body without its Content-Encoding
    pub bytes_decoded: u64,
    /// where the time went
    pub timings_ms: Timings,
    /// the problem document that the load was answered with
    pub error: Option<Value>,
    /// where the rows are that were turned away, if any were
    pub rejects_url: Option<String>,
    /// RFC 3339, UTC
    pub created_at: String,
    /// RFC 3339, UTC
    pub finished_at: Option<String>,
}
