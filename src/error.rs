//! One error enum per stage. They say what happened and where; what that means to an HTTP client is decided in `http/problem`.

use std::borrow::Cow;
use std::time::Duration;

/// Where in the body something is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// 1-based physical line on which the record starts (a header is line 1)
    pub line: Option<u64>,
    /// 1-based row, for formats that have no lines
    pub row: Option<u64>,
    /// offset in the body of the first byte of the record
    pub byte_offset: Option<u64>,
    /// the target table's column
    pub column: Option<String>,
}

/// One row that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RowError {
    /// where it stands
    pub position: Position,
    /// the field as it came, cut to a length that can be shown
    pub value: Option<String>,
    /// the target column's type
    pub type_name: Option<String>,
    /// PostgreSQL's code for this error
    pub sqlstate: Cow<'static, str>,
    /// what is wrong with it
    pub reason: Cow<'static, str>,
}

/// More bad rows than a load may have that turns them away.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Excess {
    /// By their number.
    #[error("more than {limit} rows were turned away (reject_limit)")]
    Limit {
        /// how many there may be
        limit: u64,
    },
    /// By their share.
    #[error("{rejected} of {received} rows were turned away, and the share may be {ratio} (reject_ratio)")]
    Ratio {
        /// how many there are
        rejected: u64,
        /// rows in all
        received: u64,
        /// the share that there may be
        ratio: f64,
    },
    /// By what their report takes.
    #[error("the report of the rows turned away is larger than {limit} bytes (--reject-report-bytes-max)")]
    Report {
        /// the limit, in bytes
        limit: usize,
    },
}

/// Stage *body*: receiving.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended before the body did.
    #[error("the body ended early: {0}")]
    Truncated(String),
    /// The client sent nothing for too long.
    #[error("the client sent nothing for {} s", .0.as_secs())]
    Stalled(Duration),
    /// More bytes than a body may have.
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// the limit, in bytes
        limit: u64,
    },
    /// More bytes than this client may send for now.
    #[error("{reason}")]
    OverQuota {
        /// which limit
        reason: String,
        /// when it may send more
        after: Duration,
    },
    /// The bytes are not those that the client has declared a digest of.
    #[error("the body is not the one that was declared: its digest is another")]
    Digest(
        /// every digest that is not right
        Vec<DigestMismatch>,
    ),
}

/// A digest of the body that is not what the client declared it to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestMismatch {
    /// the header that declares it
    pub field: &'static str,
    /// the algorithm, by its name in that header
    pub algorithm: &'static str,
    /// what it should be
    pub declared: Vec<u8>,
    /// what it is
    pub computed: Vec<u8>,
}

/// Stages *parse* and *encode*: what the body holds.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A row is bad.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The body as a whole has no sense in its format.
    #[error("{reason}")]
    Malformed {
        /// the stable name of the problem
        code: &'static str,
        /// what is wrong
        reason: String,
        /// where, if it can be told
        position: Position,
        /// what COPY says to it, where COPY knows the format
        sqlstate: Option<&'static str>,
    },
    /// The body's columns are not the table's.
    #[error("{}", .0.join("; "))]
    Misfit(
        /// every misfit found
        Vec<String>,
    ),
    /// A record or message is larger than it may be.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// which thing
        what: &'static str,
        /// the limit, in bytes
        limit: usize,
        /// where it starts
        position: Position,
    },
    /// The body becomes more than it may.
    #[error("{reason}")]
    OverLimit {
        /// the stable name of the problem
        code: &'static str,
        /// which limit
        reason: String,
    },
    /// The server, which was to convert the body's text, could not be asked.
    #[error(transparent)]
    Conversion(DatabaseError),
    /// No byte at all.
    #[error("the body is empty")]
    Empty,
    /// A well-formed body with no row in it.
    #[error("the body holds no rows")]
    NoRows,
}

impl DataError {
    /// A malformed body.
    pub fn malformed(code: &'static str, reason: impl Into<String>, position: Position) -> DataError {
        DataError::Malformed { code, reason: reason.into(), position, sqlstate: None }
    }

    /// A body that COPY takes for a `bad_copy_file_format` too.
    pub fn bad_copy(code: &'static str, reason: impl Into<String>, position: Position) -> DataError {
        DataError::Malformed { code, reason: reason.into(), position, sqlstate: Some("22P04") }
    }
}

/// Stage *parse*, where it keeps a body on disk.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The body is larger than one may be that has to be kept.
    #[error("a body that has to be kept on disk until it is whole may have {limit} bytes (--spool-bytes-max)")]
    TooLarge {
        /// the limit, in bytes
        limit: u64,
    },
    /// There is no room for it beside the others.
    #[error("there is no room to keep the body on disk: {0}")]
    Full(String),
    /// The directory does not do what it should.
    #[error("the body cannot be kept on disk: {0}")]
    Failed(String),
}

/// What PostgreSQL, or the way to it, answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DatabaseError {
    /// SQLSTATE; `None` when the connection itself failed
    pub sqlstate: Option<String>,
    /// the server's message
    pub message: String,
    /// the server's detail and hint
    pub detail: Option<String>,
    /// the server's context, which for a COPY names the row
    pub context: Option<String>,
    /// the row it is about, as far as that could be found out
    pub position: Position,
    /// the value it is about, if the server shows it
    pub value: Option<String>,
}

