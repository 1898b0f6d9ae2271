//! Arguments and environment into a running service. Nothing else reads the environment.

mod arguments;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use pgsluice::engine::bulk::Bulk;
use pgsluice::engine::embedded::Cluster;
use pgsluice::engine::migrate;
use pgsluice::engine::oltp::Oltp;
use pgsluice::error::DatabaseError;
use pgsluice::http::{self, Documents, Edge, Shutdown};
use pgsluice::jobs::{Conductor, Housekeeper};

use crate::arguments::{Arguments, Command, Databases, Serve};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(Failure::from).and_then(|runtime| match arguments.command {
        Command::Serve(serve) => runtime.block_on(run_serve(*serve)),
        Command::Migrate(databases) => runtime.block_on(run_migrate(databases)),
        Command::Openapi => {
            print!("{}", http::OPENAPI);
            Ok(())
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgsluice: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run_migrate(databases: Databases) -> Result<(), Failure> {
    let metadata = databases.metadata().ok_or("--database-url is missing")?;
    let target = databases.target().unwrap_or_else(|| metadata.clone());
    migrate_both(&metadata, &target).await
}

async fn migrate_both(metadata: &str, target: &str) -> Result<(), Failure> {
    let metadata = migrate::migrate(metadata, migrate::METADATA).await;
    metadata.map_err(|error| named("the metadata database (--database-url)", &error))?;
    let target = migrate::migrate(target, migrate::TARGET).await;
    target.map_err(|error| named("the target database (--bulk-database-url, else --database-url)", &error))?;
    Ok(())
}

/// With two databases an error has to say which.
fn named(which: &str, error: &DatabaseError) -> String {
    let sqlstate = error.sqlstate.as_ref().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
    format!("{which}: {error}{sqlstate}")
}

/// Starts what is missing, serves until a signal, and takes everything down in the opposite order.
async fn run_serve(serve: Serve) -> Result<(), Failure> {
    serve.log.start()?;
    serve.check()?;
    // Whoever is told to stop while the cluster starts must not leave it behind.
    let shutdown = shutdown_on_signal()?;
    let cluster = match serve.databases.metadata() {
        Some(_) => None,
        None => Some(start_cluster(&serve)?),
    };
    let served = serve_on(&serve, cluster.as_ref(), shutdown).await;
    let stopped = cluster.map_or(Ok(()), Cluster::stop);
    served?;
    Ok(stopped?)
}

fn start_cluster(serve: &Serve) -> Result<Cluster, Failure> {
    let settings = serve.embedded();
    tracing::info!(data_dir = %settings.data_dir.display(), "starting the embedded PostgreSQL");
    let cluster = tokio::task::block_in_place(|| Cluster::start(&settings))?;
    println!("embedded PostgreSQL: psql '{}'", cluster.url());
    Ok(cluster)
}

async fn serve_on(serve: &Serve, cluster: Option<&Cluster>, shutdown: Shutdown) -> Result<(), Failure> {
    let embedded = cluster.map(Cluster::url);
    let metadata = serve.databases.metadata().or(embedded).ok_or("no database")?;
    let target = serve.databases.target().unwrap_or_else(|| metadata.clone());
    migrate_both(&metadata, &target).await?;
    let bulk = Bulk::new(serve.bulk(target))?;
    let oltp = Oltp::new(serve.oltp(metadata))?;
    let conductor = Conductor::new(bulk, oltp, serve.limits()).await?;
    let housekeeper = Housekeeper::new(conductor.clone(), serve.instance(), Arc::new(Documents));
    // Orphans of an earlier run are resolved before the first new load.
    housekeeper.begin().await;
    let listener = TcpListener::bind(serve.listen).await;
    let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", serve.listen))?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let stop_housekeeping = CancellationToken::new();
    let housekeeping = tokio::spawn(housekeeper.run(stop_housekeeping.clone()));
    http::serve(listener, Edge::new(conductor, serve.http(address)), shutdown).await;
    stop_housekeeping.cancel();
    housekeeping.await?;
    Ok(())
}

/// SIGTERM, SIGINT or SIGHUP (the terminal is gone) begins an orderly shutdown; the next one ends the grace of loads that still run.
fn shutdown_on_signal() -> Result<Shutdown, Failure> {
    let shutdown = Shutdown::default();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let Shutdown { begin, hurry } = shutdown.clone();
    tokio::spawn(async move {
        for token in [begin, hurry] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(shutdown)
}
