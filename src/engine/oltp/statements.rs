//! Statements that one connection has prepared: the least recently used makes room.

use std::collections::HashMap;

use tokio_postgres::Statement;
use tokio_postgres::types::Type;

/// A bounded cache. A statement that falls out of it is closed on the server.
#[derive(Debug)]
pub(super) struct Statements {
    capacity: usize,
    /// what stands for time
    uses: u64,
    by_sql: HashMap<Box<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    statement: Statement,
    used: u64,
}

impl Statements {
    pub(super) fn new(capacity: usize) -> Statements {
        Statements { capacity, uses: 0, by_sql: HashMap::new() }
    }

    /// With no room at all nothing is prepared.
    pub(super) fn is_off(&self) -> bool {
        self.capacity == 0
    }

    /// The statement of this text, prepared for just these types.
    pub(super) fn get(&mut self, sql: &str, types: impl Iterator<Item = Type>) -> Option<Statement> {
        let entry = self.by_sql.get_mut(sql)?;
        if !types.eq(entry.statement.params().iter().cloned()) {
            return None;
        }
        self.uses += 1;
        entry.used = self.uses;
        Some(entry.statement.clone())
    }

    pub(super) fn put(&mut self, sql: &str, statement: Statement) {
        self.uses += 1;
        self.by_sql.insert(sql.into(), Entry { statement, used: self.uses });
        while self.by_sql.len() > self.capacity {
            // The capacity is small and a new statement rare: looking at each is cheaper than keeping them in order.
            let oldest = self.by_sql.iter().min_by_key(|(_, entry)| entry.used).map(|(sql, _)| sql.clone());
            oldest.and_then(|sql| self.by_sql.remove(&sql));
        }
    }

    pub(super) fn forget(&mut self, sql: &str) {
        self.by_sql.remove(sql);
    }
}
