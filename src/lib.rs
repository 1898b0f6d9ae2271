//! pgsluice streams CSV, Arrow and Parquet bodies over HTTP into PostgreSQL's binary `COPY … FROM STDIN`: once and whole, or not at all,
//! and it knows which.
//!
//! ```text
//!  main ──► http ──► jobs ──► ingest ──► encode
//!           edge     control  data       pure
//!             │      plane    plane  ──► engine ──► PostgreSQL
//!             └────► access ───────────► bulk │ oltp
//!                    who (jobs ask it too)
//!                             config, error, telemetry: known to all, knowing nobody
//! ```
//!
//! An arrow means "may import"; `tests/it/layering.rs` reads the sources and holds it. The whole pipeline stands on one screen in
//! [`ingest`].

pub mod access;
pub mod config;
pub mod encode;
pub mod engine;
pub mod error;
pub mod http;
pub mod ingest;
pub mod jobs;
pub mod telemetry;
