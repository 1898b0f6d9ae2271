//! Stage *commit*: the ledger row and COMMIT, in the load's transaction; and, where the answer to COMMIT was lost, what became of it.

use std::time::{Duration, Instant};

use tokio_postgres::error::Severity;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::engine::bulk::{Backend, Bulk, Connection, Sight};
use crate::error::{DatabaseError, LoadError};

/// An unknown outcome is asked after for so many times the time that the database may take for an answer, before the client is told
/// that it is pending.
const RESOLVE_ANSWERS: u32 = 2;
const RESOLVE_PAUSE: Duration = Duration::from_millis(250);

/// How long COMMIT may go without an answer before somebody looks, and looks again.
const LOOK_PAUSE: Duration = Duration::from_secs(3);
/// How often it must be seen that nobody works on it: the first look may come between COMMIT's end and what is to be seen of it.
const IDLE_LOOKS: u32 = 2;

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
///
/// The ledger is the service's own, whatever role the load runs in. That one statement is all that is done in the service's role: what
/// triggers have put off until COMMIT runs in the load's again.
pub(super) async fn write_ledger(
    connection: &Connection,
    job: Uuid,
    table_name: &str,
    rows: u64,
    pg_role: Option<&str>,
) -> Result<String, DatabaseError> {
    if let Some(role) = pg_role {
        connection.leave_role(role).await?;
    }
    let row = connection
        .client()
        .query_typed_one(
            "INSERT INTO pgsluice.ledger (job_id, table_name, rows) VALUES ($1, $2, $3) RETURNING xid::text",
            &[(&job, Type::UUID), (&table_name, Type::TEXT), (&(rows as i64), Type::INT8)],
        )
        .await?;
    if let Some(role) = pg_role {
        connection.take_role(role).await?;
    }
    Ok(row.try_get(0)?)
}

/// Which database the engine loads into, by the id that its migration has given it.
///
/// # Errors
/// It cannot be asked.
pub async fn target_id(bulk: &Bulk) -> Result<Uuid, DatabaseError> {
    let asking = async {
        let connection = bulk.connect_aside().await?;
        let row = connection.client().query_typed_one("SELECT id FROM pgsluice.target", &[]).await?;
        connection.release();
        Ok(row.try_get(0)?)
    };
    bulk.in_time(asking).await
}

/// What COMMIT came to.
#[derive(Debug)]
enum Commit {
    Done,
    /// the server said no: a deferred constraint, say
    Refused(DatabaseError),
    /// no answer came, and the ledger has the load
    Found,
    /// no answer came, and none will
    Unknown,
}

/// COMMIT; and, if its answer does not come, what became of the load. An error means that nothing of it is in the table (but see
/// [`LoadError::OutcomePending`]).
pub(super) async fn settle(bulk: &Bulk, connection: Connection, job: Uuid, rows: u64, within: Duration) -> Result<u64, LoadError> {
    let backend = connection.backend();
    let answer = tokio::select! {
        biased;
        answer = commit(&connection) => answer,
        seen = watch(bulk, job, backend) => seen,
        // A COMMIT that takes for ever must not hold its slot for ever.
        () = tokio::time::sleep(within) => Commit::Unknown,
    };
    match answer {
        Commit::Done if connection.is_current() => {
            connection.release();
            Ok(rows)
        }
        Commit::Refused(error) => Err(error.into()),
        Commit::Found => Ok(rows),
        // What an old primary has taken after the failover is nowhere else, and what it had before is in the new one's ledger.
        Commit::Done | Commit::Unknown => {
            drop(connection);
            match find_out(bulk, job, backend).await {
                Some(Outcome::Committed { rows }) => Ok(rows),
                Some(Outcome::NotCommitted) => Err(lost_connection().into()),
                None => Err(LoadError::OutcomePending),
            }
        }
    }
}

