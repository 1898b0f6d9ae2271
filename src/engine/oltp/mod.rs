//! The OLTP engine: many short, latency-bound queries on the jobs' metadata.
//!
//! A pool of connections (`pool`), each with statements that it has prepared before (`statements`). Behind a pooler that gives each
//! transaction to another server connection there are none of those: statements are sent unnamed, and nothing outlives its query. Beside the
//! pool there is one connection that hears of changes (`listen`).

mod listen;
mod pool;
mod session;
mod statements;
mod stats;

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

pub use self::listen::Listener;
use self::pool::{Lease, Pool};
pub use self::stats::Stats;
use super::unreachable;
use crate::config;
use crate::error::DatabaseError;
use crate::telemetry::Latency;

const ANSWERED: (&str, &str) = ("outcome", "ok");
const FAILED: (&str, &str) = ("outcome", "error");

/// A parameter of a query with its type, which spares the server a round trip to tell us.
pub type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// A statement with its parameters.
pub type Query<'a> = (&'a str, &'a [Param<'a>]);

/// The OLTP engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Oltp {
    pool: Pool,
    latency: Latency,
}

impl Oltp {
    /// Prepares the pool; connects to nothing yet.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn new(settings: config::Oltp) -> Result<Oltp, DatabaseError> {
        let latency = Latency::default();
        for outcome in [ANSWERED, FAILED] {
            latency.prepare(&[outcome]);
        }
        Ok(Oltp { pool: Pool::new(settings)?, latency })
    }

    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// The database refused it, could not be reached, or did not answer in time.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, DatabaseError> {
        self.observed(async |lease| lease.in_time(async |session| session.query((sql, params)).await).await)
            .await
    }

    /// Runs two statements that belong together in the time of one: both are on their way before the first is answered. They are not one
    /// transaction.
    ///
    /// # Errors
    /// As for [`query`](Self::query), of either.
    pub async fn query_both(&self, first: Query<'_>, second: Query<'_>) -> Result<(Vec<Row>, Vec<Row>), DatabaseError> {
        self.observed(async |lease| lease.in_time(async |session| session.query_both(first, second).await).await)
            .await
    }

    /// How long one query may take.
    pub fn command_timeout(&self) -> Duration {
        self.pool.settings().command_timeout
    }

    /// What the pool has done so far, and what it is doing now.
    pub fn stats(&self) -> Stats {
        self.pool.stats()
    }

    /// How long queries take, the wait for a connection included.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    async fn observed<T>(&self, ask: impl AsyncFnOnce(&mut Lease) -> Option<Result<T, Error>>) -> Result<T, DatabaseError> {
        let asking_since = Instant::now();
        let answer = match self.pool.lease().await {
            Ok(mut lease) => {
                let answer = ask(&mut lease).await;
                self.settle(lease, answer)
            }
            Err(error) => Err(error),
        };
        self.latency.observe(&[if answer.is_ok() { ANSWERED } else { FAILED }], asking_since.elapsed());
        answer
    }

    /// Gives the connection back, or does not.
    fn settle<T>(&self, lease: Lease, answer: Option<Result<T, Error>>) -> Result<T, DatabaseError> {
        match answer {
            Some(answer) => {
                match &answer {
                    Err(error) if is_demoted(error) => lease.discard_all(),
                    Err(error) if is_fatal(error) => lease.discard(),
                    _ => {}
                }
                Ok(answer?)
            }
            None => {
                self.pool.counters().commands_timed_out();
                let seconds = self.pool.settings().command_timeout.as_secs();
                // Its answer may still come, so nobody else may get this connection; and the server need not go on.
                lease.abandon();
                Err(unreachable(format!("no answer to a query within {seconds} s")))
            }
        }
    }
}

/// A plain ERROR ends its statement and leaves the connection as it was. Of everything else nobody knows what it left behind.
fn is_fatal(error: &Error) -> bool {
    use tokio_postgres::error::Severity;
    error.as_db_error().and_then(|server| server.parsed_severity()) != Some(Severity::Error)
}

/// The server takes no writes: it has become a standby, and behind a name or a pooler the sessions may well have outlived that.
fn is_demoted(error: &Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}
