//! What the pool counts, and how it shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config;

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

    pub(super) fn waiting_now(&self) -> usize {
        usize::try_from(self.waiting.load(Relaxed)).unwrap_or(usize::MAX)
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

    pub(super) fn snapshot(&self, settings: &config::Oltp, checked_out: usize, idle: usize) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
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
        }
    }
}
