//! The jobs' metadata in SQL, over the OLTP engine.

mod followed;
mod instances;
mod lookup;

use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

pub(super) use self::instances::Orphan;
use self::lookup::{Lookup, Server};
use super::events::Bell;
use super::keys::{Claim, Holder, TableName};
use super::replica::{Replica, Wanted};
use super::report::{self, Rejected};
use super::{Job, State, Timings};
use crate::access::Sight;
use crate::engine::bulk::Backend;
use crate::engine::oltp::{Oltp, Param};
use crate::engine::precedence::Precedence;
use crate::error::DatabaseError;
use crate::ingest::rejects::Report;

const COLUMNS: &str = "id, table_name, state, reason, format, mode, rows_received, rows_loaded, rows_rejected, bytes_received, \
     bytes_decoded, timings_ms, error, rejected_by_column, \
     to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
     to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), idempotency_key";
/// How many they are; a query may ask for more behind them.
const COLUMNS_COUNT: usize = 17;

/// Who holds an idempotency key, as the unique index of `V2__idempotency.sql` has it.
pub(super) const HOLDS_KEY: &str = "idempotency_key IS NOT NULL AND state IN ('running', 'committing', 'committed') AND NOT key_expired";

/// Which jobs somebody may see, whose [`Sight`] stands in the parameters of these numbers.
fn in_sight(principal: usize, tables: usize) -> String {
    format!("(${principal}::text IS NULL OR principal = ${principal}) AND (${tables}::text[] IS NULL OR table_name ~ ANY (${tables}))")
}

/// Which jobs to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// only those that may be seen
    pub sight: Sight,
    /// only those in this state
    pub state: Option<State>,
    /// only those of this table: `schema.name`, or `name` in `public`
    pub table: Option<String>,
    /// only those that were sent with this key
    pub idempotency_key: Option<String>,
    /// only those older than this one
    pub before: Option<Uuid>,
    /// at most so many
    pub limit: u32,
}

/// A load that is about to begin.
#[derive(Debug)]
pub(super) struct NewJob<'a> {
    pub(super) id: Uuid,
    pub(super) instance: Uuid,
    pub(super) principal: &'a str,
    pub(super) table: &'a str,
    pub(super) format: &'a str,
    pub(super) mode: &'a str,
    pub(super) backend: Backend,
    pub(super) claim: Option<&'a Claim>,
}

/// What a running load has done so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) rows_received: u64,
    pub(super) rows_loaded: u64,
    pub(super) rows_rejected: u64,
    pub(super) bytes_received: u64,
    pub(super) bytes_decoded: u64,
    pub(super) timings: Timings,
}

/// The jobs' metadata.
#[derive(Debug, Clone)]
pub(super) struct Store {
    oltp: Oltp,
    lookup: Lookup,
    /// where questions may go, and how jobs are found there
    replica: Option<(Replica, Lookup)>,
    target: Uuid,
    bell: Bell,
}

impl Store {
    /// For loads into the target database of that id.
    pub(super) fn new(oltp: Oltp, replica: Option<Replica>, precedence: &Precedence, target: Uuid, bell: Bell) -> Store {
        let lookup = |server| Lookup::new(server, precedence);
        let replica = replica.map(|replica| (replica.clone(), lookup(Server::Replica(replica))));
        let lookup = lookup(Server::Primary(oltp.clone()));
        Store { oltp, lookup, replica, target, bell }
    }

