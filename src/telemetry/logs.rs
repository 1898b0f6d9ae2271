//! Logs: to standard error, as text or as JSON lines; and beside them traces, which know nothing of each other's filters.

use std::io::IsTerminal;

use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::collector::Collector;
use super::json::Flat;
use super::{otlp, trace};

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// for people
    Text,
    /// for machines
    Json,
}

/// Logs that have been started, and traces if anybody is to have them.
#[derive(Debug)]
pub struct Telemetry(Option<otlp::Exporter>);

impl Telemetry {
    /// Starts logging what the filter lets through: a level, or directives as `tracing` has them. With a collector, traces too, on the
    /// runtime that this is called on.
    ///
    /// # Errors
    /// The filter makes no sense, or nothing can be sent to the collector.
    pub fn start(filter: &str, format: LogFormat, collector: Option<&Collector>) -> Result<Telemetry, String> {
        let parsed = EnvFilter::try_new(filter).map_err(|error| format!("the log filter {filter:?}: {error}"))?;
        match collector {
            Some(collector) => start_both(parsed, format, collector),
            None => {
                start_logging(parsed, format);
                Ok(Telemetry(None))
            }
        }
    }

    /// Sends what traces there still are, for a few seconds at most; blocks.
    pub fn stop(self) {
        if let Some(exporter) = self.0 {
            exporter.stop();
        }
    }
}

fn start_logging(filter: EnvFilter, format: LogFormat) {
    let logger = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let logger = logger.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logger.init(),
        LogFormat::Json => logger.fmt_fields(JsonFields::new()).event_format(Flat).init(),
    }
}

fn start_both(filter: EnvFilter, format: LogFormat, collector: &Collector) -> Result<Telemetry, String> {
    let (traces, exporter) = otlp::start(collector)?;
    let registry = tracing_subscriber::registry().with(traces);
    let logger = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let filter = filter.and(filter_fn(|metadata| metadata.target() != trace::TARGET));
    match format {
        LogFormat::Text => registry.with(logger.with_filter(filter)).init(),
        LogFormat::Json => {
            let logger = logger.fmt_fields(JsonFields::new()).event_format(Flat);
            registry.with(logger.with_filter(filter)).init();
        }
    }
    trace::switch_on();
    // A query may hold a secret.
    let url = collector.url.split('?').next().unwrap_or_default();
    tracing::info!(url, "traces go to a collector");
    Ok(Telemetry(Some(exporter)))
}
