//! docs/CONFIGURATION.md is printed from the flags, and held to them.

use clap::{Arg, Command, CommandFactory};

use super::settings;
use crate::arguments::Arguments;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");
const BEGIN: &str = "<!-- settings: printed by `make docs` -->\n";
const END: &str = "<!-- /settings -->\n";

fn serve() -> Command {
    let mut command = Arguments::command();
    command.build();
    command.find_subcommand("serve").unwrap().clone()
}

fn table() -> String {
    let mut page = "| flag, and key of the file | environment | default | what it is |\n|---|---|---|---|\n".to_owned();
    for (key, arg) in settings(&serve()) {
        let variable = arg.get_env().unwrap().to_string_lossy();
        page.push_str(&format!("| `--{key}` | `{variable}` | {} | {} |\n", default(arg), meaning(arg)));
    }
    page
}

fn default(arg: &Arg) -> String {
    let defaults: Vec<String> = arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if defaults.is_empty() { "–".to_owned() } else { defaults.join(", ") }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let values = if values.is_empty() { String::new() } else { format!(": {}", values.join(", ")) };
    format!("{help}{values}").replace('|', "\\|")
}

/// With `PGSLUICE_WRITE_DOCS`, as `make docs` has it, the page is written first.
#[test]
fn the_page_says_what_the_code_does() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (printed, tail) = rest.split_once(END).unwrap();
    if option_env!("PGSLUICE_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, [head, BEGIN, &table(), END, tail].concat()).unwrap();
        return;
    }
    assert!(printed == table(), "docs/CONFIGURATION.md is out of date: `make docs` makes it anew");
}

/// What could not be in a file or in a variable would be no setting: every flag of the service is one.
#[test]
fn every_flag_of_the_service_is_a_setting_and_says_what_it_is() {
    let serve = serve();
    for arg in serve
        .get_arguments()
        .filter(|arg| !["help", "version", super::CONFIG].contains(&arg.get_id().as_str()))
    {
        let key = arg.get_long().unwrap_or_default();
        assert!(settings(&serve).any(|(known, _)| known == key), "--{key} has no environment variable");
        let variable = arg.get_env().unwrap().to_string_lossy().into_owned();
        assert_eq!(variable, format!("PGSLUICE_{}", key.to_uppercase().replace('-', "_")));
        assert!(arg.get_help().is_some(), "--{key} says nothing");
        if key.contains("password") || key.contains("secret") || key.contains("url") {
            assert!(arg.is_hide_env_values_set(), "--{key} may hold a secret and would be shown");
        }
    }
}
