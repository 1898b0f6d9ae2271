//! Flags and their environment variables, and how they become configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pgsluice::access::{Patterns, Role, jwt, keys, limits};
use pgsluice::telemetry::{Collector, Telemetry};
use pgsluice::{config, telemetry};

use crate::settings::otlp;

/// How long the read replica may take for a connection, and for an answer, before the primary is asked.
const REPLICA_PATIENCE: Duration = Duration::from_secs(1);

/// Streams CSV, NDJSON, Arrow and Parquet bodies over HTTP into PostgreSQL's binary COPY.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// TOML file with settings, for those that neither a flag nor the environment says
    #[arg(long, global = true, env = "PGSLUICE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service (without --database-url: on an embedded private PostgreSQL)
    Serve(Box<Serve>),
    /// Make, list and revoke keys of the API
    Keys(Keys),
    /// Bring the databases' pgsluice schema up to date
    Migrate(Databases),
    /// Print what holds, and where each setting is from; secrets are masked
    Config(Box<Serve>),
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
    /// postgresql:// URL of a read replica of the metadata database, which answers questions about jobs
    #[arg(long, env = "PGSLUICE_READ_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    read_database_url: Option<String>,
    /// How far the read replica may be behind before the primary is asked instead, in seconds
    #[arg(long, env = "PGSLUICE_READ_LAG_MAX", default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    read_lag_max: u64,
    /// Address to listen on
    #[arg(long, env = "PGSLUICE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// PEM file with the certificate and those between it and its authority: serve HTTPS (and HTTP/2). Read again when it changes
    #[arg(long, env = "PGSLUICE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, env = "PGSLUICE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM file with authorities: only clients with a certificate that one of them has signed are let in
    #[arg(long, env = "PGSLUICE_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Directory of the embedded PostgreSQL [default: /var/lib/pgsluice for root, else ~/.local/share/pgsluice]
    #[arg(long, env = "PGSLUICE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// User to run the embedded PostgreSQL as, when started by root [default: postgres, else nobody]
    #[arg(long, env = "PGSLUICE_EMBEDDED_USER", value_name = "NAME")]
    embedded_user: Option<String>,

    /// Loads at a time
    #[arg(long, env = "PGSLUICE_BULK_SLOTS", default_value_t = 4, value_parser = positive())]
    bulk_slots: u32,
    /// Loads into one table at a time [default: as many as --bulk-slots]
    #[arg(long, env = "PGSLUICE_TABLE_SLOTS", value_parser = positive(), value_name = "LOADS")]
    table_slots: Option<u32>,
    /// Memory that all loads together may come to need, in bytes; one that may need more runs alone
    #[arg(long, env = "PGSLUICE_MEMORY_BUDGET", default_value_t = 3 << 30, value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(1..))]
    memory_budget: u64,
    /// Loads that wait for a place; one more is refused at once
    #[arg(long, env = "PGSLUICE_WAITING_LOADS", default_value_t = 64, value_name = "LOADS",
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    waiting_loads: u32,
    /// How long a load waits for a place, in milliseconds
    #[arg(long, env = "PGSLUICE_BULK_SLOT_WAIT_MS", default_value_t = 500, value_name = "MS")]
    bulk_slot_wait_ms: u64,
    /// How long connecting to a database may take, in seconds
    #[arg(long, env = "PGSLUICE_CONNECT_TIMEOUT", default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(..=1 << 32))]
    connect_timeout: u64,
    /// How long a load waits for a lock that somebody else holds, in seconds
    #[arg(long, env = "PGSLUICE_LOCK_TIMEOUT", default_value_t = 30, value_name = "SECONDS")]
    lock_timeout: u64,
    /// Loads slow down while the metadata are slower than their quickest answer about jobs by so much, in microseconds; 0: never
    #[arg(long, env = "PGSLUICE_QUERY_DELAY_MAX_US", default_value_t = 350, value_name = "US",
          value_parser = clap::value_parser!(u64).range(..100_000))]
    query_delay_max_us: u64,

    /// Connections that the metadata pool keeps
    #[arg(long, env = "PGSLUICE_POOL_SIZE", default_value_t = 8, value_parser = positive(), value_name = "CONNECTIONS")]
    pool_size: u32,
    /// Connections that the pool opens beyond them when all are in use, and closes when they come back
    #[arg(long, env = "PGSLUICE_MAX_OVERFLOW", default_value_t = 10, value_name = "CONNECTIONS",
          value_parser = clap::value_parser!(u32).range(..=10_000))]
    max_overflow: u32,
    /// How long a query waits for a connection of the pool, in seconds
    #[arg(long, env = "PGSLUICE_POOL_TIMEOUT", default_value_t = 5, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(..=1 << 32))]
    pool_timeout: u64,
    /// Age at which the pool replaces a connection, in seconds
    #[arg(long, env = "PGSLUICE_POOL_RECYCLE", default_value_t = 1800, value_name = "SECONDS")]
    pool_recycle: u64,
    /// Test a connection that was idle for more than half a second before it is used
    #[arg(long, env = "PGSLUICE_POOL_PRE_PING", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pool_pre_ping: bool,
    /// How long one metadata query may take, in seconds
    #[arg(long, env = "PGSLUICE_COMMAND_TIMEOUT", default_value_t = 10, value_name = "SECONDS")]
    command_timeout: u64,
    /// Statements that each connection of the pool keeps prepared, least recently used out first; 0: none [default: 100, and 0 behind
    /// PgBouncer in transaction mode]
    #[arg(long, env = "PGSLUICE_STATEMENT_CACHE_SIZE", value_name = "STATEMENTS",
          value_parser = clap::value_parser!(u32).range(..=10_000))]
    statement_cache_size: Option<u32>,
    /// The database URLs lead through PgBouncer in transaction mode, or its like; found out at the start if not given
    #[arg(long, env = "PGSLUICE_PGBOUNCER")]
    pub(crate) pgbouncer: bool,
    /// How many instances like this one share the databases, for the connection budget
    #[arg(long, env = "PGSLUICE_INSTANCES", default_value_t = 1, value_parser = positive(), value_name = "INSTANCES")]
    pub(crate) instances: u32,
    /// Start although the pools of all instances may open more connections than PostgreSQL has room for
    #[arg(long, env = "PGSLUICE_ALLOW_OVERSUBSCRIPTION")]
    pub(crate) allow_oversubscription: bool,
    /// What the connections are called in pg_stat_activity, followed by oltp, bulk or events; a URL's application_name goes before
    #[arg(long, env = "PGSLUICE_APPLICATION_NAME", default_value = "pgsluice", value_name = "NAME")]
    application_name: String,

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
    /// How long PostgreSQL may do nothing that could be seen before it is asked whether it works, in seconds
    #[arg(long, env = "PGSLUICE_DATABASE_STALL", default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..))]
    database_stall: u64,
    /// How long a load may take in all, in seconds
    #[arg(long, env = "PGSLUICE_LOAD_TIMEOUT", default_value_t = 21_600, value_name = "SECONDS")]
    load_timeout: u64,
    /// How long an idempotency key stands for its load, from the commit on, in seconds
    #[arg(long, env = "PGSLUICE_IDEMPOTENCY_KEY_RETENTION", default_value_t = 604_800, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    idempotency_key_retention: u64,
    /// How long a job is kept from its end on, with its reject report and its row in the ledger, in seconds; one with an idempotency key at
    /// least as long as the key stands; 0: for ever
    #[arg(long, env = "PGSLUICE_JOB_RETENTION", default_value_t = 2_592_000, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(0..=1 << 32))]
    job_retention: u64,
    /// Streams of events (GET /v1/events) that may be open, and a quarter of them with one key; one more is refused
    #[arg(long, env = "PGSLUICE_EVENT_STREAMS_MAX", default_value_t = 256, value_name = "STREAMS",
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    event_streams_max: u32,
    /// How long running loads may go on after SIGTERM, in seconds
    #[arg(long, env = "PGSLUICE_SHUTDOWN_GRACE", default_value_t = 30, value_name = "SECONDS")]
    shutdown_grace: u64,
    /// How long this instance's neighbours may be silent before it takes them for dead and resolves their jobs, in seconds
    #[arg(long, env = "PGSLUICE_LEASE", default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(2..))]
    lease: u64,

    /// Base URL of an OpenTelemetry collector for traces (OTLP over HTTP; the variables OTEL_EXPORTER_OTLP_ENDPOINT and
    /// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT are read too) [default: none, and no traces]
    #[arg(long, env = "PGSLUICE_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    otlp_endpoint: Option<String>,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// Who may come in.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// Ask for a key on loopback too, and also of clients that have shown a certificate (--tls-client-ca). Of all others beyond loopback one
    /// is asked for anyway
    #[arg(long, env = "PGSLUICE_REQUIRE_KEYS")]
    require_keys: bool,
    /// Ask nobody for a key beyond loopback either: something in front of the service keeps strangers away
    #[arg(long, env = "PGSLUICE_ALLOW_UNAUTHENTICATED")]
    allow_unauthenticated: bool,
    /// File with the key set of an OpenID provider (JWKS): its tokens let in as keys do, and without one or the other nobody comes in. Read
    /// again when it changes
    #[arg(long, env = "PGSLUICE_JWKS_FILE", value_name = "FILE", requires_all = ["jwt_issuer", "jwt_audience"])]
    jwks_file: Option<PathBuf>,
    /// What the provider's tokens have as iss, to the letter
    #[arg(long, env = "PGSLUICE_JWT_ISSUER", value_name = "URL", requires = "jwks_file", value_parser = issuer)]
    jwt_issuer: Option<String>,
    /// What tokens for this service have in aud
    #[arg(long, env = "PGSLUICE_JWT_AUDIENCE", value_name = "NAME", requires = "jwks_file", value_parser = non_empty())]
    jwt_audience: Option<String>,
    /// Claim in which a token has its roles, pgsluice:read, pgsluice:load or pgsluice:admin: a name, or a JSON pointer to it
    /// [default: scope and scp]
    #[arg(long, env = "PGSLUICE_JWT_ROLE_CLAIM", value_name = "CLAIM", requires = "jwks_file", value_parser = non_empty())]
    jwt_role_claim: Option<String>,
    /// Tables of those whose token has no pgsluice_tables, as for a key [default: none]
    #[arg(long, env = "PGSLUICE_JWT_DEFAULT_TABLES", value_name = "PATTERNS", requires = "jwks_file", value_parser = patterns)]
    jwt_default_tables: Option<Patterns>,
    /// Role of PostgreSQL for the loads of those whose token has no pgsluice_pg_role [default: the service's own]
    #[arg(long, env = "PGSLUICE_JWT_DEFAULT_PG_ROLE", value_name = "ROLE", requires = "jwks_file", value_parser = non_empty())]
    jwt_default_pg_role: Option<String>,
    /// Requests a minute of each subject of tokens, by instance
    #[arg(long, env = "PGSLUICE_JWT_RATE", value_name = "REQUESTS", requires = "jwks_file",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    jwt_rate: Option<u32>,
    /// Loads at a time of each subject of tokens, by instance
    #[arg(long, env = "PGSLUICE_JWT_LOADS", value_name = "LOADS", requires = "jwks_file", value_parser = positive())]
    jwt_loads: Option<u32>,
    /// Bytes of bodies an hour of each subject of tokens, by instance
    #[arg(long, env = "PGSLUICE_JWT_BYTES_PER_HOUR", value_name = "BYTES", requires = "jwks_file",
          value_parser = clap::value_parser!(u64).range(1..=1 << 49))]
    jwt_bytes_per_hour: Option<u64>,
}

