//! What `/metrics` shows of loads and engines.

use std::time::Duration;

use super::Conductor;
use super::replica::{Replica, ReplicaStats};
use super::tally::Tally;
use crate::engine::{admission, oltp};
use crate::telemetry::Latency;

/// Loads and engines as of now.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// all loads of this process
    pub loads: Tally,
    /// requests that were answered with the stored result of an earlier load
    pub replayed: u64,
    /// jobs that were deleted because they were old
    pub deleted: u64,
    /// the bulk engine
    pub bulk: admission::Occupancy,
    /// how long loads have rested so that queries go first
    pub rested: Duration,
    /// the OLTP engine's pool
    pub oltp: oltp::Stats,
    /// the metadata's read replica, if there is one
    pub replica: ReplicaStats,
}

impl Conductor {
    /// Loads and engines as of now.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            loads: self.running.tally(),
            replayed: self.replayed.get(),
            deleted: self.deleted.get(),
            bulk: self.bulk.occupancy(),
            rested: self.bulk.precedence().rested(),
            oltp: self.store.oltp().stats(),
            replica: self.store.replica().map(Replica::stats).unwrap_or_default(),
        }
    }

    /// How long the OLTP engine's queries take.
    pub fn query_latency(&self) -> &Latency {
        self.store.oltp().latency()
    }
}
