//! Spans on their way out: batched on a thread of their own, by OTLP over HTTP. Nothing here is waited for by a request or a load: spans
//! that find the queue full are lost, and so are those that the collector does not take, of which one line in the log now and then tells.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::{Resource, ResourceDetector, SdkProvidedResourceDetector};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use super::collector::Collector;
use super::otlp_client::{Client, Trouble};
use super::trace::{Incoming, TARGET};

const SERVICE: &str = "pgsluice";
/// What a service is called by the SDK that nobody has named.
const NAMELESS: &str = "unknown_service";
/// How long the last spans may take when the service ends.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// A collector that is away is away for a while: more lines than this would tell nobody anything.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(300);

/// What has to be stopped, so that the last spans get out.
pub(super) struct Exporter(SdkTracerProvider);

impl fmt::Debug for Exporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Exporter")
    }
}

impl Exporter {
    /// Sends what is still there, for a while; blocks.
    pub(super) fn stop(self) {
        if let Err(error) = self.0.shutdown_with_timeout(STOP_PATIENCE) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// The layer that makes spans of OpenTelemetry from those of [`TARGET`], and their way out.
pub(super) fn start(collector: &Collector) -> Result<(impl Layer<Registry> + Send + Sync, Exporter), String> {
    let trouble = Trouble::default();
    let named = |error: &dyn fmt::Display| format!("{}: {error}", collector.origin);
    let client = Client::new(collector, trouble.clone()).map_err(|error| named(&error))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(&collector.url)
        .with_timeout(collector.timeout)
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|error| named(&error))?;
    let exporter = Quiet { exporter, trouble, told: Mutex::default() };
    let provider = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter_fn(|metadata| metadata.target() == TARGET).with_max_level_hint(LevelFilter::ERROR));
    Ok((layer, Exporter(provider)))
}

/// Who this is: by `OTEL_SERVICE_NAME`, else `OTEL_RESOURCE_ATTRIBUTES`, of which the SDK by itself would take the second.
fn resource() -> Resource {
    let given = SdkProvidedResourceDetector.detect().get(&"service.name".into()).map(|name| name.to_string());
    let name = given.filter(|name| !name.is_empty() && !name.starts_with(NAMELESS));
    Resource::builder()
        .with_service_name(name.unwrap_or_else(|| SERVICE.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent,
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Puts a span into its caller's trace. One that has none, or nonsense, begins a trace.
pub(super) fn continue_trace(span: &Span, incoming: Incoming<'_>) {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &incoming);
    // A span that nobody makes anything of needs no parent.
    let _ = span.set_parent(parent);
}

pub(super) fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}

/// An exporter that does not complain of every batch.
#[derive(Debug)]
struct Quiet {
    exporter: SpanExporter,
    trouble: Trouble,
    told: Mutex<Told>,
}

/// What the log says of the collector.
#[derive(Debug, Default)]
struct Told {
    /// that it takes nothing
    is_away: bool,
    /// since then
    at: Option<Instant>,
}

impl opentelemetry_sdk::trace::SpanExporter for Quiet {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        match &result {
            Ok(()) => self.relax(),
            Err(error) => self.complain(spans, &error.to_string()),
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl Quiet {
    fn complain(&self, spans: usize, error: &str) {
        let mut told = self.told();
        if told.at.is_some_and(|at| at.elapsed() < COMPLAINT_PAUSE) {
            return;
        }
        *told = Told { is_away: true, at: Some(Instant::now()) };
        let reason = self.trouble.take().unwrap_or_else(|| error.to_owned());
        let minutes = COMPLAINT_PAUSE.as_secs() / 60;
        tracing::warn!(
            spans,
            reason,
            "traces are lost, the collector does not take them; not said again for {minutes} minutes"
        );
    }

    /// Whoever was told of the loss is told of its end.
    fn relax(&self) {
        if std::mem::take(&mut self.told().is_away) {
            tracing::info!("the collector takes traces again");
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
