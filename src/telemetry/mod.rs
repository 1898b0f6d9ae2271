//! What the service says about itself: logs, and the parts of `/metrics` that have nothing to do with loads.

pub mod exposition;
mod json;
mod latency;
mod logs;
pub mod process;

pub use self::latency::Latency;
pub use self::logs::{LogFormat, start_logging};
