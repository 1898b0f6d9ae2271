//! Every limit, named with its unit. Only `main.rs` reads the environment; everything else is handed one of these.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The HTTP edge.
#[derive(Debug, Clone)]
pub struct Http {
    /// where to listen
    pub listen: SocketAddr,
    /// how long running loads may go on after SIGTERM
    pub shutdown_grace: Duration,
    /// a request's headers must have arrived within this time
    pub header_timeout: Duration,
    /// a TLS handshake must be done within this time
    pub handshake_timeout: Duration,
    /// what one HTTP/2 connection may have
    pub http2: Http2,
    /// streams of events that may be open
    pub event_streams_max: usize,
    /// after an early answer: how long to go on reading what the client still sends
    pub linger_total: Duration,
    /// after an early answer: how long the client may be silent before it is given up
    pub linger_idle: Duration,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            shutdown_grace: Duration::from_secs(30),
            header_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            http2: Http2::default(),
            event_streams_max: 256,
            linger_total: Duration::from_secs(30),
            linger_idle: Duration::from_secs(5),
        }
    }
}

/// One HTTP/2 connection. What it may hold in memory is its streams times their window, and not much more.
#[derive(Debug, Clone)]
pub struct Http2 {
    /// requests at a time
    pub streams_max: u32,
    /// what a client may send of a body that is not read, in bytes
    pub stream_window_bytes: u32,
    /// one frame, in bytes
    pub frame_bytes_max: u32,
    /// the headers of one request, in bytes
    pub header_bytes_max: u32,
    /// how often the client is asked whether it is there
    pub ping_interval: Duration,
    /// how long it may take to answer that
    pub ping_timeout: Duration,
}

