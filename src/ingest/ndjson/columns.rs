//! Which columns keys may name, and which of them COPY's column list has at the moment.
//!
//! A key that is missing means what a column means that is not in COPY's list: its default. Where the default is NULL the column can just
//! as well be in the list, always. A column with a default of its own is in it for the rows that give it a value; when that changes from
//! one row to the next, a COPY with another list begins.

use std::collections::HashMap;

use super::Options;
use super::complaint;
use super::lines::Line;
use super::object::Object;
use super::scan::Token;
use crate::engine::catalog::Table;
use crate::ingest::rows::{Halt, Rows, Target, target};

/// A column that a key may name.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: String,
    /// the key as most write it; not for names that cannot stand in a string without an escape
    quoted: Option<Box<[u8]>>,
    pub(super) target: Target,
    listed: bool,
    /// the column whose key came after this one's in the object before: most objects have their keys in the same order
    next: usize,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Columns {
    known: Vec<Known>,
    by_name: HashMap<String, usize>,
    /// the column of the first key in the object before
    first: usize,
    /// in the list only for rows that give them
    with_default: Vec<usize>,
    /// NULL by default, and only the server can read them: not in the list until a row gives one, because then all rows go as text
    text_only: Vec<usize>,
    /// in the list now, in its order
    pub(super) listed: Vec<usize>,
}

impl Columns {
    /// All columns of the table that can be written, or those that the request names; that these are there has been checked before.
    pub(super) fn new(table: &Table, options: &Options) -> Columns {
        let is_named = |name: &String| options.columns.as_ref().is_none_or(|names| names.contains(name));
        let mut columns = Columns {
            known: Vec::new(),
            by_name: HashMap::new(),
            first: 0,
            with_default: Vec::new(),
            text_only: Vec::new(),
            listed: Vec::new(),
        };
        for column in table.columns.iter().filter(|column| is_named(&column.name)) {
            let Ok(target) = target(table, &column.name) else {
                continue;
            };
            let index = columns.known.len();
            if column.has_default {
                columns.with_default.push(index);
            } else if target.kind.is_none() {
                columns.text_only.push(index);
            }
            columns.by_name.insert(column.name.clone(), index);
            columns.known.push(Known {
                name: column.name.clone(),
                quoted: quoted(&column.name),
                listed: !column.has_default && target.kind.is_some(),
                target,
                next: index + 1,
            });
        }
        columns
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn get(&self, column: usize) -> &Known {
        &self.known[column]
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The column that most probably comes after this one, and how its key is written.
    #[inline]
    pub(super) fn expected(&self, after: Option<usize>) -> Option<(usize, &[u8])> {
        let column = after.map_or(self.first, |after| self.known[after].next);
        Some((column, self.known.get(column)?.quoted.as_deref()?))
    }

    /// Remembers what came after this one.
    pub(super) fn expect(&mut self, after: Option<usize>, column: usize) {
        match after {
            Some(after) => self.known[after].next = column,
            None => self.first = column,
        }
    }

    /// Sees to it that COPY's list is right for a row.
    #[inline]
    pub(super) fn settle(&mut self, object: &Object, line: &Line<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let changed = |column: &&usize| self.known[**column].listed != object.get(**column).is_some();
        let odd = self
            .with_default
            .iter()
            .find(changed)
            .or_else(|| self.text_only.iter().find(|column| has_value(object, **column)));
        match odd {
            None if !self.listed.is_empty() => Ok(()),
            Some(odd) if rows.one_copy() && !self.listed.is_empty() => Err(complaint::another_list(&self.known[*odd].name, line, rows)),
            _ => self.list(object, line, rows),
        }
    }

    #[cold]
    fn list(&mut self, object: &Object, line: &Line<'_>, rows: &mut Rows<'_>) -> Result<(), Halt> {
        for column in &self.with_default {
            self.known[*column].listed = object.get(*column).is_some();
        }
        // From here on they stay: NULL and missing are the same for them. A single COPY reads all rows as text anyway.
        let any_listed = self.known.iter().any(|known| known.listed);
        let all = rows.one_copy() || !any_listed;
        let (now, later): (Vec<usize>, Vec<usize>) = self.text_only.iter().partition(|column| all || has_value(object, **column));
        self.text_only = later;
        for column in now {
            self.known[column].listed = true;
        }
        self.listed = (0..self.known.len()).filter(|column| self.known[*column].listed).collect();
        if self.listed.is_empty() {
            return Err(complaint::no_columns(line));
        }
        rows.begin_targets(self.listed.iter().map(|column| self.known[*column].target.clone()).collect())
    }
}

fn has_value(object: &Object, column: usize) -> bool {
    object.get(column).is_some_and(|value| value.token != Token::Null)
}

fn quoted(name: &str) -> Option<Box<[u8]>> {
    let plain = !name.contains(|c: char| c == '"' || c == '\\' || c < ' ');
    plain.then(|| format!("\"{name}\"").into_bytes().into())
}
