//! The server's side of a load: its COPY statements, and the savepoint that each is under where rows are turned away.

use std::collections::HashMap;

use tokio_postgres::Statement;

use super::stream::Stream;
use crate::engine::bulk::Connection;
use crate::engine::catalog::Table;
use crate::engine::quote_identifier;
use crate::error::{DatabaseError, LoadError};
use crate::ingest::segment::Form;

/// How many different COPY statements a load keeps prepared.
const STATEMENTS_MAX: usize = 32;

/// What the next statement finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    /// the load does without: a refusal ends it
    Unwanted,
    /// nothing has been done yet
    Unset,
    /// what was done under it can stay
    Good,
    /// what was done under it has to go
    Spoiled,
}

/// The load's transaction.
pub(super) struct Session<'a> {
    connection: &'a Connection,
    pub(super) table: &'a Table,
    /// of the rows that follow, by their index in the table
    pub(super) columns: Vec<usize>,
    /// the same few come again and again
    statements: HashMap<(Vec<usize>, Form), Statement>,
    savepoint: Savepoint,
}

impl<'a> Session<'a> {
    /// With `savepoints`, a COPY that the server refuses takes only itself back.
    pub(super) fn new(connection: &'a Connection, table: &'a Table, savepoints: bool) -> Session<'a> {
        Session {
            connection,
            table,
            columns: Vec::new(),
            statements: HashMap::new(),
            savepoint: if savepoints { Savepoint::Unset } else { Savepoint::Unwanted },
        }
    }

    /// Begins a COPY.
    pub(super) async fn open(&mut self, form: Form, keeps_rows: bool) -> Result<Stream, LoadError> {
        let statement = self.statement(form).await?;
        let client = self.connection.client();
        let sink = match self.next_savepoint() {
            None => client.copy_in(&statement).await,
            // Sent together: a savepoint costs no round trip of its own.
            Some(savepoint) => futures::try_join!(client.batch_execute(savepoint), client.copy_in(&statement)).map(|((), sink)| sink),
        };
        if self.savepoint != Savepoint::Unwanted {
            self.savepoint = Savepoint::Good;
        }
        Stream::begin(form, sink.map_err(DatabaseError::from)?, keeps_rows).await
    }

    /// The server has refused the COPY that was opened last.
    pub(super) fn spoil(&mut self) {
        self.savepoint = Savepoint::Spoiled;
    }

    /// Leaves nothing undone that has to go: what follows is not a COPY.
    pub(super) async fn settle(&mut self) -> Result<(), DatabaseError> {
        if self.savepoint == Savepoint::Spoiled {
            self.connection.client().batch_execute("ROLLBACK TO SAVEPOINT pgsluice_rows").await?;
            self.savepoint = Savepoint::Good;
        }
        Ok(())
    }

    fn next_savepoint(&self) -> Option<&'static str> {
        match self.savepoint {
            Savepoint::Unwanted => None,
            Savepoint::Unset => Some("SAVEPOINT pgsluice_rows"),
            Savepoint::Good => Some("RELEASE SAVEPOINT pgsluice_rows; SAVEPOINT pgsluice_rows"),
            Savepoint::Spoiled => Some("ROLLBACK TO SAVEPOINT pgsluice_rows"),
        }
    }

    async fn statement(&mut self, form: Form) -> Result<Statement, LoadError> {
        let key = (self.columns.clone(), form);
        if let Some(statement) = self.statements.get(&key) {
            return Ok(statement.clone());
        }
        // In a transaction that has failed nothing can be prepared.
        self.settle().await?;
        // Each is a statement kept on the server.
        if self.statements.len() == STATEMENTS_MAX {
            self.statements.clear();
        }
        let sql = copy_statement(self.table, &self.columns, form);
        let statement = self.connection.client().prepare(&sql).await.map_err(DatabaseError::from)?;
        self.statements.insert(key, statement.clone());
        Ok(statement)
    }
}

fn copy_statement(table: &Table, columns: &[usize], form: Form) -> String {
    let columns: Vec<String> = columns.iter().map(|index| quote_identifier(&table.columns[*index].name)).collect();
    let (name, columns) = (table.quoted_name(), columns.join(", "));
    let format = match form {
        Form::Binary => "binary",
        Form::Text => "text",
    };
    format!("COPY {name} ({columns}) FROM STDIN (FORMAT {format})")
}
