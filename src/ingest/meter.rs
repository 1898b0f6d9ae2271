//! What a load has done so far: counters and clocks that the stages write and anybody may read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// One counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Time spent in one stage.
#[derive(Debug, Default)]
pub struct Clock(Counter);

impl Clock {
    /// Adds the time since `start`.
    pub fn add_since(&self, start: Instant) {
        self.add(start.elapsed());
    }

    /// Adds a duration.
    pub fn add(&self, time: Duration) {
        self.0.add(time.as_micros() as u64);
    }

    /// Whole milliseconds so far.
    pub fn millis(&self) -> u64 {
        self.0.get() / 1000
    }
}

/// The counters and clocks of one load.
#[derive(Debug, Default)]
pub struct Meter {
    /// bytes of the body as they came
    pub bytes_received: Counter,
    /// bytes of the body without its codings
    pub bytes_decoded: Counter,
    /// rows parsed, those that were turned away too
    pub rows_received: Counter,
    /// rows turned away
    pub rows_rejected: Counter,
    /// rows that PostgreSQL has taken (not yet committed)
    pub rows_copied: Counter,
    /// waiting for a slot
    pub queue: Clock,
    /// waiting for the client
    pub client_wait: Clock,
    /// parsing and encoding
    pub encode: Clock,
    /// waiting for PostgreSQL
    pub database: Clock,
    /// ledger and COMMIT
    pub commit: Clock,
}
