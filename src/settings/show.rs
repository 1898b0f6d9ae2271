//! `pgsluice config`: what holds, as a file that could be read again, with the origin of each value behind it.

use std::any::TypeId;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};
use toml::Value;

use super::mask::masked;
use super::{Settings, leaf, settings, variable};

impl Settings {
    /// Every setting of the command, secrets masked.
    pub(crate) fn show(&self) -> String {
        let (command, matches) = leaf(&self.command, &self.matches);
        let line = |(key, arg)| match self.value(key, arg, matches) {
            Some((values, origin)) => format!("{key} = {}  # {origin}\n", toml(arg, &values)),
            None => format!("# {key} is not set\n"),
        };
        settings(command).map(line).collect()
    }

    /// The value, and where it is from.
    fn value(&self, key: &str, arg: &Arg, matches: &ArgMatches) -> Option<(Vec<String>, String)> {
        let id = arg.get_id().as_str();
        let environment = variable(key, arg);
        let Some(raw) = matches.get_raw(id) else {
            let name = environment?;
            return Some((vec![std::env::var(&name).ok()?], format!("environment {name}")));
        };
        let origin = match (matches.value_source(id), environment, &self.file) {
            (_, _, Some(file)) if self.from_file.contains(key) => format!("file {}", file.path.display()),
            (Some(ValueSource::CommandLine), _, _) => "flag".to_owned(),
            (Some(ValueSource::EnvVariable), Some(name), _) => format!("environment {name}"),
            _ => "default".to_owned(),
        };
        let values = match arg.get_action() {
            ArgAction::SetTrue => vec![matches.get_flag(id).to_string()],
            _ => raw.map(|value| value.to_string_lossy().into_owned()).collect(),
        };
        Some((values, origin))
    }
}

fn toml(arg: &Arg, values: &[String]) -> String {
    // What TOML has without quotes.
    let plain = [TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<f64>(), TypeId::of::<bool>()];
    let shown = |value: &String| {
        let value = if arg.is_hide_env_values_set() { masked(value) } else { value.clone() };
        if plain.iter().any(|plain| arg.get_value_parser().type_id() == *plain) {
            return value;
        }
        Value::String(value).to_string()
    };
    match values {
        [value] => shown(value),
        values => format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", ")),
    }
}
