//! Logs: to standard error, as text or as JSON lines.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::json::Flat;

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// for people
    Text,
    /// for machines
    Json,
}

/// Lasts as long as there is something to be told.
#[derive(Debug, Default)]
#[must_use]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    _traces: Option<super::otlp::Traces>,
}

/// Starts logging what the filter lets through: a level, or directives as `tracing` has them. With a name to send them under, and in a build
/// that can, traces begin to be sent too.
///
/// # Errors
/// The filter makes no sense; traces cannot be sent.
#[cfg_attr(not(feature = "otlp"), allow(unused_variables, reason = "this build sends no traces"))]
pub fn start(filter: &str, format: LogFormat, traces_as: Option<&str>) -> Result<Telemetry, String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("the log filter {filter:?}: {error}"))?;
    let subscriber = tracing_subscriber::registry().with(lines(format).with_filter(filter));
    #[cfg(feature = "otlp")]
    {
        let traces = traces_as.map(super::otlp::Traces::start).transpose()?;
        subscriber.with(traces.as_ref().map(super::otlp::Traces::layer)).init();
        Ok(Telemetry { _traces: traces })
    }
    #[cfg(not(feature = "otlp"))]
    {
        subscriber.init();
        Ok(Telemetry::default())
    }
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.fmt_fields(JsonFields::new()).event_format(Flat).boxed(),
    }
}
