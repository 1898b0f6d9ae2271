//! Logs: to standard error, as text or as JSON lines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

use super::json::Flat;

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// for people
    Text,
    /// for machines
    Json,
}

/// Starts logging what the filter lets through: a level, or directives as `tracing` has them.
///
/// # Errors
/// The filter makes no sense.
pub fn start_logging(filter: &str, format: LogFormat) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| format!("the log filter {filter:?}: {error}"))?;
    let logger = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let logger = logger.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logger.init(),
        LogFormat::Json => logger.fmt_fields(JsonFields::new()).event_format(Flat).init(),
    }
    Ok(())
}
