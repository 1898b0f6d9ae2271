//! Looks at the databases from outside, on a way of its own that no fault touches; where the server itself is down, waits for it.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls, Row};

/// How long the server may be down.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long something may take that has to come about by itself.
const SETTLING: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(50);

/// A connection to one database that is made again when it is lost.
pub(crate) struct Observer {
    url: String,
    client: Option<Client>,
}

impl Observer {
    pub(crate) fn new(url: String) -> Observer {
        Observer { url, client: None }
    }

    /// A session of its own; an error when there is none to be had now.
    pub(crate) async fn session(url: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        client
            .batch_execute("SET application_name = faults; SET statement_timeout = 0; SET client_min_messages = error")
            .await?;
        Ok(client)
    }

    /// Another session beside this one.
    pub(crate) async fn another(&self) -> Result<Client, tokio_postgres::Error> {
        Observer::session(&self.url).await
    }

    /// Runs one statement; what is done twice if the connection is lost in between must not matter.
    pub(crate) async fn rows(&mut self, sql: &str) -> Vec<Row> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_rows(sql).await {
                Ok(rows) => return rows,
                Err(error) => {
                    let refused = error.as_db_error().is_some_and(|server| !matches!(&server.code().code()[..2], "57" | "08" | "53"));
                    assert!(!refused && Instant::now() < deadline, "{sql}: {error:?}");
                    self.client = None;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_rows(&mut self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Observer::session(&self.url).await?,
        };
        let rows = client.query(sql, &[]).await;
        self.client = Some(client);
        rows
    }

    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        self.rows(sql).await[0].get(0)
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        self.rows(sql).await;
    }

    /// Waits until a count is zero; how many are left when it takes too long.
    pub(crate) async fn none_left(&mut self, sql: &str) -> Result<(), i64> {
        let deadline = Instant::now() + SETTLING;
        loop {
            match self.number(sql).await {
                0 => return Ok(()),
                left if Instant::now() > deadline => return Err(left),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
