//! `pgsluice keys`: makes, lists and revokes keys, in the metadata database and past any running service.

use std::time::Duration;

use pgsluice::access::keys::{Key, Keys};
use pgsluice::config;
use pgsluice::engine::oltp::Oltp;
use pgsluice::error::DatabaseError;

use crate::Failure;
use crate::arguments::{CreateKey, Databases, KeysCommand};

/// A person waits: not for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs one of the commands.
pub(crate) async fn run(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(create) => self::create(&create).await,
        KeysCommand::List(databases) => list(&databases).await,
        KeysCommand::Revoke { databases, id } => revoke(&databases, &id).await,
    }
}

fn keys(databases: &Databases) -> Result<Keys, Failure> {
    let url = databases
        .metadata()
        .ok_or("--database-url is missing; that of an embedded PostgreSQL is printed when the service starts")?;
    let oltp = Oltp::new(config::Oltp {
        url,
        pool_size: 1,
        max_overflow: 0,
        pool_timeout: PATIENCE,
        command_timeout: PATIENCE,
        // Works through a pooler, too.
        statement_cache_size: 0,
        behind_pooler: true,
        ..config::Oltp::default()
    })?;
    Ok(Keys::new(oltp))
}

/// The key alone goes to standard output, for scripts.
async fn create(create: &CreateKey) -> Result<(), Failure> {
    let secret = keys(&create.databases)?.create(&create.key()).await.map_err(explained)?;
    eprintln!("key {} (this is the only time that it is shown):", secret.id());
    println!("{}", secret.reveal());
    Ok(())
}

async fn list(databases: &Databases) -> Result<(), Failure> {
    let keys = keys(databases)?.list().await.map_err(explained)?;
    println!("id\tname\trole\ttables\tstate\tcreated\texpires\tpg_role\tlimits");
    for key in &keys {
        println!("{}", line(key));
    }
    Ok(())
}

fn line(key: &Key) -> String {
    let who = &key.principal;
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let limits = &who.limits;
    let limits = [
        limits.requests_per_minute.map(|number| format!("{number} requests/min")),
        limits.loads.map(|number| format!("{number} loads")),
        limits.bytes_per_hour.map(|number| format!("{number} bytes/h")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    [
        who.id.clone(),
        // One line a key, whatever it is called.
        who.name.replace(char::is_control, " "),
        who.role.name().to_owned(),
        who.tables.texts().join(","),
        key.state.clone(),
        key.created_at.clone(),
        or_none(&key.expires_at),
        or_none(&who.pg_role),
        if limits.is_empty() { "-".to_owned() } else { limits.join(", ") },
    ]
    .join("\t")
}

async fn revoke(databases: &Databases, id: &str) -> Result<(), Failure> {
    // Whoever has pasted the whole key has shown it already; its id is in it.
    let id = id.strip_prefix("pgsluice_").unwrap_or(id);
    let id = id.split('_').next().unwrap_or(id);
    if keys(databases)?.revoke(id).await.map_err(explained)? {
        eprintln!("key {id} is revoked");
        return Ok(());
    }
    Err(format!("there is no key {id:?}; pgsluice keys list shows all").into())
}

fn explained(error: DatabaseError) -> Failure {
    match error.sqlstate.as_deref() {
        Some("42P01") => "this database has no keys yet: run pgsluice migrate, or start the service once".into(),
        _ => error.into(),
    }
}
