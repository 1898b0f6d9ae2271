//! Where a setting comes from: a flag, else the environment, else the file of `--config`, else its default.
//!
//! All of it follows from clap's own definitions: whatever has a flag and an environment variable is a setting, and the flag's name is its
//! key in the file. What the file says is handed to clap as if it were written on the command line, unless a flag or the environment says
//! otherwise; so it is checked by the same rules.

mod file;
mod mask;
pub(crate) mod otlp;
mod show;
#[cfg(test)]
mod table;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use self::file::File;
use crate::arguments::Arguments;

/// The flag that names the file cannot be in it.
const CONFIG: &str = "config";
/// Variables that are read beside a setting's own, because everybody has them.
const OTHER_VARIABLES: [(&str, &str); 1] = [("database-url", "DATABASE_URL")];

/// What the service was told, and by whom.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) arguments: Arguments,
    command: Command,
    matches: ArgMatches,
    file: Option<File>,
    /// the keys of those that are the file's
    from_file: BTreeSet<String>,
}

/// Why it cannot be what it was told to be.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// a flag or a variable is wrong, or somebody asked for help
    Usage(clap::Error),
    /// the file is wrong
    File(String),
}

impl Settings {
    /// Reads command line, environment and file.
    pub(crate) fn read(line: Vec<OsString>) -> Result<Settings, Refusal> {
        let mut command = Arguments::command();
        command.build();
        let file = match named_file(&command, &line) {
            Some(path) => Some(File::read(path, &command).map_err(Refusal::File)?),
            None => None,
        };
        let (whole, from_file) = match &file {
            Some(file) => with_file(&command, &line, file),
            None => (line.clone(), BTreeSet::new()),
        };
        let matches = match command.clone().try_get_matches_from(whole) {
            Ok(matches) => matches,
            Err(error) => return Err(blame(error, &command, line, file.as_ref())),
        };
        let arguments = Arguments::from_arg_matches(&matches).map_err(Refusal::Usage)?;
        Ok(Settings { arguments, command, matches, file, from_file })
    }
}

/// A line that is right without the file is wrong by the file.
fn blame(error: clap::Error, command: &Command, line: Vec<OsString>, file: Option<&File>) -> Refusal {
    match file {
        Some(file) if command.clone().try_get_matches_from(line).is_ok() => {
            let text = error.to_string();
            let reason = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
            Refusal::File(format!("{}: {reason}", file.path.display()))
        }
        _ => Refusal::Usage(error),
    }
}

/// Something else may be missing yet that only the file has, so errors do not count here.
fn named_file(command: &Command, line: &[OsString]) -> Option<PathBuf> {
    let matches = command.clone().ignore_errors(true).try_get_matches_from(line).ok()?;
    let (_, matches) = leaf(command, &matches);
    matches.get_one::<PathBuf>(CONFIG).filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// The line with what the file says about settings that neither line nor environment say anything about.
fn with_file(command: &Command, line: &[OsString], file: &File) -> (Vec<OsString>, BTreeSet<String>) {
    let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(line) else {
        return (line.to_vec(), BTreeSet::new());
    };
    let (leaf_command, leaf_matches) = leaf(command, &matches);
    let (mut words, mut keys) = (Vec::new(), BTreeSet::new());
    for (key, arg) in settings(leaf_command) {
        let is_given = leaf_matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        if is_given || variable(key, arg).is_some() {
            continue;
        }
        for value in file.values(key) {
            keys.insert(key.to_owned());
            match (arg.get_action(), value.as_str()) {
                (ArgAction::SetTrue, "true") => words.push(format!("--{key}").into()),
                (ArgAction::SetTrue, "false") => {}
                _ => words.push(format!("--{key}={value}").into()),
            }
        }
    }
    let at = end_of_subcommand(&matches, line);
    ([&line[..at], &words, &line[at..]].concat(), keys)
}

/// Where in the line the flags of the innermost subcommand begin.
fn end_of_subcommand(matches: &ArgMatches, line: &[OsString]) -> usize {
    let (mut matches, mut at) = (matches, 0);
    while let Some((name, inner)) = matches.subcommand() {
        let found = line[at..].iter().position(|word| word == name);
        at = found.map_or(line.len(), |found| at + found + 1);
        matches = inner;
    }
    at
}

/// The innermost subcommand.
fn leaf<'a>(command: &'a Command, matches: &'a ArgMatches) -> (&'a Command, &'a ArgMatches) {
    let (mut command, mut matches) = (command, matches);
    while let Some((name, inner)) = matches.subcommand() {
        match command.find_subcommand(name) {
            Some(found) => (command, matches) = (found, inner),
            None => break,
        }
    }
    (command, matches)
}

/// A command's settings, by the names of their flags.
fn settings(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let settings = command.get_arguments().filter(|arg| arg.get_env().is_some() && arg.get_id() != CONFIG);
    settings.filter_map(|arg| Some((arg.get_long()?, arg)))
}

/// The settings of every command.
fn all_keys(command: &Command) -> Vec<String> {
    let mut keys: Vec<String> = settings(command).map(|(key, _)| key.to_owned()).collect();
    keys.extend(command.get_subcommands().flat_map(all_keys));
    keys.sort();
    keys.dedup();
    keys
}

/// The environment variable that says something about a setting.
fn variable(key: &str, arg: &Arg) -> Option<String> {
    let own = arg
        .get_env()
        .filter(|name| std::env::var_os(name).is_some())
        .map(|name| name.to_string_lossy().into_owned());
    let mut others = OTHER_VARIABLES
        .into_iter()
        .filter(|(of, name)| *of == key && std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    own.or_else(|| others.next().map(|(_, name)| name.to_owned()))
}
