//! Flags and their environment variables, and how they become configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pgsluice::{config, telemetry};

/// Streams CSV, Arrow and Parquet bodies over HTTP into PostgreSQL's binary COPY.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service (without --database-url: on an embedded private PostgreSQL)
    Serve(Box<Serve>),
    /// Bring the databases' pgsluice schema up to date
    Migrate(Databases),
    /// Print the OpenAPI document
    Openapi,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Databases {
    /// postgresql:// URL of the metadata database (DATABASE_URL is read too)
    #[arg(long, env = "PGSLUICE_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// postgresql:// URL of the target database; the metadata database if not given
    #[arg(long, env = "PGSLUICE_BULK_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    bulk_database_url: Option<String>,
}

impl Databases {
    /// An empty URL is somebody's unset variable and not a wish for the embedded cluster, unless it is the common DATABASE_URL's.
    pub(crate) fn metadata(&self) -> Option<String> {
        let common = || std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
        self.database_url.clone().or_else(common)
    }

    pub(crate) fn target(&self) -> Option<String> {
        self.bulk_database_url.clone()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) databases: Databases,
    /// Address to listen on
    #[arg(long, env = "PGSLUICE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// Listen beyond loopback although the service asks nobody who they are
    #[arg(long, env = "PGSLUICE_ALLOW_UNAUTHENTICATED")]
    allow_unauthenticated: bool,
    /// Directory of the embedded PostgreSQL [default: /var/lib/pgsluice for root, else ~/.local/share/pgsluice]
    #[arg(long, env = "PGSLUICE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// User to run the embedded PostgreSQL as, when started by root [default: postgres, else nobody]
    #[arg(long, env = "PGSLUICE_EMBEDDED_USER", value_name = "NAME")]
    embedded_user: Option<String>,

    /// Loads at a time
    #[arg(long, env = "PGSLUICE_BULK_SLOTS", default_value_t = 4, value_parser = positive())]
    bulk_slots: u32,
    /// How long a load waits for a slot, in milliseconds
    #[arg(long, env = "PGSLUICE_BULK_SLOT_WAIT_MS", default_value_t = 500, value_name = "MS")]
    bulk_slot_wait_ms: u64,
    /// How long connecting to a database may take, in seconds
    #[arg(long, env = "PGSLUICE_CONNECT_TIMEOUT", default_value_t = 10, value_name = "SECONDS")]
    connect_timeout: u64,
    /// How long a load waits for a lock that somebody else holds, in seconds
    #[arg(long, env = "PGSLUICE_LOCK_TIMEOUT", default_value_t = 30, value_name = "SECONDS")]
    lock_timeout: u64,

    /// Connections of the metadata pool
    #[arg(long, env = "PGSLUICE_POOL_SIZE", default_value_t = 8, value_parser = positive())]
    pool_size: u32,
    /// How long a query waits for a connection of the pool, in seconds
    #[arg(long, env = "PGSLUICE_POOL_TIMEOUT", default_value_t = 5, value_name = "SECONDS")]
    pool_timeout: u64,
    /// Age at which the pool replaces a connection, in seconds
    #[arg(long, env = "PGSLUICE_POOL_RECYCLE", default_value_t = 1800, value_name = "SECONDS")]
    pool_recycle: u64,
    /// Test a connection before each use
    #[arg(long, env = "PGSLUICE_POOL_PRE_PING", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pool_pre_ping: bool,
    /// How long one metadata query may take, in seconds
    #[arg(long, env = "PGSLUICE_COMMAND_TIMEOUT", default_value_t = 10, value_name = "SECONDS")]
    command_timeout: u64,

