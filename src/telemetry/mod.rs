//! What the service says about itself: logs, and the parts of `/metrics` that have nothing to do with loads.

pub mod exposition;
mod json;
mod latency;
mod logs;
#[cfg(feature = "otlp")]
mod otlp;
pub mod process;
pub mod trace;

pub use self::latency::Latency;
pub use self::logs::{LogFormat, Telemetry, start};
