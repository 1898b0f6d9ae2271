//! The span of a request: what its log lines have in common, and in a build with the feature `otlp` what a trace shows of it.

use tracing::Span;
use tracing::field::Empty;

/// A request has come in. Its span is of the level that every filter lets through: a warning needs its request's id most. A client's
/// `traceparent` (W3C Trace Context) makes it a child of the client's own span.
#[cfg(not(feature = "otlp"))]
pub fn request(id: &str, _method: &str, _route: &str, _traceparent: Option<&str>) -> Span {
    tracing::error_span!("request", request_id = id, job = Empty)
}

/// A request has come in. Its span is of the level that every filter lets through: a warning needs its request's id most. A client's
/// `traceparent` (W3C Trace Context) makes it a child of the client's own span.
#[cfg(feature = "otlp")]
pub fn request(id: &str, method: &str, route: &str, traceparent: Option<&str>) -> Span {
    let name = format!("{method} {route}");
    let span = tracing::error_span!("request", request_id = id, job = Empty, otel.name = name, otel.kind = "server");
    super::otlp::begin(&span, method, route, traceparent);
    span
}

/// It was answered.
#[cfg_attr(not(feature = "otlp"), allow(unused_variables, reason = "there is nobody to tell"))]
pub fn answered(span: &Span, status: u16) {
    #[cfg(feature = "otlp")]
    super::otlp::answered(span, status);
}