    /// Largest body, in bytes
    #[arg(long, env = "PGSLUICE_BODY_BYTES_MAX", default_value_t = 1 << 40, value_name = "BYTES")]
    body_bytes_max: u64,
    /// Largest body once its Content-Encoding is undone, in bytes
    #[arg(long, env = "PGSLUICE_DECODED_BYTES_MAX", default_value_t = 1 << 40, value_name = "BYTES")]
    decoded_bytes_max: u64,
    /// How many times as large a body may become when its Content-Encoding is undone; counts from 64 MiB on
    #[arg(long, env = "PGSLUICE_DECODED_RATIO_MAX", default_value_t = 1000, value_name = "TIMES",
          value_parser = clap::value_parser!(u64).range(1..))]
    decoded_ratio_max: u64,
    /// Largest CSV record, in bytes
    #[arg(long, env = "PGSLUICE_RECORD_BYTES_MAX", default_value_t = 16 << 20, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(1..=1 << 29))]
    record_bytes_max: u32,
    /// Largest Arrow message, as it arrives and as it is decoded, in bytes
    #[arg(long, env = "PGSLUICE_ARROW_MESSAGE_BYTES_MAX", default_value_t = 256 << 20, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    arrow_message_bytes_max: u32,
    /// What has to be in memory of a Parquet file at once, in bytes
    #[arg(long, env = "PGSLUICE_PARQUET_MEMORY_BYTES_MAX", default_value_t = 256 << 20, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    parquet_memory_bytes_max: u32,
    /// Directory in which Parquet bodies are kept while they are loaded [default: the system's temporary directory]
    #[arg(long, env = "PGSLUICE_SPOOL_DIR", value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// Largest body that is kept there, in bytes
    #[arg(long, env = "PGSLUICE_SPOOL_BYTES_MAX", default_value_t = 16 << 30, value_name = "BYTES")]
    spool_bytes_max: u64,
    /// All bodies that are kept there at the same time, in bytes
    #[arg(long, env = "PGSLUICE_SPOOL_TOTAL_BYTES_MAX", default_value_t = 64 << 30, value_name = "BYTES")]
    spool_total_bytes_max: u64,
    /// Most rows that a load may ask to have turned away (reject_limit)
    #[arg(long, env = "PGSLUICE_REJECT_LIMIT_MAX", default_value_t = 1_000_000, value_name = "ROWS",
          value_parser = clap::value_parser!(u32).range(0..=1 << 30))]
    reject_limit_max: u32,
    /// Largest report of the rows that a load turned away, in bytes
    #[arg(long, env = "PGSLUICE_REJECT_REPORT_BYTES_MAX", default_value_t = 64 << 20, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    reject_report_bytes_max: u32,
    /// How long a client may send nothing, in seconds
    #[arg(long, env = "PGSLUICE_CLIENT_STALL", default_value_t = 30, value_name = "SECONDS")]
    client_stall: u64,
    /// How long a load may take in all, in seconds
    #[arg(long, env = "PGSLUICE_LOAD_TIMEOUT", default_value_t = 21_600, value_name = "SECONDS")]
    load_timeout: u64,
    /// How long an idempotency key stands for its load, from the commit on, in seconds
    #[arg(long, env = "PGSLUICE_IDEMPOTENCY_KEY_RETENTION", default_value_t = 604_800, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    idempotency_key_retention: u64,
    /// How long running loads may go on after SIGTERM, in seconds
    #[arg(long, env = "PGSLUICE_SHUTDOWN_GRACE", default_value_t = 30, value_name = "SECONDS")]
    shutdown_grace: u64,
    /// How long this instance's neighbours may be silent before it takes them for dead and resolves their jobs, in seconds
    #[arg(long, env = "PGSLUICE_LEASE", default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(2..))]
    lease: u64,

    #[command(flatten)]
    pub(crate) log: Log,
}

fn positive() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=10_000)
}

