//! Deletes jobs that ended long ago, with their reject reports and their rows in the ledger: a batch at a time, by one instance at a time,
//! which the metadata database elects.
//!
//! Metadata and ledger may be in two databases, so a batch is no transaction. It goes in an order in which each step may fail, or be done
//! twice: the job is deleted last, and as long as it is there, whoever comes next finds what is left of it.

use std::time::{Duration, Instant};

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::conduct::Conductor;
use super::store::HOLDS_KEY;
use crate::engine::oltp::Param;
use crate::error::DatabaseError;
use crate::ingest::commit;

/// Jobs of one batch, and rows of reports that make it a smaller one: statements of some milliseconds, between which others get their turn.
const BATCH_JOBS: i64 = 500;
const BATCH_REJECTS: i32 = 5000;

/// How often somebody looks for old jobs, unless they are kept for a shorter time than ten times that.
const PERIOD_MAX: Duration = Duration::from_secs(600);
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// Jobs to delete.
struct Batch {
    jobs: Vec<Uuid>,
    /// there are more
    is_cut: bool,
}

/// The part of one instance in it.
#[derive(Debug)]
pub(super) struct Sweeper<'a> {
    conductor: &'a Conductor,
    retention: Duration,
    period: Duration,
    /// when to look for old jobs
    next: Instant,
}

impl<'a> Sweeper<'a> {
    /// Jobs are kept for so long.
    pub(super) fn new(conductor: &'a Conductor, retention: Duration) -> Sweeper<'a> {
        let period = (retention / 10).clamp(PERIOD_MIN, PERIOD_MAX);
        // Instances that were started together must not come together. The end of an id is chance.
        let [.., chance] = *conductor.me.id.as_bytes();
        let next = Instant::now() + period * u32::from(chance) / 256;
        Sweeper { conductor, retention, period, next }
    }

    /// Deletes the next batch, if it is time for one. Called again and again; how often is how fast it goes.
    pub(super) async fn step(&mut self) -> Result<(), DatabaseError> {
        if Instant::now() < self.next {
            return Ok(());
        }
        // What fails is not tried again at once.
        self.next = Instant::now() + self.period;
        if !self.is_elected().await? {
            return Ok(());
        }
        let Batch { jobs, is_cut } = self.old_jobs().await?;
        if jobs.is_empty() {
            return Ok(());
        }
        commit::forget(&self.conductor.bulk, &jobs).await?;
        // By number, so that no statement reads what the last one has deleted. Only the last job may have more rows than one takes: a million.
        let mut after = self.first_reject(&jobs).await? - 1;
        while self.delete_rejects(&jobs, after).await? > 0 {
            after += BATCH_REJECTS;
        }
        let deleted = self.delete_jobs(&jobs).await?;
        self.conductor.deleted.add(deleted);
        if deleted > 0 {
            tracing::info!(jobs = deleted, "deleted jobs that were older than --job-retention");
        }
        if is_cut {
            self.next = Instant::now();
        }
        Ok(())
    }

    /// This instance has the word, or gets it because nobody has used it for a while.
    async fn is_elected(&self) -> Result<bool, DatabaseError> {
        let sql = "INSERT INTO pgsluice.sweeps AS sweep (target, instance, swept_at) VALUES ($1, $2, clock_timestamp()) \
                   ON CONFLICT (target) DO UPDATE SET instance = $2, swept_at = clock_timestamp() \
                   WHERE sweep.instance = $2 OR sweep.swept_at < clock_timestamp() - make_interval(secs => $3) RETURNING target";
        let Conductor { store, me, .. } = self.conductor;
        let params: [Param<'_>; 3] = [(&store.target(), Type::UUID), (&me.id, Type::UUID), (&self.period.as_secs_f64(), Type::FLOAT8)];
        Ok(!store.oltp().query(sql, &params).await?.is_empty())
    }

    /// Jobs of this target that ended long enough ago. One that holds an idempotency key is kept for as long as the key stands. What has not
    /// ended, or nobody knows how, is not among them.
    async fn old_jobs(&self) -> Result<Batch, DatabaseError> {
        // now() and not clock_timestamp(), which no index can be asked for.
        let old = format!(
            "SELECT id, finished_at, rows_rejected FROM pgsluice.jobs \
             WHERE target = $1 AND finished_at < now() - make_interval(secs => $2) \
               AND (finished_at < now() - make_interval(secs => $3) OR NOT ({HOLDS_KEY})) \
             ORDER BY finished_at LIMIT $4"
        );
        let sql = format!(
            "SELECT id, count FROM (SELECT id, count(*) OVER () AS count, \
                sum(rows_rejected) OVER (ORDER BY finished_at, id) - rows_rejected AS before FROM ({old}) old) old \
             WHERE before < $5"
        );
        let store = &self.conductor.store;
        let key_retention = self.conductor.limits().key_retention;
        let params: [Param<'_>; 5] = [
            (&store.target(), Type::UUID),
            (&self.retention.as_secs_f64(), Type::FLOAT8),
            (&key_retention.as_secs_f64(), Type::FLOAT8),
            (&BATCH_JOBS, Type::INT8),
            (&BATCH_REJECTS, Type::INT4),
        ];
        let rows = store.oltp().query(&sql, &params).await?;
        let found: i64 = rows.first().map(|row| row.try_get(1)).transpose()?.unwrap_or(0);
        let jobs = rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<Vec<_>, DatabaseError>>()?;
        Ok(Batch { is_cut: found == BATCH_JOBS || (jobs.len() as i64) < found, jobs })
    }

    /// The lowest number that there is in the jobs' reports: those below may be gone already, if the last attempt was interrupted.
    async fn first_reject(&self, jobs: &[Uuid]) -> Result<i32, DatabaseError> {
        let sql = "SELECT coalesce(min(number), 1) FROM pgsluice.rejects WHERE job_id = ANY ($1)";
        let rows = self.conductor.store.oltp().query(sql, &[(&jobs, Type::UUID_ARRAY)]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(1))
    }

    /// The rows of the jobs' reports that come next after that number; how many they were.
    async fn delete_rejects(&self, jobs: &[Uuid], after: i32) -> Result<i64, DatabaseError> {
        let sql = "WITH gone AS (DELETE FROM pgsluice.rejects WHERE job_id = ANY ($1) AND number > $2 AND number <= $2 + $3 RETURNING 1) \
                   SELECT count(*) FROM gone";
        let params: [Param<'_>; 3] = [(&jobs, Type::UUID_ARRAY), (&after, Type::INT4), (&BATCH_REJECTS, Type::INT4)];
        let rows = self.conductor.store.oltp().query(sql, &params).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
    }

    /// How many of them were still there.
    async fn delete_jobs(&self, jobs: &[Uuid]) -> Result<u64, DatabaseError> {
        let sql = "DELETE FROM pgsluice.jobs WHERE id IN (SELECT id FROM pgsluice.jobs WHERE id = ANY ($1) FOR UPDATE SKIP LOCKED) \
                   RETURNING id";
        let rows = self.conductor.store.oltp().query(sql, &[(&jobs, Type::UUID_ARRAY)]).await?;
        Ok(rows.len() as u64)
    }
}
