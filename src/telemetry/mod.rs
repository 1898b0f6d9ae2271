//! What the service says about itself: logs, traces, and the parts of `/metrics` that have nothing to do with loads.

mod collector;
pub mod exposition;
mod json;
mod latency;
mod logs;
#[cfg_attr(not(feature = "otlp"), path = "no_otlp.rs")]
mod otlp;
#[cfg(feature = "otlp")]
mod otlp_client;
pub mod process;
mod trace;

pub use self::collector::Collector;
pub use self::latency::Latency;
pub use self::logs::{LogFormat, Telemetry};
pub use self::trace::{Incoming, Sums, Trace};
