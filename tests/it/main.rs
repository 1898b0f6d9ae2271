//! Black-box tests: the real binary, a real PostgreSQL, real clients. One file per promise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod access_jwt;
mod access_limits;
mod access_roles;
mod admission;
mod arrow;
mod arrow_messages;
mod bad_input;
mod budget;
mod cancel;
mod charsets;
mod clients;
mod configuration;
mod copy_equivalence;
mod crash;
mod database_tls;
mod deploy;
mod durability;
mod edge;
mod embedded;
mod encodings;
mod events;
mod failover;
mod hostile;
mod http2;
mod https;
mod idempotency;
mod integrity;
mod jobs;
mod layering;
mod link;
mod loads;
mod logs;
mod metrics;
mod ndjson;
mod ndjson_equivalence;
mod openapi;
mod outcome;
mod parquet;
mod parquet_hostile;
mod partitions;
mod pgbouncer;
mod pool;
mod precedence;
mod promotion;
mod rejects;
mod rejects_hostile;
mod replica;
mod retention;
mod slow;
mod support;
mod tables;
mod text_segments;
#[cfg(feature = "otlp")]
mod traces;
#[cfg(not(feature = "otlp"))]
mod traces_left_out;
