//! The file of `--config`: TOML, one key for each setting, and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Command;
use toml::{Table, Value};

use super::all_keys;

/// Less alike than this, a name is no hint.
const LIKENESS_MIN: f64 = 0.75;

/// What the file says.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// by key; a flag that can be given several times has a list
    values: BTreeMap<String, Vec<String>>,
}

impl File {
    pub(super) fn read(path: PathBuf, command: &Command) -> Result<File, String> {
        let named = |reason: String| format!("{}: {reason}", path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| named(error.to_string()))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| named(without_text(&text, &error)))?;
        let keys = all_keys(command);
        let mut values = BTreeMap::new();
        for (key, value) in table {
            if !keys.contains(&key) {
                return Err(named(unknown(&key, &keys)));
            }
            let texts = texts(value).ok_or_else(|| named(format!("{key} is a text, a number, true or false, or a list of those")))?;
            values.insert(key, texts);
        }
        Ok(File { path, values })
    }

    /// What it says about a setting, if anything.
    pub(super) fn values(&self, key: &str) -> &[String] {
        self.values.get(key).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The parser's own message shows the line, and the line may hold a password.
fn without_text(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    format!("line {line}: {}", error.message())
}

fn unknown(key: &str, keys: &[String]) -> String {
    let alike = keys.iter().map(|known| (strsim::jaro_winkler(known, key), known));
    let nearest = alike
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
    match nearest {
        Some((_, known)) => format!("there is no setting {key:?}; did you mean {known:?}?"),
        None => format!("there is no setting {key:?}; `pgsluice serve --help` lists them"),
    }
}

fn texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        value => Some(vec![text(value)?]),
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(yes) => Some(yes.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
