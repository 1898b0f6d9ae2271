//! What the pool counts, and how it shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config;

/// Upper bounds of the latency histogram, in seconds; there is one more bucket above.
const BOUNDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The pool at one moment. What ends in `_total` only grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// connections that are kept
    pub pool_size: usize,
    /// connections that may be opened beyond
    pub max_overflow: usize,
    /// connections in use
    pub checked_out: usize,
    /// connections that are open and not in use
    pub idle: usize,
    /// open connections beyond `pool_size`
    pub overflow: usize,
    /// queries that wait for a connection now
    pub waiting: u64,
    /// queries that had to wait for a connection
    pub waits_total: u64,
    /// how long they did, in all
    pub wait_total: Duration,
    /// queries that waited for `pool_timeout` and got none
    pub timeouts_total: u64,
    /// connections opened
    pub opened_total: u64,
    /// connections replaced because of their age
    pub recycled_total: u64,
    /// idle connections that did not answer
    pub ping_failures_total: u64,
    /// queries that were not answered within `command_timeout`
    pub command_timeouts_total: u64,
    /// statements that were found prepared
    pub statement_hits_total: u64,
    /// statements that had to be prepared
    pub statement_misses_total: u64,
    /// how long queries took, without the wait for a connection
    pub latency: Histogram,
}

/// How long things took.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// upper bound of a bucket in seconds, and how many took at most so long
    pub buckets: Vec<(f64, u64)>,
    /// how many there were
    pub count: u64,
    /// how long they took in all
    pub sum: Duration,
}

/// Counts while the pool works.
#[derive(Debug, Default)]
pub(super) struct Counters {
    waiting: AtomicU64,
    waits: AtomicU64,
    wait_micros: AtomicU64,
    timeouts: AtomicU64,
    opened: AtomicU64,
    recycled: AtomicU64,
    ping_failures: AtomicU64,
    command_timeouts: AtomicU64,
    statement_hits: AtomicU64,
    statement_misses: AtomicU64,
    latency: [AtomicU64; BOUNDS.len() + 1],
    latency_micros: AtomicU64,
}

/// Counts a wait for as long as it lives.
pub(super) struct Waiting<'a> {
    counters: &'a Counters,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.counters.waiting.fetch_sub(1, Relaxed);
        self.counters.wait_micros.fetch_add(micros(self.since.elapsed()), Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Counters {
    pub(super) fn waiting(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Relaxed);
        self.waits.fetch_add(1, Relaxed);
        Waiting { counters: self, since: Instant::now() }
    }

    pub(super) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Relaxed);
    }

    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub(super) fn recycled(&self) {
        self.recycled.fetch_add(1, Relaxed);
    }

    pub(super) fn ping_failed(&self) {
        self.ping_failures.fetch_add(1, Relaxed);
    }

    pub(super) fn commands_timed_out(&self) {
        self.command_timeouts.fetch_add(1, Relaxed);
    }

    pub(super) fn statement_hit(&self) {
        self.statement_hits.fetch_add(1, Relaxed);
    }

    pub(super) fn statement_missed(&self) {
        self.statement_misses.fetch_add(1, Relaxed);
    }

    pub(super) fn answered(&self, after: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < after.as_secs_f64());
        self.latency[bucket].fetch_add(1, Relaxed);
        self.latency_micros.fetch_add(micros(after), Relaxed);
    }

    pub(super) fn snapshot(&self, settings: &config::Oltp, checked_out: usize, idle: usize) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let mut count = 0;
        let mut buckets = Vec::new();
        for (bucket, counter) in self.latency.iter().enumerate() {
            count += get(counter);
            buckets.extend(BOUNDS.get(bucket).map(|bound| (*bound, count)));
        }
        Stats {
            pool_size: settings.pool_size,
            max_overflow: settings.max_overflow,
            checked_out,
            idle,
            overflow: (checked_out + idle).saturating_sub(settings.pool_size),
            waiting: get(&self.waiting),
            waits_total: get(&self.waits),
            wait_total: Duration::from_micros(get(&self.wait_micros)),
            timeouts_total: get(&self.timeouts),
            opened_total: get(&self.opened),
            recycled_total: get(&self.recycled),
            ping_failures_total: get(&self.ping_failures),
            command_timeouts_total: get(&self.command_timeouts),
            statement_hits_total: get(&self.statement_hits),
            statement_misses_total: get(&self.statement_misses),
            latency: Histogram { buckets, count, sum: Duration::from_micros(get(&self.latency_micros)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_the_last_one_has_no_bound() {
        let counters = Counters::default();
        for micros in [100, 500, 501, 20_000_000] {
            counters.answered(Duration::from_micros(micros));
        }
        let settings = config::Oltp::default();
        let latency = counters.snapshot(&settings, 0, 0).latency;
        assert_eq!(latency.buckets[..2], [(0.0005, 2), (0.001, 3)]);
        assert_eq!(latency.buckets.last(), Some(&(10.0, 3)));
        assert_eq!((latency.count, latency.sum.as_micros()), (4, 20_001_101));
    }
}
