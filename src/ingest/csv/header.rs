//! Which columns the fields of a record go into.

use super::complaint::not_text;
use super::scan::Record;
use super::value::{NullRule, value};
use super::{Columns, Options};
use crate::error::DataError;
use crate::ingest::rows::{Halt, Rows, shorten, shorten_list};

pub(super) fn begin_with_header(options: &Options, record: &Record<'_>, scratch: &mut Vec<u8>, rows: &mut Rows<'_>) -> Result<(), Halt> {
    if let Some(columns) = &options.columns {
        return rows.begin(columns);
    }
    let mut names = Vec::with_capacity(record.len());
    for index in 0..record.len() {
        let name = match value(options, NullRule::default(), record, index, scratch) {
            Ok(text) => text.unwrap_or(options.null.as_bytes()),
            Err(error) => return Err(not_text(record, error)),
        };
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    rows.begin(&names).map_err(|halt| match halt {
        Halt::Data(DataError::Misfit(mut misfits)) => {
            misfits.extend(header_hint(options, &names, rows));
            Halt::Data(DataError::Misfit(misfits))
        }
        other => other,
    })
}

/// What is probably meant when not one name in the header is a column's.
fn header_hint(options: &Options, names: &[String], rows: &Rows<'_>) -> Option<String> {
    let is_column = |name: &String| rows.table.columns.iter().any(|column| column.name == *name);
    if names.iter().any(is_column) {
        return None;
    }
    if let [only] = names
        && let Some(other) = [';', '\t', '|', ','].into_iter().find(|c| only.contains(*c))
    {
        let (used, escaped) = (char::from(options.delimiter), format!("%{:02X}", u32::from(other)));
        return Some(format!("the header has no {used:?} in it: if fields end with {other:?}, say delimiter={escaped}"));
    }
    let shown = shorten(&names.join(", "));
    Some(format!("the first line was read as a header ({shown}): if it is data, say header=absent"))
}

/// As in COPY without a column list: all columns of the table, but for those that nobody may write.
pub(super) fn begin_without_header(options: &Options, rows: &mut Rows<'_>) -> Result<(), Halt> {
    match &options.columns {
        Some(columns) => rows.begin(columns),
        None => {
            let writable = rows.table.columns.iter().filter(|column| !column.generated);
            let names: Vec<String> = writable.map(|column| column.name.clone()).collect();
            rows.begin(&names)
        }
    }
}

/// For each of the load's columns, when a field is NULL; the names that the options give must be among them.
pub(super) fn null_rules(options: &Options, rows: &Rows<'_>) -> Result<Vec<NullRule>, Vec<String>> {
    let names: Vec<&str> = rows.targets.iter().map(|target| rows.table.columns[target.index].name.as_str()).collect();
    let mut misfits = Vec::new();
    for (option, columns) in [("force_null", &options.force_null), ("force_not_null", &options.force_not_null)] {
        if let Columns::Named(named) = columns {
            let strangers = named.iter().filter(|name| !names.contains(&name.as_str()));
            misfits.extend(strangers.map(|name| format!("{option} names \"{}\", which is not a column of the load", shorten(name))));
        }
    }
    if !misfits.is_empty() {
        return Err(shorten_list(misfits));
    }
    let has = |columns: &Columns, name: &str| match columns {
        Columns::None => false,
        Columns::All => true,
        Columns::Named(named) => named.iter().any(|other| other == name),
    };
    let rule = |name: &&str| NullRule {
        force_null: has(&options.force_null, name),
        force_not_null: has(&options.force_not_null, name),
    };
    Ok(names.iter().map(rule).collect())
}
