//! OpenTelemetry: spans leave the process by OTLP over HTTP, in batches, from a thread of their own. Where to, and with which headers, is in the
//! variables that OpenTelemetry's specification has for it (`OTEL_EXPORTER_OTLP_ENDPOINT` and others), which its own library reads.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Status, TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Sends what is left when it goes.
#[derive(Debug)]
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send, as a service of this name.
    pub(super) fn start(service: &str) -> Result<Traces, String> {
        let exporter = SpanExporter::builder().with_http().build();
        let exporter = exporter.map_err(|error| format!("traces cannot be sent: {error}"))?;
        let resource = Resource::builder().with_service_name(service.to_owned()).build();
        Ok(Traces(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
    }

    /// Hands over our own spans, whatever is logged.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> {
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("pgsluice"));
        layer.with_filter(Targets::new().with_target("pgsluice", Level::INFO))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            eprintln!("pgsluice: the last traces could not be sent: {error}");
        }
    }
}

pub(super) fn begin(span: &Span, method: &str, route: &str, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent {
        let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        // Of one that is no traceparent nothing comes, and the span is the first of a new trace.
        let parent = TraceContextPropagator::new().extract(&carrier);
        if let Err(error) = span.set_parent(parent) {
            tracing::debug!(%error, "traceparent");
        }
    }
    span.set_attribute("http.request.method", method.to_owned());
    span.set_attribute("http.route", route.to_owned());
}

pub(super) fn answered(span: &Span, status: u16) {
    span.set_attribute("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.set_status(Status::error(""));
    }
}
