//! What is said about a line that is bad as a whole.

use serde::de::IgnoredAny;

use super::columns::Columns;
use super::lines::Line;
use super::object::Bad;
use super::scan::{Flaw, Token};
use crate::encode::FieldError;
use crate::error::{Position, RowError};
use crate::ingest::rows::{Halt, Rows, looks_like, shorten, target};

#[cold]
pub(super) fn not_text(line: &Line<'_>, error: FieldError) -> Halt {
    let (sqlstate, reason) = parts(error);
    bad_line(
        line,
        None,
        sqlstate,
        format!("{reason}; a body is UTF-8 unless encoding= says otherwise{}", looks_like(line.text)),
        false,
    )
}

/// Says what is wrong with a line that was not read to its end.
#[cold]
pub(super) fn bad_object(bad: Bad, line: &Line<'_>, columns: &Columns, rows: &Rows<'_>) -> Halt {
    let name = |column: usize| columns.get(column).name.clone();
    match bad {
        Bad::Flaw(Flaw::Syntax, _) => bad_line(line, None, "22P02", syntax(line.text), true),
        Bad::Flaw(flaw, column) => {
            let (sqlstate, reason) = parts(flaw.into());
            bad_line(line, column.map(name), sqlstate, reason, true)
        }
        Bad::NotAnObject(token) => bad_line(line, None, "22023", not_an_object(token), true),
        Bad::Twice(column) => {
            let reason = format!("duplicate JSON object key value: \"{}\"", shorten(&name(column)));
            bad_line(line, Some(name(column)), "22030", reason, true)
        }
        Bad::Unknown(key) => {
            let (sqlstate, reason) = unknown(&key, rows);
            bad_line(line, None, sqlstate, reason, true)
        }
    }
}

/// With the codes of COPY for a column in its list.
fn unknown(key: &str, rows: &Rows<'_>) -> (&'static str, String) {
    let has_column = rows.table.columns.iter().any(|column| column.name == key);
    match target(rows.table, key) {
        Ok(_) => ("42703", format!("the key \"{}\" is none of those that columns= names", shorten(key))),
        Err(misfit) if has_column => ("42P10", misfit),
        Err(misfit) => ("42703", misfit),
    }
}

fn not_an_object(token: Token) -> String {
    let (found, hint) = match token {
        Token::Array => ("an array", "; `jq -c '.[]'` makes lines of the elements"),
        Token::String | Token::Escaped => ("a string", ""),
        Token::Null => ("null", ""),
        Token::Plain => ("a number or a boolean", ""),
        Token::Object => ("an object", ""),
    };
    format!("each line must be a JSON object, and this is {found}{hint}")
}

/// What `serde_json` says, with the place in the line.
fn syntax(text: &[u8]) -> String {
    let Err(error) = serde_json::from_slice::<IgnoredAny>(text) else {
        return "invalid input syntax for type json".to_owned();
    };
    let said = error.to_string();
    let words = said.split(" at line ").next().unwrap_or_default();
    let hint = if error.is_eof() { "; an object must not go beyond its line" } else { "" };
    format!("invalid input syntax for type json: {words} at byte {} of the line{hint}", error.column())
}

#[cold]
pub(super) fn another_list(column: &str, line: &Line<'_>, rows: &Rows<'_>) -> Halt {
    let listed = rows.targets.iter().any(|target| rows.table.columns[target.index].name == column);
    let (this, first) = if listed { ("does not", "did") } else { ("does", "did not") };
    let reason = format!(
        "with segments=one the first object fixes which columns get their defaults: this one {this} give \"{column}\", and the first {first}"
    );
    bad_line(line, Some(column.to_owned()), "0A000", reason, false)
}

#[cold]
pub(super) fn no_columns(line: &Line<'_>) -> Halt {
    bad_line(
        line,
        None,
        "0A000",
        "the object gives no column a value, and COPY cannot load a row of defaults only".to_owned(),
        true,
    )
}

fn parts(error: FieldError) -> (&'static str, String) {
    match error {
        FieldError::Refused { sqlstate, reason } => (sqlstate, reason.into_owned()),
        FieldError::NotMine => ("0A000", String::new()),
    }
}

fn bad_line(line: &Line<'_>, column: Option<String>, sqlstate: &'static str, reason: String, shown: bool) -> Halt {
    let error = RowError {
        position: Position { column, ..line.origin.into() },
        value: shown.then(|| shorten(&String::from_utf8_lossy(line.text))),
        type_name: None,
        sqlstate: sqlstate.into(),
        reason: reason.into(),
    };
    error.into()
}
