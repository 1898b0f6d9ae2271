//! The jobs that somebody follows.

use std::collections::HashSet;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{COLUMNS, COLUMNS_COUNT, Store, in_sight, job};
use crate::engine::oltp::Param;
use crate::error::DatabaseError;
use crate::jobs::Job;
use crate::jobs::events::{Question, Reply};

/// How many that have ended are looked at at a time.
const PAGE_ROWS: i64 = 1000;

impl Store {
    /// The jobs that somebody follows, as they are.
    pub(in crate::jobs) async fn followed(&self, question: &Question<'_>) -> Result<Reply, DatabaseError> {
        let follow = question.follow;
        let params: [Param<'_>; 7] = [
            (&follow.job, Type::UUID),
            (&follow.since, Type::INT8),
            (&follow.sight.principal, Type::TEXT),
            (&follow.sight.tables, Type::TEXT_ARRAY),
            (&question.overlap.as_secs_f64(), Type::FLOAT8),
            (&question.open, Type::UUID_ARRAY),
            (&PAGE_ROWS, Type::INT8),
        ];
        let sql = if follow.job.is_some() { one() } else { all() };
        let clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        // The clock first: what is looked at is no older.
        let (clock, rows) = self.oltp.query_both((clock, &[]), (&sql, &params)).await?;
        let as_of = clock.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        let mut known = HashSet::new();
        let jobs: Vec<(Job, Option<i64>)> = rows.iter().map(dated).collect::<Result<_, _>>()?;
        let paged = rows.iter().filter(|row| matches!(row.try_get(COLUMNS_COUNT + 1), Ok(true))).count();
        let jobs = jobs.into_iter().filter(|(job, _)| known.insert(job.id)).collect();
        Ok(Reply { as_of, jobs, is_cut: paged as i64 == PAGE_ROWS })
    }
}

/// A job with when it ended.
fn dated(row: &Row) -> Result<(Job, Option<i64>), tokio_postgres::Error> {
    Ok((job(row)?, row.try_get(COLUMNS_COUNT)?))
}

const ENDED: &str = "(extract(epoch FROM finished_at) * 1000000)::bigint";

fn one() -> String {
    format!("SELECT {COLUMNS}, {ENDED}, false FROM pgsluice.jobs WHERE id = $1 AND {}", in_sight(3, 4))
}

/// Those that are open, those that were when they were last seen, and a page of those that have ended since.
fn all() -> String {
    let sight = in_sight(3, 4);
    // Not by to_timestamp, which rounds: a microsecond too late is too late.
    let since = "coalesce(timestamptz 'epoch' + $2::bigint * interval '1 microsecond', now()) - make_interval(secs => $5)";
    format!(
        "SELECT * FROM ( \
           (SELECT {COLUMNS}, {ENDED} AS ended, true FROM pgsluice.jobs \
            WHERE $1::uuid IS NULL AND finished_at >= {since} AND {sight} ORDER BY finished_at, id LIMIT $7) \
           UNION ALL (SELECT {COLUMNS}, {ENDED}, false FROM pgsluice.jobs WHERE id = ANY ($6) AND finished_at < {since} AND {sight}) \
           UNION ALL (SELECT {COLUMNS}, {ENDED}, false FROM pgsluice.jobs WHERE state IN ('running', 'committing') AND {sight}) \
         ) job ORDER BY ended NULLS LAST, 1"
    )
}
