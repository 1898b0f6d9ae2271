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

    /// Whole microseconds so far.
    pub fn micros(&self) -> u64 {
        self.0.get()
    }

    /// Whole milliseconds so far.
    pub fn millis(&self) -> u64 {
        self.0.get() / 1000
    }
}

/// Whether the load waits for PostgreSQL just now, and since when. A wait is a statement or a chunk: whatever PostgreSQL has to take or to
/// answer before the load can go on.
#[derive(Debug)]
pub struct Waits {
    origin: Instant,
    /// microseconds from `origin` to the beginning of the wait; 0 when there is none
    since: AtomicU64,
}

/// One wait; it ends when this is dropped.
#[derive(Debug)]
pub struct Wait<'a>(&'a Waits);

impl Default for Waits {
    fn default() -> Waits {
        Waits { origin: Instant::now(), since: AtomicU64::new(0) }
    }
}

impl Waits {
    /// A wait begins. There is one at a time.
    #[must_use]
    pub fn begin(&self) -> Wait<'_> {
        self.go_on();
        Wait(self)
    }

    /// PostgreSQL has answered, and is asked something else in the same wait.
    pub fn go_on(&self) {
        let since = self.origin.elapsed().as_micros() as u64;
        self.since.store(since.max(1), Relaxed);
    }

    /// When the wait began that goes on now.
    pub fn since(&self) -> Option<Instant> {
        let since = self.since.load(Relaxed);
        (since > 0).then(|| self.origin + Duration::from_micros(since))
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Relaxed);
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
    /// waiting for a place
    pub queue: Clock,
    /// waiting for the client
    pub client_wait: Clock,
    /// parsing and encoding
    pub encode: Clock,
    /// waiting for PostgreSQL
    pub database: Clock,
    /// waiting for PostgreSQL now
    pub waits: Waits,
    /// ledger and COMMIT
    pub commit: Clock,
}