impl Default for Http2 {
    fn default() -> Http2 {
        Http2 {
            streams_max: 64,
            stream_window_bytes: 512 << 10,
            frame_bytes_max: 64 << 10,
            header_bytes_max: 64 << 10,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

/// HTTPS: PEM files, which are looked at again and again.
#[derive(Debug, Clone)]
pub struct Tls {
    /// the certificate, with those between it and its authority
    pub certificate: PathBuf,
    /// its private key
    pub key: PathBuf,
    /// the authorities one of which must have signed a client's certificate, if clients need any
    pub client_ca: Option<PathBuf>,
}

/// The bulk engine: few, long, exclusive connections, for COPY only.
#[derive(Debug, Clone)]
pub struct Bulk {
    /// `postgresql://…` of the target database
    pub url: String,
    /// loads at a time
    pub slots: usize,
    /// loads into one table at a time
    pub table_slots: usize,
    /// memory that all loads together may come to need, in bytes
    pub memory_bytes: u64,
    /// loads that wait for a place
    pub waiting_loads: usize,
    /// how long a load waits for a place before it is told 503
    pub slot_wait: Duration,
    /// how long a connection may take to be made
    pub connect_timeout: Duration,
    /// `SET LOCAL lock_timeout` of a load: how long it waits for a lock that somebody else holds
    pub lock_timeout: Duration,
    /// how much longer than the quickest one questions for jobs may take before loads slow down; zero if they never do
    pub query_delay_max: Duration,
    /// what the connections are called, before ` bulk`
    pub application_name: String,
    /// server connections are shared with others, from one transaction to the next
    pub behind_pooler: bool,
}

/// The OLTP engine: many short queries on the jobs' metadata.
#[derive(Debug, Clone)]
pub struct Oltp {
    /// `postgresql://…` of the metadata database
    pub url: String,
    /// nothing is written, so a standby will do
    pub reads_only: bool,
    /// connections kept
    pub pool_size: usize,
    /// connections opened beyond them when all are in use, and closed when they come back
    pub max_overflow: usize,
    /// how long a query waits for a connection
    pub pool_timeout: Duration,
    /// connections older than this are replaced
    pub pool_recycle: Duration,
    /// test a connection that was idle before it is used
    pub pool_pre_ping: bool,
    /// how long one query may take
    pub command_timeout: Duration,
    /// statements that each connection keeps prepared; with 0 they are sent unnamed
    pub statement_cache_size: usize,
    /// what the connections are called, before ` oltp`
    pub application_name: String,
    /// server connections are shared with others, from one transaction to the next
    pub behind_pooler: bool,
}

impl Default for Oltp {
    fn default() -> Oltp {
        Oltp {
            url: String::new(),
            reads_only: false,
            pool_size: 8,
            max_overflow: 10,
            pool_timeout: Duration::from_secs(5),
            pool_recycle: Duration::from_secs(1800),
            pool_pre_ping: true,
            command_timeout: Duration::from_secs(10),
            statement_cache_size: 100,
            application_name: "pgsluice".to_owned(),
            behind_pooler: false,
        }
    }
}

/// The read replica of the metadata.
#[derive(Debug, Clone)]
pub struct Replica {
    /// its pool
    pub oltp: Oltp,
    /// how far it may be behind the primary
    pub lag_max: Duration,
}

/// What one load may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// a body, in bytes
    pub body_bytes_max: u64,
    /// a body without its content codings, in bytes
    pub decoded_bytes_max: u64,
    /// how many times as large a body may become without its codings
    pub decoded_ratio_max: u64,
    /// one CSV record, in bytes
    pub record_bytes_max: usize,
    /// one Arrow message as it arrives and as it is decoded, in bytes
    pub arrow_message_bytes_max: usize,
    /// what has to be in memory of a Parquet file at once, in bytes
    pub parquet_memory_bytes_max: usize,
    /// where bodies that have to be read from their end wait for it
    pub spool: Spool,
    /// received and not yet parsed, per load, in bytes
    pub body_queue_bytes: usize,
    /// encoded and not yet sent to PostgreSQL, per load, in bytes
    pub chunk_queue_bytes: usize,
    /// rows that one load may ask to have turned away
    pub reject_limit_max: u64,
    /// what the report of them may take, in bytes
    pub reject_report_bytes_max: usize,
    /// how long a client may send nothing while we wait for it
    pub client_stall: Duration,
    /// how long PostgreSQL may do nothing that could be seen before it is asked whether it works
    pub database_stall: Duration,
    /// how long a load may take in all
    pub load_timeout: Duration,
    /// how long an idempotency key stands for its load, from the commit on
    pub key_retention: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes_max: 1 << 40,
            decoded_bytes_max: 1 << 40,
            decoded_ratio_max: 1000,
            record_bytes_max: 16 << 20,
            arrow_message_bytes_max: 256 << 20,
            parquet_memory_bytes_max: 256 << 20,
            spool: Spool::default(),
            body_queue_bytes: 1 << 20,
            chunk_queue_bytes: 1 << 20,
            reject_limit_max: 1_000_000,
            reject_report_bytes_max: 64 << 20,
            client_stall: Duration::from_secs(30),
            database_stall: Duration::from_secs(60),
            load_timeout: Duration::from_secs(6 * 3600),
            key_retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// Bodies that cannot be read as they come are kept on disk until they are whole.
#[derive(Debug, Clone)]
pub struct Spool {
    /// where
    pub dir: PathBuf,
    /// one body, in bytes
    pub bytes_max: u64,
    /// all bodies of this process together, in bytes
    pub total_bytes_max: u64,
}

impl Default for Spool {
    fn default() -> Spool {
        Spool { dir: PathBuf::from("/tmp"), bytes_max: 16 << 30, total_bytes_max: 64 << 30 }
    }
}

/// A running instance: who it is among those that share the metadata.
#[derive(Debug, Clone)]
pub struct Instance {
    /// how often the instance says that it lives
    pub heartbeat: Duration,
    /// an instance silent for this long is dead, and its jobs are resolved by others
    pub lease: Duration,
    /// how long jobs are kept from their end on; for ever if there is none
    pub job_retention: Option<Duration>,
}

impl Instance {
    /// With a lease of that length, within which it says ten times that it lives.
    pub fn with_lease(lease: Duration, job_retention: Option<Duration>) -> Instance {
        Instance { heartbeat: lease / 10, lease, job_retention }
    }
}

/// The embedded private cluster.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// where cluster, socket and log live
    pub data_dir: PathBuf,
    /// the unprivileged user that runs the server when the service is started by root
    pub run_as: Option<String>,
    /// directories to look in for the server's programs, as in PATH
    pub search_path: OsString,
}
