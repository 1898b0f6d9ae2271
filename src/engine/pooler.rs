//! Finds out whether a URL leads to PostgreSQL itself, or to a pooler that gives each transaction to whichever of its server connections
//! is free: PgBouncer in transaction mode, and its likes.

use std::time::Duration;

use super::hosts::{Hosts, Link};
use super::in_time;
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
    // Two sessions on two servers would tell nothing.
    let hosts = Hosts::to_write(url, application_name, connect_timeout)?.one_after_the_other();
    // A pooler that has no connection left lets everybody wait.
    in_time(connect_timeout, compare(&hosts)).await
}

async fn compare(hosts: &Hosts) -> Result<bool, DatabaseError> {
    let (one, other) = (hosts.connect().await?, hosts.connect().await?);
    let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_one.push(pid(&one).await?);
        of_other.push(pid(&other).await?);
    }
    Ok(of_one.iter().any(|pid| of_other.contains(pid)))
}

async fn pid(link: &Link) -> Result<i32, DatabaseError> {
    Ok(link.client.query_typed_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.try_get(0)?)
}
