//! Finds out whether a URL leads to PostgreSQL itself, or to a pooler that gives each transaction to whichever of its server connections
//! is free: PgBouncer in transaction mode, and its likes.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};

use super::{Tls, connection_config, in_time};
use crate::error::DatabaseError;

/// How often two sessions are asked for their server process. A pooler gives out the connection that came back last, so the first time
/// tells, unless others use the pool at the same time.
const ROUNDS: usize = 4;

/// Two sessions that are open at the same time have been served by the same server process. True is certain; false may be due to others
/// that use the pooler just now, or to a pooler in session mode, which may be treated as PostgreSQL itself.
///
/// # Errors
/// The database cannot be reached.
pub async fn shares_connections(url: &str, application_name: &str, connect_timeout: Duration) -> Result<bool, DatabaseError> {
    let (config, tls) = connection_config(url, application_name, connect_timeout)?;
    // A pooler that has no connection left lets everybody wait.
    in_time(connect_timeout, compare(&config, &tls)).await
}

async fn compare(config: &Config, tls: &Tls) -> Result<bool, DatabaseError> {
    let one = Session::open(config, tls).await?;
    let other = Session::open(config, tls).await?;
    let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_one.push(one.pid().await?);
        of_other.push(other.pid().await?);
    }
    Ok(of_one.iter().any(|pid| of_other.contains(pid)))
}

/// Closed when dropped.
struct Session {
    client: Client,
    _io: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Session {
    async fn open(config: &Config, tls: &Tls) -> Result<Session, DatabaseError> {
        let (client, connection) = config.connect(tls.clone()).await?;
        Ok(Session { client, _io: tokio::spawn(connection) })
    }

    async fn pid(&self) -> Result<i32, DatabaseError> {
        Ok(self.client.query_typed_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.try_get(0)?)
    }
}
