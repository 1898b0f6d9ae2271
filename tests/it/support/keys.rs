//! Keys, made as people make them.

use std::process::{Command, Output};

/// `pgsluice keys …` on a database.
pub(crate) fn keys(database_url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
    command
        .arg("keys")
        .args(arguments)
        .args(["--database-url", database_url])
        .env_remove("DATABASE_URL");
    command.output().unwrap()
}

/// A new key.
pub(crate) fn make_key(database_url: &str, role: &str, tables: &str, further: &[&str]) -> String {
    let mut arguments = vec!["create", "--name", "a test's", "--role", role, "--tables", tables];
    arguments.extend(further);
    let output = keys(database_url, &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