    /// One statement that changes a job, or would have. Whatever it says, a replica that does not know of it yet has to be asked no more.
    async fn change(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, DatabaseError> {
        let changed = self.oltp.query(sql, params).await;
        if let Some(replica) = self.replica() {
            replica.changed();
        }
        self.bell.ring();
        changed
    }

    /// One statement of which only the success counts.
    async fn run(&self, sql: &str, params: &[Param<'_>]) -> Result<(), DatabaseError> {
        self.oltp.query(sql, params).await.map(|_| ())
    }

    /// The engine that it stands on.
    pub(super) fn oltp(&self) -> &Oltp {
        &self.oltp
    }

    /// The id of the target database.
    pub(super) fn target(&self) -> Uuid {
        self.target
    }

    /// Where questions about jobs may go.
    pub(super) fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref().map(|(replica, _)| replica)
    }

    /// The metadata could be written.
    pub(super) async fn ping(&self) -> Result<(), DatabaseError> {
        let rows = self.oltp.query("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?;
        match rows.first().map(|row| row.try_get(0)).transpose()? {
            Some(false) => Ok(()),
            _ => Err(DatabaseError {
                message: "the server is a standby in recovery".to_owned(),
                ..DatabaseError::default()
            }),
        }
    }

    /// Puts a job on record; `None` when another load holds its idempotency key.
    pub(super) async fn create(&self, new: NewJob<'_>) -> Result<Option<Job>, DatabaseError> {
        let sql = format!(
            "INSERT INTO pgsluice.jobs (id, instance, table_name, state, format, mode, backend_pid, backend_start, target, \
                idempotency_key, requested_table, key_fingerprint, key_digest, principal) \
             VALUES ($1, $2, $3, 'running', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
             ON CONFLICT (target, principal, table_name, idempotency_key) WHERE {HOLDS_KEY} DO NOTHING RETURNING {COLUMNS}"
        );
        let claim = new.claim;
        let params: [Param<'_>; 13] = [
            (&new.id, Type::UUID),
            (&new.instance, Type::UUID),
            (&new.table, Type::TEXT),
            (&new.format, Type::TEXT),
            (&new.mode, Type::TEXT),
            (&new.backend.pid, Type::INT4),
            (&new.backend.start_micros, Type::INT8),
            (&self.target, Type::UUID),
            (&claim.map(|claim| claim.key.name.as_str()), Type::TEXT),
            (&claim.map(|claim| claim.requested_table.as_str()), Type::TEXT),
            (&claim.map(|claim| claim.key.fingerprint.as_slice()), Type::BYTEA),
            (&claim.and_then(|claim| claim.digest.as_ref()), Type::JSONB),
            (&new.principal, Type::TEXT),
        ];
        one(&self.change(&sql, &params).await?)
    }

    /// The load that holds a key on a table, and whether it was committed longer ago than keys are kept.
    pub(super) async fn key_holder(
        &self,
        claim: &Claim,
        table: TableName<'_>,
        retention: Duration,
    ) -> Result<Option<Holder>, DatabaseError> {
        let (column, table) = match table {
            TableName::Requested(name) => ("requested_table", name),
            TableName::Resolved(name) => ("table_name", name),
        };
        // No text that is sent to the server may hold a NUL, and no table is called so.
        if table.contains('\0') {
            return Ok(None);
        }
        let sql = format!(
            "SELECT {COLUMNS}, key_fingerprint, key_digest, \
                state = 'committed' AND finished_at < clock_timestamp() - make_interval(secs => $4) \
             FROM pgsluice.jobs WHERE target = $1 AND principal = $5 AND {column} = $2 AND idempotency_key = $3 AND {HOLDS_KEY} \
             ORDER BY id DESC LIMIT 1"
        );
        let params: [Param<'_>; 5] = [
            (&self.target, Type::UUID),
            (&table, Type::TEXT),
            (&claim.key.name, Type::TEXT),
            (&retention.as_secs_f64(), Type::FLOAT8),
            (&claim.principal, Type::TEXT),
        ];
        let rows = self.oltp.query(&sql, &params).await?;
        let holder = rows.first().map(holder).transpose();
        Ok(holder?)
    }

    /// Takes the key away from a load that has held it for long enough.
    pub(super) async fn expire_key(&self, id: Uuid) -> Result<(), DatabaseError> {
        self.run(
            "UPDATE pgsluice.jobs SET key_expired = true WHERE id = $1 AND state = 'committed'",
            &[(&id, Type::UUID)],
        )
        .await
    }

    /// A job as the primary has it.
    pub(super) async fn get(&self, id: Uuid, sight: &Sight) -> Result<Option<Job>, DatabaseError> {
        self.lookup.find(id, sight).await
    }

    /// A job for whoever asks. What the replica says of one that is at its end stays true; of any other, and of one that it does not know,
    /// the primary knows more.
    pub(super) async fn find(&self, id: Uuid, sight: &Sight) -> Result<Option<Job>, DatabaseError> {
        if let Some((replica, lookup)) = &self.replica
            && replica.may_be_asked()
        {
            let job = lookup.find(id, sight).await?;
            if let Some(job) = job.filter(|job| job.state.is_final()) {
                return Ok(Some(job));
            }
        }
        self.get(id, sight).await
    }

    pub(super) async fn list(&self, filter: &Filter) -> Result<Vec<Job>, DatabaseError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM pgsluice.jobs \
             WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR table_name = ANY (ARRAY[$2, 'public.' || $2])) \
               AND ($3::uuid IS NULL OR id < $3) AND ($5::text IS NULL OR idempotency_key = $5) AND {} ORDER BY id DESC LIMIT $4",
            in_sight(6, 7)
        );
        let state = filter.state.map(State::name);
        let limit = i64::from(filter.limit);
        let params: [Param<'_>; 7] = [
            (&state, Type::TEXT),
            (&filter.table, Type::TEXT),
            (&filter.before, Type::UUID),
            (&limit, Type::INT8),
            (&filter.idempotency_key, Type::TEXT),
            (&filter.sight.principal, Type::TEXT),
            (&filter.sight.tables, Type::TEXT_ARRAY),
        ];
        let from_replica = match self.replica() {
            // Whoever asks after a key wants to know whether to send a load again: no answer may be too old for that.
            _ if filter.idempotency_key.is_some() => None,
            Some(replica) => replica.query((&sql, &params), Wanted::OwnChanges).await,
            None => None,
        };
        let rows = match from_replica {
            Some(rows) => rows,
            None => self.oltp.query(&sql, &params).await?,
        };
        rows.iter().map(|row| Ok(job(row)?)).collect()
    }

    /// running → committing; false when the job is no longer running, so that the load must not commit. Asked again after an answer that
    /// was lost, it says the same.
    pub(super) async fn committing(&self, id: Uuid, xid: &str) -> Result<bool, DatabaseError> {
        let rows = self
            .change(
                "UPDATE pgsluice.jobs SET state = 'committing', xid = $2 \
                 WHERE id = $1 AND (state = 'running' AND NOT cancel_requested OR state = 'committing' AND xid = $2) RETURNING id",
                &[(&id, Type::UUID), (&xid, Type::TEXT)],
            )
            .await?;
        Ok(!rows.is_empty())
    }

    /// committing → committed; from `running` too, for recovery, should the metadata lag behind the ledger. Of two that find it out, the
    /// second is told what the first has written.
    pub(super) async fn committed(&self, id: Uuid, counts: Counts) -> Result<Job, DatabaseError> {
        let final_state = (State::Committed, None, None);
        if let Some(job) = self.finish(id, &["committing", "running"], final_state, counts).await? {
            return Ok(job);
        }
        let job = self.get(id, &Sight::default()).await?.filter(|job| job.state == State::Committed);
        job.ok_or_else(|| vanished(id))
    }

    /// running or committing → failed or cancelled; `None` when the job had already ended otherwise.
    pub(super) async fn ended(
        &self,
        id: Uuid,
        state: State,
        reason: &str,
        error: &Value,
        counts: Counts,
    ) -> Result<Option<Job>, DatabaseError> {
        let final_state = (state, Some(reason), Some(error));
        self.finish(id, &["running", "committing"], final_state, counts).await
    }

    async fn finish(
        &self,
        id: Uuid,
        from: &[&str],
        (state, reason, error): (State, Option<&str>, Option<&Value>),
        counts: Counts,
    ) -> Result<Option<Job>, DatabaseError> {
        // Recovery knows no counts of a load that died with its instance: what was last reported stays.
        let sql = format!(
            "UPDATE pgsluice.jobs SET state = $3, reason = $4, error = $5, finished_at = clock_timestamp(), \
                rows_received = greatest(rows_received, $6, $7 + rows_rejected), rows_loaded = $7, rows_rejected = greatest(rows_rejected, $11), \
                bytes_received = greatest(bytes_received, $8), bytes_decoded = greatest(bytes_decoded, $9), \
                timings_ms = CASE WHEN $10::jsonb ->> 'total' = '0' THEN timings_ms ELSE $10 END \
             WHERE id = $1 AND state = ANY ($2) RETURNING {COLUMNS}"
        );
        let rows_loaded = if state == State::Committed { counts.rows_loaded } else { 0 };
        let params: [Param<'_>; 11] = [
            (&id, Type::UUID),
            (&from, Type::TEXT_ARRAY),
            (&state.name(), Type::TEXT),
            (&reason, Type::TEXT),
            (&error, Type::JSONB),
            (&(counts.rows_received as i64), Type::INT8),
            (&(rows_loaded as i64), Type::INT8),
            (&(counts.bytes_received as i64), Type::INT8),
            (&(counts.bytes_decoded as i64), Type::INT8),
            (&timings_json(counts.timings), Type::JSONB),
            (&(counts.rows_rejected as i64), Type::INT8),
        ];
        one(&self.change(&sql, &params).await?)
    }

    /// Writes down how far a running load is, for whoever asks another instance.
    pub(super) async fn report(&self, id: Uuid, counts: Counts) -> Result<(), DatabaseError> {
        let params: [Param<'_>; 6] = [
            (&id, Type::UUID),
            (&(counts.rows_received as i64), Type::INT8),
            (&(counts.bytes_received as i64), Type::INT8),
            (&(counts.bytes_decoded as i64), Type::INT8),
            (&timings_json(counts.timings), Type::JSONB),
            (&(counts.rows_rejected as i64), Type::INT8),
        ];
        self.run(
            "UPDATE pgsluice.jobs SET rows_received = $2, bytes_received = $3, bytes_decoded = $4, timings_ms = $5, rows_rejected = $6 \
             WHERE id = $1 AND state = 'running'",
            &params,
        )
        .await
    }

    /// Writes the reject report of a load down.
    pub(super) async fn keep_rejects(&self, id: Uuid, report: &Report) -> Result<(), DatabaseError> {
        report::write(&self.oltp, id, report).await
    }

    /// The next rejects of a job, after the one of that number.
    pub(super) async fn rejects(&self, id: Uuid, after: i32) -> Result<Vec<Rejected>, DatabaseError> {
        report::read(&self.oltp, id, after).await
    }

    /// What stands before the records of its rejects.
    pub(super) async fn rejects_header(&self, id: Uuid) -> Result<Option<Vec<u8>>, DatabaseError> {
        report::header(&self.oltp, id).await
    }

    /// Asks whichever instance runs the job to stop it; false when it is not running, or out of sight.
    pub(super) async fn request_cancel(&self, id: Uuid, sight: &Sight) -> Result<bool, DatabaseError> {
        let sql = format!(
            "UPDATE pgsluice.jobs SET cancel_requested = true WHERE id = $1 AND state = 'running' AND {} RETURNING id",
            in_sight(2, 3)
        );
        let params: [Param<'_>; 3] = [(&id, Type::UUID), (&sight.principal, Type::TEXT), (&sight.tables, Type::TEXT_ARRAY)];
        Ok(!self.change(&sql, &params).await?.is_empty())
    }
}

