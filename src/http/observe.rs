//! Sees every request and its answer, whoever gives it: counts it, and gives it an id under which everything stands that is logged on its
//! way.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::Edge;
use super::metrics::Kind;
use super::problem::Code;
use crate::telemetry::{Incoming, Trace};

/// The client left before it was answered; nginx's number for it.
const CLIENT_GONE: u16 = 499;
/// In no standard, and in use by everybody.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;
/// What is asked every few seconds, and by machines.
const UNTRACED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

pub(super) async fn observe(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    // Of the level that every filter lets through: a warning needs its request's id most.
    let request_id = id.to_str().unwrap_or_default();
    let span = tracing::error_span!("request", request_id, trace_id = Empty, job = Empty);
    let trace = trace(&mut request);
    if let Some(trace_id) = trace.id() {
        span.record("trace_id", trace_id);
        trace.note_request(request_id);
    }
    let visit = Visit::begin(edge, &request, span.clone(), trace);
    let mut response = next.run(request).instrument(span).await;
    visit.end(&response);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The request's trace, which whoever handles it finds in its extensions. Probes are not worth one.
fn trace(request: &mut Request) -> Trace {
    if !Trace::is_on() {
        return Trace::NONE;
    }
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if route.is_some_and(|route| UNTRACED.contains(&route)) {
        return Trace::NONE;
    }
    let headers = request.headers();
    let parent = only(headers, "traceparent");
    // Of one that cannot be read the rest means nothing either.
    let incoming = Incoming { parent, state: parent.and(only(headers, "tracestate")) };
    let trace = Trace::request(method_name(request.method()), route, request.uri().path(), incoming);
    request.extensions_mut().insert(trace.clone());
    trace
}

/// A field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Notes which job the request that is being answered is about.
pub(super) fn note_job(job: Uuid) {
    Span::current().record("job", tracing::field::display(job));
}

/// The client's own id, if it can stand in logs as it is; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let mut given = headers.get_all(REQUEST_ID).iter();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    let is_fit = |id: &HeaderValue| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(is_plain);
    match (given.next(), given.next()) {
        (Some(id), None) if is_fit(id) => id.clone(),
        _ => {
            let id = Uuid::now_v7().to_string();
            HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
        }
    }
}

/// One request, until it is answered or dropped.
struct Visit {
    edge: Arc<Edge>,
    span: Span,
    trace: Trace,
    kind: Kind,
    path: String,
    since: Instant,
    status: u16,
    problem: Option<&'static str>,
}

impl Visit {
    fn begin(edge: Arc<Edge>, request: &Request, span: Span, trace: Trace) -> Visit {
        let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
        let kind = Kind { method: method_name(request.method()), route: route.to_owned() };
        // Without the query: whoever puts a secret there should not find it in a log.
        let path = request.uri().path().to_owned();
        edge.metrics.in_flight.inc();
        Visit {
            edge,
            span,
            trace,
            kind,
            path,
            since: Instant::now(),
            status: CLIENT_GONE,
            problem: None,
        }
    }

    fn end(mut self, response: &Response) {
        self.status = response.status().as_u16();
        self.problem = response.extensions().get::<Code>().map(|code| code.0);
        self.trace.note_answer(self.status, self.problem);
    }

    /// One line for each request. What only asks, and was answered, is of interest to few.
    fn log(&self) {
        let (method, path, status, problem) = (self.kind.method, &self.path, self.status, self.problem);
        let millis = self.since.elapsed().as_millis() as u64;
        if status < 400 && matches!(method, "GET" | "HEAD") {
            tracing::debug!(target: "pgsluice::access", method, path, status, millis, "answered");
        } else {
            tracing::info!(target: "pgsluice::access", method, path, status, problem, millis, "answered");
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let metrics = &self.edge.metrics;
        metrics.in_flight.dec();
        metrics.count(&self.kind, self.status, self.since.elapsed());
        if let Some(code) = self.problem {
            metrics.count_problem(code);
        }
        if self.status == CLIENT_GONE {
            self.trace.note_gone();
        }
        self.span.in_scope(|| self.log());
    }
}

/// Clients may send any method, and metrics must not grow with what they invent.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