async fn commit(connection: &Connection) -> Commit {
    match connection.client().batch_execute("COMMIT").await {
        Ok(()) => Commit::Done,
        // Only a plain ERROR is a sure no. FATAL and PANIC end the session, and may do so after the commit took effect.
        Err(error) => match error.as_db_error().and_then(|server| server.parsed_severity()) {
            Some(Severity::Error) => Commit::Refused(error.into()),
            _ => Commit::Unknown,
        },
    }
}

/// While COMMIT is unanswered: looks whether it has taken effect, and whether anybody still works on it. One that waits for a
/// synchronous standby is at work, and not to be seen in the ledger before the standby has it.
async fn watch(bulk: &Bulk, job: Uuid, backend: Backend) -> Commit {
    let mut idle = 0;
    let mut heard = Instant::now();
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        match bulk.in_time(look(bulk, job, backend)).await {
            Ok((Outcome::Committed { .. }, _)) => return Commit::Found,
            Ok((Outcome::NotCommitted, Sight::Working)) => (idle, heard) = (0, Instant::now()),
            Ok((Outcome::NotCommitted, _)) => (idle, heard) = (idle + 1, Instant::now()),
            // It lives, and has no connection left for a question.
            Err(error) if error.is_full() => heard = Instant::now(),
            Err(error) => tracing::warn!(%job, %error, "COMMIT is unanswered, and nobody can be asked what became of it"),
        }
        if idle == IDLE_LOOKS || heard.elapsed() > resolve_time(bulk) {
            return Commit::Unknown;
        }
    }
}

async fn look(bulk: &Bulk, job: Uuid, backend: Backend) -> Result<(Outcome, Sight), DatabaseError> {
    // In this order: whoever has ended between the two questions is seen in the ledger at the next look.
    bulk.find_out(async |connection| Ok((read_ledger(connection, job).await?, connection.sight(backend).await?)))
        .await
}

fn lost_connection() -> DatabaseError {
    DatabaseError {
        message: "the connection to PostgreSQL was lost during COMMIT, and the load was rolled back".into(),
        ..DatabaseError::default()
    }
}

fn resolve_time(bulk: &Bulk) -> Duration {
    bulk.answer_timeout() * RESOLVE_ANSWERS
}

/// Finds out what became of a load whose connection is lost, asking for a bounded time; `None` when nobody could be asked.
async fn find_out(bulk: &Bulk, job: Uuid, backend: Backend) -> Option<Outcome> {
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
    tokio::time::timeout(resolve_time(bulk), asking).await.ok()
}

/// What became of a load. If the ledger does not have it, its server process is ended, so that nothing can change any more, and the
/// ledger is read again. `None` while that process is still there.
///
/// # Errors
/// The target database cannot be asked, or does not answer in time.
pub async fn resolve(bulk: &Bulk, job: Uuid, backend: Backend) -> Result<Option<Outcome>, DatabaseError> {
    let asking = bulk.find_out(async |connection| {
        let outcome = read_ledger(connection, job).await?;
        // A load that is in the ledger may have given its server process on to another.
        if outcome != Outcome::NotCommitted {
            return Ok(Some(outcome));
        }
        if !connection.terminate(backend).await? {
            return Ok(None);
        }
        Ok(Some(read_ledger(connection, job).await?))
    });
    bulk.in_time(asking).await
}

/// Takes these jobs out of the ledger. Nobody may be left who would ask what became of them.
///
/// # Errors
/// The target database cannot be asked, or does not answer in time.
pub async fn forget(bulk: &Bulk, jobs: &[Uuid]) -> Result<(), DatabaseError> {
    let asking = async {
        let connection = bulk.connect_aside().await?;
        let sql = "DELETE FROM pgsluice.ledger WHERE job_id = ANY ($1)";
        connection.client().query_typed(sql, &[(&jobs, Type::UUID_ARRAY)]).await?;
        connection.release();
        Ok(())
    };
    bulk.in_time(asking).await
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