impl Access {
    fn check(&self) -> Result<(), String> {
        if self.allow_unauthenticated && self.require_keys {
            return Err("--allow-unauthenticated lets everybody in, and --require-keys does not: which of them?".to_owned());
        }
        if self.allow_unauthenticated && self.jwks_file.is_some() {
            return Err("--allow-unauthenticated lets everybody in, and --jwks-file does not: which of them?".to_owned());
        }
        Ok(())
    }

    /// Whose tokens are worth something, if anybody's.
    pub(crate) fn provider(&self) -> Option<jwt::Provider> {
        Some(jwt::Provider {
            jwks_file: self.jwks_file.clone()?,
            issuer: self.jwt_issuer.clone()?,
            audience: self.jwt_audience.clone()?,
            role_claim: self.jwt_role_claim.clone(),
            default_tables: self.jwt_default_tables.clone(),
            default_pg_role: self.jwt_default_pg_role.clone(),
            limits: limits::Limits {
                requests_per_minute: self.jwt_rate,
                loads: self.jwt_loads,
                bytes_per_hour: self.jwt_bytes_per_hour,
            },
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and print it; it cannot be shown again
    Create(Box<CreateKey>),
    /// List all keys, the newest first
    List(Databases),
    /// Revoke a key: it is refused from the next request on, on every instance
    Revoke {
        #[command(flatten)]
        databases: Databases,
        /// Its id: the part between pgsluice_ and the next _
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateKey {
    #[command(flatten)]
    pub(crate) databases: Databases,
    /// What the key is for
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    /// What it may do: load into its tables and see its own jobs, read the jobs of its tables, or everything with its tables and all jobs
    #[arg(long, value_parser = role, value_name = "load|read|admin")]
    role: Role,
    /// Tables it may use: schema.name, with * for any characters, separated by commas; *.* is every table, a bare name is in public
    #[arg(long, value_parser = patterns, value_name = "PATTERNS")]
    tables: Patterns,
    /// When it expires: 90s, 45m, 12h, 30d, 52w [default: never]
    #[arg(long, value_parser = lifetime, value_name = "TIME")]
    expires: Option<Duration>,
    /// Role of PostgreSQL that its loads run in, so that its grants decide
    #[arg(long, value_name = "ROLE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pg_role: Option<String>,
    /// Requests a minute, by instance
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Loads at a time, by instance
    #[arg(long, value_name = "LOADS", value_parser = positive())]
    loads: Option<u32>,
    /// Bytes of bodies an hour, by instance
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=1 << 49))]
    bytes_per_hour: Option<u64>,
}

impl CreateKey {
    pub(crate) fn key(&self) -> keys::NewKey {
        keys::NewKey {
            name: self.name.clone(),
            role: self.role,
            tables: self.tables.clone(),
            pg_role: self.pg_role.clone(),
            limits: limits::Limits {
                requests_per_minute: self.rate,
                loads: self.loads,
                bytes_per_hour: self.bytes_per_hour,
            },
            lifetime: self.expires,
        }
    }
}

fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| "load, read or admin".to_owned())
}

