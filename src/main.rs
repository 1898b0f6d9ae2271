//! Arguments and environment into a running service. Nothing else reads the environment, but for OpenTelemetry's own variables
//! (`OTEL_…`), of which its SDK reads those that are none of ours to understand.

mod arguments;
mod keys;
mod settings;

use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use pgsluice::access::Gate;
use pgsluice::access::jwt::Tokens;
use pgsluice::access::keys::Keys;
use pgsluice::config;
use pgsluice::engine::budget::{self, BudgetError, Demand};
use pgsluice::engine::bulk::Bulk;
use pgsluice::engine::embedded::Cluster;
use pgsluice::engine::migrate;
use pgsluice::engine::oltp::Oltp;
use pgsluice::engine::pooler;
use pgsluice::error::DatabaseError;
use pgsluice::http::{self, Documents, Edge, Shutdown};
use pgsluice::jobs::{Conductor, Housekeeper};

use crate::arguments::{Command, Databases, Serve};
use crate::settings::{Refusal, Settings};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let settings = match Settings::read(std::env::args_os().collect()) {
        Ok(settings) => settings,
        Err(Refusal::Usage(error)) => error.exit(),
        Err(Refusal::File(reason)) => {
            eprintln!("pgsluice: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let shown = settings.show();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(Failure::from).and_then(|runtime| {
        let result = match settings.arguments.command {
            Command::Serve(serve) => runtime.block_on(run_serve(*serve)),
            Command::Keys(keys) => runtime.block_on(keys::run(keys.command)),
            Command::Migrate(databases) => runtime.block_on(run_migrate(databases)),
            Command::Config(_) => {
                print!("{shown}");
                Ok(())
            }
            Command::Openapi => {
                print!("{}", http::OPENAPI);
                Ok(())
            }
        };
        // A look-up of a name that nobody answers cannot be stopped, and need not be waited for.
        runtime.shutdown_background();
        result
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

/// Serves, with somebody to tell about it.
async fn run_serve(serve: Serve) -> Result<(), Failure> {
    let telemetry = serve.log.start(serve.collector()?.as_ref())?;
    let result = run_service(&serve).await;
    tokio::task::block_in_place(|| telemetry.stop());
    result
}

/// Starts what is missing, serves until a signal, and takes everything down in the opposite order.
async fn run_service(serve: &Serve) -> Result<(), Failure> {
    serve.check()?;
    let tls = serve.tls().map(http::Tls::load).transpose()?;
    let tokens = serve.access.provider().map(Tokens::load).transpose()?;
    // Whoever is told to stop while the cluster starts must not leave it behind.
    let shutdown = shutdown_on_signal()?;
    let cluster = match serve.databases.metadata() {
        Some(_) => None,
        None => Some(start_cluster(serve)?),
    };
    let served = serve_on(serve, cluster.as_ref(), Doors { tls, tokens }, shutdown).await;
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

/// What was read from files about who may come in, and how.
struct Doors {
    tls: Option<http::Tls>,
    tokens: Option<Tokens>,
}

async fn serve_on(serve: &Serve, cluster: Option<&Cluster>, doors: Doors, shutdown: Shutdown) -> Result<(), Failure> {
    let Doors { tls, tokens } = doors;
    let started = tokio::select! {
        started = start(serve, cluster, tokens) => started?,
        // A database that does not answer must not keep the service from ending. What was begun there is undone, or goes on next time.
        () = shutdown.begin.cancelled() => return Ok(()),
    };
    let Started { listener, conductor, gate, housekeeper } = started;
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{address}");
    let stop_housekeeping = CancellationToken::new();
    let housekeeping = tokio::spawn(housekeeper.run(stop_housekeeping.clone()));
    http::serve(listener, Edge::new(conductor, gate, serve.http(address)), tls, shutdown).await;
    stop_housekeeping.cancel();
    housekeeping.await?;
    Ok(())
}

/// What can be served.
struct Started {
    listener: TcpListener,
    conductor: Conductor,
    gate: Option<Gate>,
    housekeeper: Housekeeper,
}

async fn start(serve: &Serve, cluster: Option<&Cluster>, tokens: Option<Tokens>) -> Result<Started, Failure> {
    let embedded = cluster.map(Cluster::url);
    let metadata = serve.databases.metadata().or(embedded).ok_or("no database")?;
    let target = serve.databases.target().unwrap_or_else(|| metadata.clone());
    migrate_both(&metadata, &target).await?;
    let pooled = Pooled::find_out(serve, &metadata, &target).await?;
    let (bulk, oltp) = (serve.bulk(target, pooled.target), serve.oltp(metadata, pooled.metadata));
    let replica = serve.replica(pooled.metadata);
    check_budget(serve, &bulk, &oltp, replica.as_ref()).await?;
    let (bulk, oltp) = (Bulk::new(bulk)?, Oltp::new(oltp)?);
    let gate = serve.asks_who().then(|| Gate::new(Keys::new(oltp.clone()), tokens));
    let conductor = Conductor::new(bulk, oltp, replica, serve.limits()).await?;
    let housekeeper = Housekeeper::new(conductor.clone(), serve.instance(), Arc::new(Documents));
    // Orphans of an earlier run are resolved before the first new load.
    housekeeper.begin().await;
    let listener = TcpListener::bind(serve.listen).await;
    let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", serve.listen))?;
    Ok(Started { listener, conductor, gate, housekeeper })
}

/// Which URLs lead through a pooler that gives each transaction to whichever of its server connections is free.
struct Pooled {
    metadata: bool,
    target: bool,
}

impl Pooled {
    async fn find_out(serve: &Serve, metadata: &str, target: &str) -> Result<Pooled, Failure> {
        if serve.pgbouncer {
            return Ok(Pooled { metadata: true, target: true });
        }
        let shares_connections = async |url| pooler::shares_connections(url, "pgsluice start", serve.connect_timeout()).await;
        let of_metadata = shares_connections(metadata).await?;
        let of_target = if target == metadata { of_metadata } else { shares_connections(target).await? };
        if of_metadata || of_target {
            tracing::info!("the database is behind a pooler in transaction mode: going on as with --pgbouncer");
        }
        Ok(Pooled { metadata: of_metadata, target: of_target })
    }
}

/// What a pooler is asked for is limited by the pooler, so only what goes to PostgreSQL itself is counted.
async fn check_budget(serve: &Serve, bulk: &config::Bulk, oltp: &config::Oltp, replica: Option<&config::Replica>) -> Result<(), Failure> {
    let demand = |url: &str, parts, dispensable| Demand { url: url.to_owned(), parts, dispensable };
    let mut demands = Vec::new();
    if !oltp.behind_pooler {
        let parts = vec![(oltp.pool_size as u64, "--pool-size"), (oltp.max_overflow as u64, "--max-overflow"), (1, "to listen")];
        demands.push(demand(&oltp.url, parts, false));
    }
    if !bulk.behind_pooler {
        let beside = Bulk::connections_beside(bulk.slots);
        let parts = vec![(bulk.slots as u64, "--bulk-slots"), (beside as u64, "beside them")];
        demands.push(demand(&bulk.url, parts, false));
    }
    if let Some(config::Replica { oltp, .. }) = replica.filter(|_| !serve.pgbouncer) {
        let connections = oltp.pool_size + oltp.max_overflow;
        demands.push(demand(&oltp.url, vec![(connections as u64, "the read replica's pool")], true));
    }
    match budget::check(demands, serve.instances.into(), serve.connect_timeout()).await {
        Err(BudgetError::Over(arithmetic)) if serve.allow_oversubscription => {
            tracing::warn!("{arithmetic}");
            Ok(())
        }
        checked => Ok(checked?),
    }
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