impl DatabaseError {
    /// The message with the detail.
    pub fn full_message(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.message),
            None => self.message.clone(),
        }
    }
}

impl DatabaseError {
    /// The server has no connection left (`too_many_connections`): it lives, but cannot be asked anything just now.
    pub fn is_full(&self) -> bool {
        self.sqlstate.as_deref() == Some("53300")
    }

    /// The server could not be reached, or is starting or going down, or is full, or has become a standby: it, or the one in its place, may
    /// answer the same question soon.
    pub fn is_passing(&self) -> bool {
        self.sqlstate
            .as_deref()
            .is_none_or(|code| code.starts_with("08") || code.starts_with("57P") || matches!(code, "53300" | "25006"))
    }
}

/// Why a table cannot be loaded, known before the body is asked for.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// No such table, or not one that this role may see.
    #[error("there is no table {0:?}")]
    NotFound(String),
    /// Several tables go by that name.
    #[error("the name {0:?} fits more than one table: write it as schema.name")]
    Ambiguous(String),
    /// The role may not insert; a grant on single columns does not allow the lock that a load takes on the table.
    #[error("the role that loads has no INSERT privilege on {0}")]
    Forbidden(String),
    /// COPY cannot load it.
    #[error("{0}")]
    Unsupported(String),
    /// The request's columns are not the table's.
    #[error("{}", .0.join("; "))]
    Misfit(Vec<String>),
    /// The role that is to load cannot be taken.
    #[error("the service cannot take on the role {role:?} that this is to be done in: {reason}")]
    Role {
        /// which
        role: String,
        /// what PostgreSQL says
        reason: String,
    },
    /// The server does not know a setting that the request asks for.
    #[error("{0}")]
    Setting(String),
    /// The database did not answer the question.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl TableError {
    /// Tells a role that cannot be taken from other errors.
    pub fn from_role(role: &str, error: DatabaseError) -> TableError {
        match error.sqlstate.as_deref() {
            Some("22023" | "42501") => TableError::Role { role: role.to_owned(), reason: error.message },
            _ => TableError::Database(error),
        }
    }

    /// Tells a setting that the server refuses from other errors.
    pub fn from_setting(error: DatabaseError) -> TableError {
        match error.sqlstate.as_deref() {
            Some("22023") => TableError::Setting(error.message),
            _ => TableError::Database(error),
        }
    }
}

/// What there is not enough of just now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// All slots are taken.
    #[error("all {slots} load slots are taken")]
    Slots {
        /// how many there are
        slots: usize,
    },
    /// All slots of the table are taken.
    #[error("{table} has {slots} load(s) at work, which is as many as a table may have (--table-slots)")]
    Table {
        /// which table
        table: String,
        /// how many it has
        slots: usize,
    },
    /// The loads at work may come to need too much memory to let in one more.
    #[error(
        "the load may need {bytes} bytes of memory, and with what others need or wait for that is too much for the {memory_bytes} that all loads share (--memory-budget)"
    )]
    Memory {
        /// what the load may need, in bytes
        bytes: u64,
        /// what there is, in bytes
        memory_bytes: u64,
    },
    /// So many wait that waiting is no use.
    #[error("{waiting_max} loads wait for a place already (--waiting-loads)")]
    WaitingRoom {
        /// how many may wait
        waiting_max: usize,
    },
    /// Others ask about tables for long.
    #[error("others are asking about tables")]
    Questions,
}

/// Why the bulk engine gave no connection.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// There is no room.
    #[error(transparent)]
    Saturated(#[from] Shortage),
    /// The database could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Who or what stopped a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// `POST …/cancel`
    #[error("the load was cancelled")]
    Cancelled,
    /// The client went away.
    #[error("the client went away before it was answered")]
    Disconnected,
    /// The service is going down.
    #[error("the service was shut down before the load was complete")]
    Shutdown,
    /// The service died while the load ran; found out afterwards.
    #[error("the service was interrupted while the load was running")]
    Interrupted,
    /// The load took too long.
    #[error("the load took longer than its timeout")]
    Timeout,
}

/// Why a load is not committed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// receiving
    #[error(transparent)]
    Body(#[from] BodyError),
    /// parsing or encoding
    #[error(transparent)]
    Data(#[from] DataError),
    /// keeping the body on disk
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// the body holds more rows, or fewer, than the client said
    #[error("the body holds {found} rows where {expected} are expected")]
    RowCount {
        /// what the client said
        expected: u64,
        /// what came
        found: u64,
    },
    /// more rows were bad than may be
    #[error(transparent)]
    TooManyRejects(#[from] Excess),
    /// the target database
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// the metadata database, so that the job could not be kept track of
    #[error("the jobs' metadata cannot be written: {0}")]
    Metadata(DatabaseError),
    /// the table is no longer what it was when the load was accepted
    #[error("the table was changed while the load was on its way")]
    TableChanged,
    /// stopped from outside
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// COMMIT failed, and servers that have partitions of the table may have committed their part before
    #[error("COMMIT failed, and the servers that have partitions of the table commit one after the other: {0}")]
    PartialCommit(DatabaseError),
    /// COMMIT was sent and its answer was lost, and nobody can be asked
    #[error("the connection was lost during COMMIT and the outcome could not be found out")]
    OutcomePending,
    /// a defect of ours; the load is rolled back
    #[error("internal error: {0}")]
    Internal(String),
}
