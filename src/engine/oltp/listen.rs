//! LISTEN, on a connection of its own: one of the pool is somebody else's with every query; and NOTIFY.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::types::Type;

use super::Oltp;
use crate::engine::hosts::{Hosts, Link};
use crate::engine::in_time;
use crate::error::DatabaseError;

/// How often a connection on which nothing is told is looked at.
const LOOK_AROUND: Duration = Duration::from_secs(10);

/// Transactions that notify commit one after the other, in the whole server, until each is on disk: so none that changes anything does it,
/// and this one need not be on disk.
const NOTIFY: &str = "SELECT pg_catalog.set_config('synchronous_commit', 'off', true), pg_catalog.pg_notify($1, '')";

/// A connection that hears what is told on one channel.
#[derive(Debug)]
pub struct Listener {
    link: Link,
    told: mpsc::Receiver<()>,
}

impl Oltp {
    /// Whether there is anything to listen to. A pooler gives each transaction to another server connection, and none to what comes after.
    pub fn can_listen(&self) -> bool {
        !self.pool.settings().behind_pooler
    }

    /// Tells those who listen to a channel.
    ///
    /// # Errors
    /// Of the database.
    pub async fn notify(&self, channel: &str) -> Result<(), DatabaseError> {
        self.query(NOTIFY, &[(&channel, Type::TEXT)]).await.map(drop)
    }

    /// Listens to a channel.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn listen(&self, channel: &str) -> Result<Listener, DatabaseError> {
        in_time(self.pool.settings().pool_timeout, Box::pin(self.listen_unbounded(channel))).await
    }

    async fn listen_unbounded(&self, channel: &str) -> Result<Listener, DatabaseError> {
        let settings = self.pool.settings();
        let name = format!("{} events", settings.application_name);
        // Room for one: that something was told is all there is to know, however often it was.
        let (tell, told) = mpsc::channel(1);
        let hosts = Hosts::to_write(&settings.url, &name, settings.pool_timeout)?.telling(tell);
        let listener = Listener { link: hosts.connect().await?, told };
        listener.link.client.batch_execute(&format!("LISTEN {channel}")).await?;
        Ok(listener)
    }
}

impl Drop for Listener {
    /// Also while an answer is owed, for which the driver would wait.
    fn drop(&mut self) {
        self.link.io.abort();
    }
}

impl Listener {
    /// Waits until something is told; `None` when nothing will be any more.
    pub async fn told(&mut self) -> Option<()> {
        loop {
            match tokio::time::timeout(LOOK_AROUND, self.told.recv()).await {
                Ok(told) => return told,
                // A primary that a failover has left behind tells nothing, and may keep its connections all the same.
                Err(_) if !self.link.is_current() => return None,
                Err(_) => {}
            }
        }
    }
}
