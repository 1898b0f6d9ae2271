//! The OLTP engine: many short, latency-bound queries on the jobs' metadata.
//!
//! Statements are sent unnamed (`query_typed`), so nothing outlives its query on a connection that a pooler may share.

use std::time::Instant;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::{Tls, connection_config, unreachable};
use crate::config;
use crate::error::DatabaseError;
use crate::telemetry::Latency;

const ANSWERED: (&str, &str) = ("outcome", "ok");
const FAILED: (&str, &str) = ("outcome", "error");

/// A parameter of a query with its type, which spares the server a round trip to tell us.
pub type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// The OLTP engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Oltp {
    pool: Pool,
    tls: Tls,
    settings: config::Oltp,
    latency: Latency,
}

/// The pool as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// connections that there may be
    pub size_max: usize,
    /// connections in use
    pub in_use: usize,
    /// connections that wait for a query
    pub idle: usize,
    /// queries that wait for a connection
    pub waiting: usize,
}

impl Oltp {
    /// Prepares the pool; connects to nothing yet.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn new(settings: config::Oltp) -> Result<Oltp, DatabaseError> {
        let (config, tls) = connection_config(&settings.url, "pgsluice oltp", settings.pool_timeout)?;
        let recycling_method = if settings.pool_pre_ping { RecyclingMethod::Verified } else { RecyclingMethod::Fast };
        let manager = Manager::from_config(config, tls.clone(), ManagerConfig { recycling_method });
        let age_max = settings.pool_recycle;
        let timeout = Some(settings.pool_timeout);
        let pool = Pool::builder(manager)
            .runtime(Runtime::Tokio1)
            .max_size(settings.pool_size)
            .wait_timeout(timeout)
            .create_timeout(timeout)
            .recycle_timeout(timeout)
            .pre_recycle(Hook::sync_fn(move |_, metrics| {
                if metrics.age() > age_max {
                    return Err(HookError::message("older than pool_recycle"));
                }
                Ok(())
            }))
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        let latency = Latency::default();
        for outcome in [ANSWERED, FAILED] {
            latency.prepare(&[outcome]);
        }
        Ok(Oltp { pool, tls, settings, latency })
    }

    /// The pool as of now.
    pub fn occupancy(&self) -> Occupancy {
        let status = self.pool.status();
        Occupancy {
            size_max: status.max_size,
            in_use: status.size.saturating_sub(status.available),
            idle: status.available,
            waiting: status.waiting,
        }
    }

    /// How long queries take, the wait for a connection included.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// The database refused it, could not be reached, or did not answer in time.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, DatabaseError> {
        let asking_since = Instant::now();
        let answer = self.ask(sql, params).await;
        self.latency.observe(&[if answer.is_ok() { ANSWERED } else { FAILED }], asking_since.elapsed());
        answer
    }

    async fn ask(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, DatabaseError> {
        let client = self.pool.get().await.map_err(pool_error)?;
        let within = self.settings.command_timeout;
        if let Ok(rows) = tokio::time::timeout(within, client.query_typed(sql, params)).await {
            return Ok(rows?);
        }
        // Its answer may still come, so nobody else may get this connection; and the server need not go on.
        let cancel = client.cancel_token();
        drop(deadpool_postgres::Object::take(client));
        let _ = tokio::time::timeout(within, cancel.cancel_query(self.tls.clone())).await;
        let seconds = within.as_secs();
        Err(unreachable(format!("no answer to a query within {seconds} s")))
    }
}

fn pool_error(error: PoolError) -> DatabaseError {
    match error {
        PoolError::Backend(error) => error.into(),
        other => unreachable(other.to_string()),
    }
}