fn patterns(text: &str) -> Result<Patterns, String> {
    Patterns::parse(text.split(',').map(str::trim))
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let invalid = || "a number and a unit: s, m, h, d or w".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(invalid)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(invalid()),
    };
    let number: u32 = number.parse().map_err(|_| invalid())?;
    // A hundred years: beyond that somebody has meant something else.
    let seconds = u64::from(number) * unit;
    if (1..=3_153_600_000).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err(invalid()) }
}

/// The first `#` of a principal's id ends its issuer. OpenID Connect allows none in there, nor a `?`.
fn issuer(text: &str) -> Result<String, String> {
    let is_one = (1..=255).contains(&text.len()) && !text.contains(|c: char| c == '#' || c == '?' || c.is_control());
    let invalid = || "the provider's issuer, as its tokens have it: up to 255 bytes, without # and ?".to_owned();
    is_one.then(|| text.to_owned()).ok_or_else(invalid)
}

fn non_empty() -> clap::builder::NonEmptyStringValueParser {
    clap::builder::NonEmptyStringValueParser::new()
}

fn positive() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=10_000)
}

impl Serve {
    /// What flags ask for and must not get.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.access.check()?;
        // Whoever names a directory means it. The default one is needed by Parquet only, and is looked at when that comes.
        if let Some(dir) = &self.spool_dir {
            tempfile::tempfile_in(dir).map_err(|error| format!("--spool-dir {}: {error}", dir.display()))?;
        }
        Ok(())
    }

    /// Where traces go, if anywhere.
    pub(crate) fn collector(&self) -> Result<Option<Collector>, String> {
        otlp::collector(self.otlp_endpoint.as_deref(), |name| std::env::var(name).ok())
    }

    /// Whoever is listened to from beyond loopback has to say who they are: by a key or a token, if not by a certificate. And everybody has
    /// to where tokens are read.
    pub(crate) fn asks_who(&self) -> bool {
        let strangers = !self.listen.ip().is_loopback() && self.tls_client_ca.is_none();
        let access = &self.access;
        !access.allow_unauthenticated && (access.require_keys || access.jwks_file.is_some() || strangers)
    }

    pub(crate) fn http(&self, listen: SocketAddr) -> config::Http {
        config::Http {
            listen,
            shutdown_grace: Duration::from_secs(self.shutdown_grace),
            event_streams_max: self.event_streams_max as usize,
            ..config::Http::default()
        }
    }

    pub(crate) fn instance(&self) -> config::Instance {
        let job_retention = (self.job_retention > 0).then(|| Duration::from_secs(self.job_retention));
        config::Instance::with_lease(Duration::from_secs(self.lease), job_retention)
    }

    pub(crate) fn tls(&self) -> Option<config::Tls> {
        Some(config::Tls {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            client_ca: self.tls_client_ca.clone(),
        })
    }

    /// `behind_pooler`: the connections are shared with others, from one transaction to the next.
    pub(crate) fn bulk(&self, url: String, behind_pooler: bool) -> config::Bulk {
        config::Bulk {
            url,
            slots: self.bulk_slots as usize,
            table_slots: self.table_slots.unwrap_or(self.bulk_slots) as usize,
            memory_bytes: self.memory_budget,
            waiting_loads: self.waiting_loads as usize,
            slot_wait: Duration::from_millis(self.bulk_slot_wait_ms),
            connect_timeout: self.connect_timeout(),
            lock_timeout: Duration::from_secs(self.lock_timeout),
            query_delay_max: Duration::from_micros(self.query_delay_max_us),
            application_name: self.application_name.clone(),
            behind_pooler,
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout)
    }

    pub(crate) fn oltp(&self, url: String, behind_pooler: bool) -> config::Oltp {
        let default = if behind_pooler { 0 } else { config::Oltp::default().statement_cache_size };
        config::Oltp {
            url,
            reads_only: false,
            pool_size: self.pool_size as usize,
            max_overflow: self.max_overflow as usize,
            pool_timeout: Duration::from_secs(self.pool_timeout),
            pool_recycle: Duration::from_secs(self.pool_recycle),
            pool_pre_ping: self.pool_pre_ping,
            command_timeout: Duration::from_secs(self.command_timeout),
            statement_cache_size: self.statement_cache_size.map_or(default, |size| size as usize),
            application_name: self.application_name.clone(),
            behind_pooler,
        }
    }

    /// A replica that is slow is worse than none. If there is a pooler in front of the primary, there may be one in front of the replica.
    pub(crate) fn replica(&self, behind_pooler: bool) -> Option<config::Replica> {
        let url = self.read_database_url.clone()?;
        let oltp = config::Oltp {
            reads_only: true,
            pool_timeout: REPLICA_PATIENCE,
            command_timeout: REPLICA_PATIENCE,
            statement_cache_size: 0,
            ..self.oltp(url, behind_pooler)
        };
        Some(config::Replica { oltp, lag_max: Duration::from_secs(self.read_lag_max) })
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
            database_stall: Duration::from_secs(self.database_stall),
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
    /// Starts logging, to standard error, and traces, if there is a collector.
    pub(crate) fn start(&self, collector: Option<&Collector>) -> Result<Telemetry, String> {
        let format = match self.format {
            LogFormat::Text => telemetry::LogFormat::Text,
            LogFormat::Json => telemetry::LogFormat::Json,
        };
        Telemetry::start(&self.filter, format, collector)
    }
}
