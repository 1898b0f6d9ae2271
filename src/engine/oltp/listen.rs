//! LISTEN, on a connection of its own: one of the pool is somebody else's with every query.

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::task::AbortOnDropHandle;

use super::Oltp;
use crate::engine::{connection_config, in_time};
use crate::error::DatabaseError;

/// A connection that hears what is told on one channel.
#[derive(Debug)]
pub struct Listener {
    /// as long as it is there, the connection is open
    _client: Client,
    _io: AbortOnDropHandle<()>,
    told: mpsc::Receiver<()>,
}

impl Oltp {
    /// Whether there is anything to listen to. A pooler gives each transaction to another server connection, and none to what comes after.
    pub fn can_listen(&self) -> bool {
        !self.pool.settings().behind_pooler
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
        let (config, tls) = connection_config(&settings.url, &name, settings.pool_timeout)?;
        let (client, mut connection) = config.connect(tls).await?;
        // Room for one: that something was told is all there is to know, however often it was.
        let (tell, told) = mpsc::channel(1);
        let io = tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if matches!(message, AsyncMessage::Notification(_)) {
                    let _ = tell.try_send(());
                }
            }
        });
        client.batch_execute(&format!("LISTEN {channel}")).await?;
        Ok(Listener { _client: client, _io: AbortOnDropHandle::new(io), told })
    }
}

impl Listener {
    /// Waits until something is told; `None` when the connection has ended.
    pub async fn told(&mut self) -> Option<()> {
        self.told.recv().await
    }
}
