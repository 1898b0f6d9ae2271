//! Brings a database's `pgsluice` schema up to date: one instance at a time, under an advisory lock, on a connection of its own.

use refinery::{Migration, Runner};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

use super::{connection_config, unreachable};
use crate::error::DatabaseError;

/// "sluice" in ASCII: the key of the advisory lock that keeps two instances from migrating at once.
const LOCK_KEY: i64 = 0x736c_7569_6365;
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// A set of steps and the table that remembers which have been taken.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    history: &'static str,
    files: &'static [(&'static str, &'static str)],
}

/// The metadata database: jobs and instances.
pub const METADATA: Steps = Steps {
    history: "pgsluice.metadata_migrations",
    files: &[
        ("V1__jobs", include_str!("../../migrations/metadata/V1__jobs.sql")),
        ("V2__idempotency", include_str!("../../migrations/metadata/V2__idempotency.sql")),
        ("V3__rejects", include_str!("../../migrations/metadata/V3__rejects.sql")),
        ("V4__keys", include_str!("../../migrations/metadata/V4__keys.sql")),
    ],
};

/// The target database: the ledger.
pub const TARGET: Steps = Steps {
    history: "pgsluice.target_migrations",
    files: &[("V1__ledger", include_str!("../../migrations/target/V1__ledger.sql"))],
};

/// Takes every step that has not been taken.
///
/// # Errors
/// The database cannot be reached, or a step fails; a failed step leaves nothing behind.
pub async fn migrate(url: &str, steps: Steps) -> Result<(), DatabaseError> {
    let config = connection_config(url, "pgsluice migrate", CONNECT_TIMEOUT)?;
    let (mut client, connection) = config.connect(NoTls).await?;
    let io = tokio::spawn(connection);
    let result = migrate_locked(&mut client, steps).await;
    drop(client);
    // Only a closed connection has given back its lock for sure.
    let _ = io.await;
    result
}

async fn migrate_locked(client: &mut Client, steps: Steps) -> Result<(), DatabaseError> {
    if is_up_to_date(client, steps).await? {
        return Ok(());
    }
    let lock = format!("SET lock_timeout = '60s'; SELECT pg_catalog.pg_advisory_lock({LOCK_KEY})");
    client.batch_execute(&lock).await?;
    create_schema(client).await?;
    let migrations = steps
        .files
        .iter()
        .map(|(name, sql)| Migration::unapplied(name, sql))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreachable(error.to_string()))?;
    let mut runner = Runner::new(&migrations);
    runner.set_migration_table_name(steps.history);
    let report = runner
        .run_async(client)
        .await
        .map_err(|error| unreachable(format!("a migration failed: {}", deepest(&error))))?;
    for step in report.applied_migrations() {
        tracing::info!(%step, history = steps.history, "migrated");
    }
    Ok(())
}

/// Whether every step has been taken. To see that takes the right to read the history; the runner would want to make it, and a service
/// with no more rights than it needs may make no tables.
async fn is_up_to_date(client: &Client, steps: Steps) -> Result<bool, DatabaseError> {
    let exists = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
    // A schema that this role may not look into is for the runner to complain about.
    let Ok(exists) = client.query_typed_one(exists, &[(&steps.history, Type::TEXT)]).await else {
        return Ok(false);
    };
    if !exists.try_get::<_, bool>(0)? {
        return Ok(false);
    }
    let taken = format!("SELECT count(*) = $1 AND max(version) = $1 FROM {}", steps.history);
    let all = steps.files.len() as i64;
    Ok(client.query_typed_one(&taken, &[(&all, Type::INT8)]).await?.try_get(0)?)
}

/// The runner's errors say which step failed and keep the server's reason to themselves, some sources deeper.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// `CREATE SCHEMA IF NOT EXISTS` needs the right to create even where the schema exists.
async fn create_schema(client: &Client) -> Result<(), DatabaseError> {
    let exists = client
        .query_typed_opt("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'pgsluice'", &[])
        .await?
        .is_some();
    if !exists {
        client.batch_execute("CREATE SCHEMA pgsluice").await?;
    }
    Ok(())
}