impl Serve {
    /// What flags ask for and must not get.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.listen.ip().is_loopback() && !self.allow_unauthenticated {
            return Err(format!(
                "the service asks nobody who they are, so listening on {} would let everybody load; listen on 127.0.0.1, or pass \
                 --allow-unauthenticated if something in front of the service keeps strangers away",
                self.listen
            ));
        }
        // Whoever names a directory means it. The default one is needed by Parquet only, and is looked at when that comes.
        if let Some(dir) = &self.spool_dir {
            tempfile::tempfile_in(dir).map_err(|error| format!("--spool-dir {}: {error}", dir.display()))?;
        }
        Ok(())
    }

    pub(crate) fn http(&self, listen: SocketAddr) -> config::Http {
        config::Http {
            listen,
            shutdown_grace: Duration::from_secs(self.shutdown_grace),
            ..config::Http::default()
        }
    }

    pub(crate) fn instance(&self) -> config::Instance {
        config::Instance::with_lease(Duration::from_secs(self.lease))
    }

    pub(crate) fn bulk(&self, url: String) -> config::Bulk {
        config::Bulk {
            url,
            slots: self.bulk_slots as usize,
            slot_wait: Duration::from_millis(self.bulk_slot_wait_ms),
            connect_timeout: Duration::from_secs(self.connect_timeout),
            lock_timeout: Duration::from_secs(self.lock_timeout),
        }
    }

    pub(crate) fn oltp(&self, url: String) -> config::Oltp {
        config::Oltp {
            url,
            pool_size: self.pool_size as usize,
            pool_timeout: Duration::from_secs(self.pool_timeout),
            pool_recycle: Duration::from_secs(self.pool_recycle),
            pool_pre_ping: self.pool_pre_ping,
            command_timeout: Duration::from_secs(self.command_timeout),
        }
    }

    pub(crate) fn limits(&self) -> config::Limits {
        config::Limits {
            body_bytes_max: self.body_bytes_max,
            decoded_bytes_max: self.decoded_bytes_max,
            decoded_ratio_max: self.decoded_ratio_max,
            record_bytes_max: self.record_bytes_max as usize,
            arrow_message_bytes_max: self.arrow_message_bytes_max as usize,
            parquet_memory_bytes_max: self.parquet_memory_bytes_max as usize,
            spool: config::Spool {
                dir: self.spool_dir.clone().unwrap_or_else(std::env::temp_dir),
                bytes_max: self.spool_bytes_max,
                total_bytes_max: self.spool_total_bytes_max,
            },
            reject_limit_max: self.reject_limit_max.into(),
            reject_report_bytes_max: self.reject_report_bytes_max as usize,
            client_stall: Duration::from_secs(self.client_stall),
            load_timeout: Duration::from_secs(self.load_timeout),
            key_retention: Duration::from_secs(self.idempotency_key_retention),
            ..config::Limits::default()
        }
    }

    pub(crate) fn embedded(&self) -> config::Embedded {
        config::Embedded {
            data_dir: self.data_dir.clone().unwrap_or_else(default_data_dir),
            run_as: self.embedded_user.clone(),
            search_path: std::env::var_os("PATH").unwrap_or_default(),
        }
    }
}

/// The unprivileged user that PostgreSQL runs as cannot enter root's home.
fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/pgsluice");
    }
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let data_home = directory("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let home = directory("HOME").unwrap_or_else(|| PathBuf::from("."));
    data_home.unwrap_or_else(|| home.join(".local/share")).join("pgsluice")
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// What to log: error, warn, info, debug, or a tracing filter
    #[arg(long = "log", env = "PGSLUICE_LOG", default_value = "info,refinery_core=warn,tokio_postgres=warn", value_name = "FILTER")]
    filter: String,
    /// How to log
    #[arg(long = "log-format", env = "PGSLUICE_LOG_FORMAT", default_value = "text")]
    format: LogFormat,
}

impl Log {
    /// Starts logging, to standard error.
    pub(crate) fn start(&self) -> Result<(), String> {
        let format = match self.format {
            LogFormat::Text => telemetry::LogFormat::Text,
            LogFormat::Json => telemetry::LogFormat::Json,
        };
        telemetry::start_logging(&self.filter, format)
    }
}