pub(super) fn vanished(id: Uuid) -> DatabaseError {
    DatabaseError {
        message: format!("the row of job {id} is gone or has moved on"),
        ..DatabaseError::default()
    }
}

fn timings_json(timings: Timings) -> Value {
    serde_json::to_value(timings).unwrap_or_default()
}

fn one(rows: &[Row]) -> Result<Option<Job>, DatabaseError> {
    Ok(rows.first().map(job).transpose()?)
}

fn holder(row: &Row) -> Result<Holder, tokio_postgres::Error> {
    Ok(Holder {
        job: job(row)?,
        fingerprint: row.try_get(COLUMNS_COUNT)?,
        digest: row.try_get(COLUMNS_COUNT + 1)?,
        is_expired: row.try_get(COLUMNS_COUNT + 2)?,
    })
}

fn job(row: &Row) -> Result<Job, tokio_postgres::Error> {
    let count = |index| row.try_get::<_, i64>(index).map(i64::unsigned_abs);
    let state: String = row.try_get(2)?;
    let timings: Option<Value> = row.try_get(11)?;
    let (id, rows_rejected) = (row.try_get(0)?, count(8)?);
    Ok(Job {
        id,
        table: row.try_get(1)?,
        // The table's own CHECK allows no other names.
        state: State::from_name(&state).unwrap_or(State::Running),
        reason: row.try_get(3)?,
        format: row.try_get(4)?,
        mode: row.try_get(5)?,
        idempotency_key: row.try_get(16)?,
        replayed: false,
        rows_received: count(6)?,
        rows_loaded: count(7)?,
        rows_rejected,
        rejected_by_column: row.try_get(13)?,
        bytes_received: count(9)?,
        bytes_decoded: count(10)?,
        timings_ms: timings.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default(),
        error: row.try_get(12)?,
        rejects_url: (rows_rejected > 0).then(|| super::rejects_url(id)),
        created_at: row.try_get(14)?,
        finished_at: row.try_get(15)?,
    })
}
