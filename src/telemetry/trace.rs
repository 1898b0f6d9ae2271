//! A request's trace, as the code sees it: the span of the request itself, and those of what it consists of. Everything that a span may
//! say is in this file.
//!
//! The spans are for the exporter alone and never entered, so that no line of the log comes to look different by them; whoever begins
//! one passes it on. Where nobody exports any, none is made, and all of this is a comparison or two.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tracing::field::{Empty, display};
use tracing::{Span, error_span};

use super::otlp;

/// The target of every span here, by which exporter and log tell them from others. Their level is the one that costs least: with it the
/// levels that nobody wants to have logged stay switched off at their source.
pub(super) const TARGET: &str = "pgsluice::trace";

/// The attributes under which a stage says how it ended.
const STATUS: &str = "otel.status_code";
const ERROR: &str = "ERROR";
const ERROR_TYPE: &str = "error.type";

static ON: AtomicBool = AtomicBool::new(false);

pub(super) fn switch_on() {
    ON.store(true, Relaxed);
}

/// Who a request is from, by W3C Trace Context.
#[derive(Debug, Clone, Copy, Default)]
pub struct Incoming<'a> {
    /// the field `traceparent`
    pub parent: Option<&'a str>,
    /// the field `tracestate`
    pub state: Option<&'a str>,
}

/// What a load has come to.
#[derive(Debug, Clone, Copy)]
pub struct Sums {
    /// rows that are in the table
    pub rows_loaded: u64,
    /// rows parsed
    pub rows_received: u64,
    /// rows turned away
    pub rows_rejected: u64,
    /// bytes of its body as they came
    pub bytes_received: u64,
    /// waiting for the client, in milliseconds
    pub client_wait_ms: u64,
    /// parsing and encoding, in milliseconds
    pub encode_ms: u64,
    /// waiting for PostgreSQL, in milliseconds
    pub database_ms: u64,
}

/// A span that is under way; it ends with its last clone.
#[derive(Debug, Clone)]
pub struct Trace(Span);

impl Trace {
    /// Of what is not traced.
    pub const NONE: Trace = Trace(Span::none());

    /// Whether anything is traced at all.
    pub fn is_on() -> bool {
        ON.load(Relaxed)
    }

    /// The span of a request, in its caller's trace if there is one. Without a route nobody can say what was asked for.
    pub fn request(method: &'static str, route: Option<&str>, path: &str, incoming: Incoming<'_>) -> Trace {
        if !Trace::is_on() {
            return Trace::NONE;
        }
        let (name, method) = if method == "other" { ("HTTP", "_OTHER") } else { (method, method) };
        let name = route.map_or_else(|| name.to_owned(), |route| format!("{name} {route}"));
        let span = error_span!(
            target: TARGET,
            parent: None,
            "request",
            otel.name = name,
            otel.kind = "server",
            otel.status_code = Empty,
            error.type = Empty,
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
            url.path = path,
            pgsluice.request_id = Empty,
            pgsluice.job_id = Empty,
        );
        otlp::continue_trace(&span, incoming);
        Trace(span)
    }

    /// The id of the trace, as logs have it.
    pub fn id(&self) -> Option<String> {
        if self.0.is_none() { None } else { otlp::trace_id(&self.0) }
    }

    /// The request's id.
    pub fn note_request(&self, id: &str) {
        self.0.record("pgsluice.request_id", id);
    }

    /// The job that a request has begun.
    pub fn note_job(&self, job: impl Display) {
        self.0.record("pgsluice.job_id", display(job));
    }

    /// How a request was answered. What the client did wrong is no error of the server.
    pub fn note_answer(&self, status: u16, problem: Option<&str>) {
        if self.0.is_none() {
            return;
        }
        self.0.record("http.response.status_code", i64::from(status));
        if status >= 500 {
            self.0.record(STATUS, ERROR);
        }
        match problem {
            Some(problem) => self.0.record(ERROR_TYPE, problem),
            None if status >= 400 => self.0.record(ERROR_TYPE, status.to_string()),
            None => &self.0,
        };
    }

    /// A request that nobody waited for.
    pub fn note_gone(&self) {
        self.0.record(ERROR_TYPE, "client-gone");
    }

    /// The load itself, within its request.
    pub fn load(&self, job: impl Display, table: &str, format: &str) -> Trace {
        if self.0.is_none() {
            return Trace::NONE;
        }
        Trace(error_span!(
            target: TARGET,
            parent: &self.0,
            "load",
            otel.status_code = Empty,
            error.type = Empty,
            db.system.name = "postgresql",
            db.collection.name = table,
            pgsluice.job_id = %job,
            pgsluice.format = format,
            pgsluice.outcome = Empty,
            pgsluice.rows_loaded = Empty,
            pgsluice.rows_received = Empty,
            pgsluice.rows_rejected = Empty,
            pgsluice.bytes_received = Empty,
            pgsluice.client_wait_ms = Empty,
            pgsluice.encode_ms = Empty,
            pgsluice.database_ms = Empty,
        ))
    }

    /// What a load has come to, and the short name of what it failed of.
    pub fn note_outcome(&self, outcome: &str, failure: Option<&str>, sums: Sums) {
        if self.0.is_none() {
            return;
        }
        self.0.record("pgsluice.outcome", outcome);
        // OpenTelemetry's numbers have a sign.
        for (name, value) in [
            ("pgsluice.rows_loaded", sums.rows_loaded),
            ("pgsluice.rows_received", sums.rows_received),
            ("pgsluice.rows_rejected", sums.rows_rejected),
            ("pgsluice.bytes_received", sums.bytes_received),
            ("pgsluice.client_wait_ms", sums.client_wait_ms),
            ("pgsluice.encode_ms", sums.encode_ms),
            ("pgsluice.database_ms", sums.database_ms),
        ] {
            self.0.record(name, value as i64);
        }
        if let Some(failure) = failure {
            self.0.record(STATUS, ERROR);
            self.0.record(ERROR_TYPE, failure);
        }
    }

    /// A stage of it that is the service's own doing.
    pub fn stage(&self, name: &'static str) -> Trace {
        if self.0.is_none() {
            return Trace::NONE;
        }
        Trace(error_span!(target: TARGET, parent: &self.0, "stage", otel.name = name, otel.status_code = Empty))
    }

    /// A stage of it that PostgreSQL is asked for.
    pub fn database_stage(&self, name: &'static str, table: &str) -> Trace {
        if self.0.is_none() {
            return Trace::NONE;
        }
        Trace(error_span!(
            target: TARGET,
            parent: &self.0,
            "stage",
            otel.name = name,
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = "postgresql",
            db.collection.name = table,
        ))
    }

    /// Ends a stage with what has come of it.
    pub fn end<T, E>(self, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.0.record(STATUS, ERROR);
        }
        result
    }
}
