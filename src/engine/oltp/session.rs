//! One connection of the pool, with the statements that it has prepared.

use std::sync::Arc;
use std::time::Instant;

use futures::try_join;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row, Statement};

use super::Query;
use super::statements::Statements;
use super::stats::Counters;
use crate::engine::hosts::{Hosts, Link};
use crate::error::DatabaseError;

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) opened: Instant,
    /// when it was last given back
    pub(super) idle_since: Instant,
    statements: Statements,
    counters: Arc<Counters>,
}

impl Session {
    pub(super) async fn open(hosts: &Hosts, statement_cache_size: usize, counters: Arc<Counters>) -> Result<Session, DatabaseError> {
        let link = hosts.connect().await?;
        let now = Instant::now();
        Ok(Session {
            link,
            opened: now,
            idle_since: now,
            statements: Statements::new(statement_cache_size),
            counters,
        })
    }

    /// The server answers: with an empty query, which PostgreSQL and every pooler know.
    pub(super) async fn ping(&self) -> Result<(), Error> {
        self.link.client.batch_execute("").await
    }

    pub(super) async fn query(&mut self, query: Query<'_>) -> Result<Vec<Row>, Error> {
        let statement = self.statement(query).await?;
        match run(&self.link.client, query, statement.as_ref()).await {
            Err(error) if is_stale(&error) => {
                // Found out before it ran, so it has not run. The next use prepares it again.
                self.statements.forget(query.0);
                run(&self.link.client, query, None).await
            }
            answer => answer,
        }
    }

    pub(super) async fn query_both(&mut self, first: Query<'_>, second: Query<'_>) -> Result<(Vec<Row>, Vec<Row>), Error> {
        let (one, other) = (self.statement(first).await?, self.statement(second).await?);
        // The driver sends what it is given at once, and keeps the answers in order.
        let answers = try_join!(run(&self.link.client, first, one.as_ref()), run(&self.link.client, second, other.as_ref()));
        if answers.as_ref().is_err_and(is_stale) {
            self.statements.forget(first.0);
            self.statements.forget(second.0);
        }
        answers
    }

    /// The statement, prepared now if it has not been before; `None` where nothing is prepared.
    async fn statement(&mut self, (sql, params): Query<'_>) -> Result<Option<Statement>, Error> {
        if self.statements.is_off() {
            return Ok(None);
        }
        let types = || params.iter().map(|(_, kind)| kind.clone());
        if let Some(statement) = self.statements.get(sql, types()) {
            self.counters.statement_hit();
            return Ok(Some(statement));
        }
        self.counters.statement_missed();
        let types: Vec<Type> = types().collect();
        let statement = self.link.client.prepare_typed(sql, &types).await?;
        self.statements.put(sql, statement.clone());
        Ok(Some(statement))
    }
}

async fn run(client: &Client, (sql, params): Query<'_>, statement: Option<&Statement>) -> Result<Vec<Row>, Error> {
    let Some(statement) = statement else {
        return client.query_typed(sql, params).await;
    };
    let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
    client.query(statement, &values).await
}

/// "cached plan must not change result type": the table is not what it was when the statement was prepared. (That a statement does not
/// exist is another matter: it means that the connection is shared, and that any statement may be somebody else's.)
fn is_stale(error: &Error) -> bool {
    let server = error.as_db_error();
    server.is_some_and(|error| *error.code() == SqlState::FEATURE_NOT_SUPPORTED && error.routine() == Some("RevalidateCachedQuery"))
}
