//! Stage *commit*: the ledger row and COMMIT, in the load's transaction; and, where the answer to COMMIT was lost, what became of it.

use std::time::Duration;

use tokio_postgres::error::Severity;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::engine::bulk::{Backend, Bulk, Connection};
use crate::error::DatabaseError;

/// How long an unknown outcome is asked after before the client is told that it is pending.
const RESOLVE_TIME: Duration = Duration::from_secs(20);
const RESOLVE_PAUSE: Duration = Duration::from_millis(250);

/// Where a load ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// its rows are in the table
    Committed {
        /// how many
        rows: u64,
    },
    /// nothing of it is in the table, and nothing will be
    NotCommitted,
}

/// Writes the ledger row; returns the transaction's id. From here on nothing but COMMIT may follow, because a COMMIT after a failed
/// statement is a quiet ROLLBACK.
pub(super) async fn write_ledger(connection: &Connection, job: Uuid, table_name: &str, rows: u64) -> Result<String, DatabaseError> {
    let row = connection
        .client()
        .query_typed_one(
            "INSERT INTO pgsluice.ledger (job_id, table_name, rows) VALUES ($1, $2, $3) RETURNING xid::text",
            &[(&job, Type::UUID), (&table_name, Type::TEXT), (&(rows as i64), Type::INT8)],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// Which database the engine loads into, by the id that its migration has given it.
///
/// # Errors
/// It cannot be asked.
pub async fn target_id(bulk: &Bulk) -> Result<Uuid, DatabaseError> {
    let connection = bulk.connect_aside().await?;
    let row = connection.client().query_typed_one("SELECT id FROM pgsluice.target", &[]).await?;
    Ok(row.try_get(0)?)
}

/// What COMMIT came to.
#[derive(Debug)]
pub(super) enum Commit {
    Done,
    /// the server said no: a deferred constraint, say
    Refused(DatabaseError),
    /// no answer came
    Unknown,
}

pub(super) async fn commit(connection: &Connection) -> Commit {
    match connection.client().batch_execute("COMMIT").await {
        Ok(()) => Commit::Done,
        // Only a plain ERROR is a sure no. FATAL and PANIC end the session, and may do so after the commit took effect.
        Err(error) => match error.as_db_error().and_then(|server| server.parsed_severity()) {
            Some(Severity::Error) => Commit::Refused(error.into()),
            _ => Commit::Unknown,
        },
    }
}

/// Finds out what became of a load whose connection is lost, asking for a bounded time; `None` when nobody could be asked.
pub(super) async fn find_out(bulk: &Bulk, job: Uuid, backend: Backend) -> Option<Outcome> {
    let asking = async {
        loop {
            match resolve(bulk, job, backend).await {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => {}
                Err(error) => tracing::warn!(%job, %error, "cannot find out a load's outcome yet"),
            }
            tokio::time::sleep(RESOLVE_PAUSE).await;
        }
    };
    tokio::time::timeout(RESOLVE_TIME, asking).await.ok()
}

/// What became of a load. If the ledger does not have it, its server process is ended, so that nothing can change any more, and the
/// ledger is read again. `None` while that process is still there.
///
/// # Errors
/// The target database cannot be asked.
pub async fn resolve(bulk: &Bulk, job: Uuid, backend: Backend) -> Result<Option<Outcome>, DatabaseError> {
    let connection = bulk.connect_aside().await?;
    let mut outcome = read_ledger(&connection, job).await?;
    // A load that is in the ledger may have given its server process on to another.
    if outcome == Outcome::NotCommitted {
        if !connection.terminate(backend).await? {
            return Ok(None);
        }
        outcome = read_ledger(&connection, job).await?;
    }
    Ok(Some(outcome))
}

async fn read_ledger(connection: &Connection, job: Uuid) -> Result<Outcome, DatabaseError> {
    let row = connection
        .client()
        .query_typed_opt("SELECT rows FROM pgsluice.ledger WHERE job_id = $1", &[(&job, Type::UUID)])
        .await?;
    Ok(match row {
        Some(row) => Outcome::Committed { rows: row.try_get::<_, i64>(0)?.unsigned_abs() },
        None => Outcome::NotCommitted,
    })
}
