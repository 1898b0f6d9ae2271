//! Brings a database's `pgsluice` schema up to date: one instance at a time, under an advisory lock, in one transaction. The lock is the
//! transaction's, because behind a pooler a session's would stay with whoever gets the server connection next.

use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use refinery_core::{Migration, Runner};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::hosts::Hosts;
use super::unreachable;
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
        ("V5__retention", include_str!("../../migrations/metadata/V5__retention.sql")),
        ("V6__events", include_str!("../../migrations/metadata/V6__events.sql")),
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
/// The database cannot be reached, or a step fails; a failure leaves nothing behind.
pub async fn migrate(url: &str, steps: Steps) -> Result<(), DatabaseError> {
    let link = Hosts::to_write(url, "pgsluice migrate", CONNECT_TIMEOUT)?.connect().await?;
    let result = migrate_locked(&link.client, steps).await;
    drop(link.client);
    // What is not committed is gone when the connection is closed.
    let _ = link.io.await;
    result
}

async fn migrate_locked(client: &Client, steps: Steps) -> Result<(), DatabaseError> {
    if is_up_to_date(client, steps).await? {
        return Ok(());
    }
    let begin = format!(
        "BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL idle_in_transaction_session_timeout = 0; \
         SELECT pg_catalog.pg_advisory_xact_lock({LOCK_KEY})"
    );
    client.batch_execute(&begin).await?;
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
        .run_async(&mut OneTransaction(client))
        .await
        .map_err(|error| unreachable(format!("a migration failed: {}", deepest(&error))))?;
    client.batch_execute("COMMIT").await?;
    for step in report.applied_migrations() {
        tracing::info!(%step, history = steps.history, "migrated");
    }
    Ok(())
}

/// Lets the runner, which would open a transaction for each step, work in the one that is open.
struct OneTransaction<'a>(&'a Client);

impl AsyncTransaction for OneTransaction<'_> {
    type Error = tokio_postgres::Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(&'a mut self, queries: T) -> Result<usize, Self::Error> {
        let mut count = 0;
        for query in queries {
            self.0.batch_execute(query).await?;
            count += 1;
        }
        Ok(count)
    }
}

impl AsyncQuery<Vec<Migration>> for OneTransaction<'_> {
    /// What the history table holds: version, name, time and checksum of each step.
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, Self::Error> {
        let rows = self.0.query_typed(query, &[]).await?;
        rows.iter()
            .map(|row| {
                let (applied_on, checksum): (&str, &str) = (row.try_get(2)?, row.try_get(3)?);
                // Only for show; the checksum is what is compared, and one that cannot be read is like none.
                let applied_on = OffsetDateTime::parse(applied_on, &Rfc3339).unwrap_or(OffsetDateTime::UNIX_EPOCH);
                Ok(Migration::applied(
                    row.try_get(0)?,
                    row.try_get(1)?,
                    applied_on,
                    checksum.parse().unwrap_or_default(),
                ))
            })
            .collect()
    }
}

impl AsyncMigrate for OneTransaction<'_> {}

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
