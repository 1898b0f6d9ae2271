//! The loads that run in this process: how far they are, and how to stop them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use uuid::Uuid;

use super::store::Counts;
use super::{Job, State, Timings};
use crate::error::Stop;
use crate::ingest::Stopper;
use crate::ingest::meter::Meter;

/// One running load.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) meter: Arc<Meter>,
    pub(super) stopper: Stopper,
    pub(super) since: Instant,
}

impl Running {
    pub(super) fn counts(&self) -> Counts {
        let meter = &self.meter;
        Counts {
            rows_received: meter.rows_received.get(),
            rows_loaded: meter.rows_copied.get(),
            rows_rejected: meter.rows_rejected.get(),
            bytes_received: meter.bytes_received.get(),
            bytes_decoded: meter.bytes_decoded.get(),
            timings: Timings {
                queue: meter.queue.millis(),
                client_wait: meter.client_wait.millis(),
                encode: meter.encode.millis(),
                database: meter.database.millis(),
                commit: meter.commit.millis(),
                total: self.since.elapsed().as_millis() as u64,
            },
        }
    }
}

impl Counts {
    /// Puts the counts into what the database knows of a job, or will.
    pub(super) fn put_into(&self, job: &mut Job) {
        job.rows_received = self.rows_received;
        job.rows_rejected = self.rows_rejected;
        job.bytes_received = self.bytes_received;
        job.bytes_decoded = self.bytes_decoded;
        job.timings_ms = self.timings;
    }
}

/// All loads that run in this process.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    running: Arc<Mutex<HashMap<Uuid, Running>>>,
    count: Arc<watch::Sender<usize>>,
}

/// Takes its load off the registry when it goes.
#[derive(Debug)]
pub(super) struct Entry {
    id: Uuid,
    registry: Registry,
}

impl Registry {
    pub(super) fn new() -> Registry {
        Registry { running: Arc::default(), count: Arc::new(watch::Sender::new(0)) }
    }

    pub(super) fn enter(&self, id: Uuid, running: Running) -> Entry {
        self.with(|all| all.insert(id, running));
        Entry { id, registry: self.clone() }
    }

    pub(super) fn get(&self, id: Uuid) -> Option<Running> {
        self.with(|all| all.get(&id).cloned())
    }

    pub(super) fn all(&self) -> Vec<(Uuid, Running)> {
        self.with(|all| all.iter().map(|(id, running)| (*id, running.clone())).collect())
    }

    pub(super) fn stop_all(&self, reason: Stop) {
        for (_, running) in self.all() {
            running.stopper.stop(reason);
        }
    }

    /// Waits until no load runs.
    pub(super) async fn idle(&self) {
        // The sender lives as long as the registry does.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Puts the counts of this moment into what the database knew of a running job.
    pub(super) fn overlay(&self, job: &mut Job) {
        if job.state.is_final() {
            return;
        }
        let Some(running) = self.get(job.id) else {
            return;
        };
        running.counts().put_into(job);
        // Copied is not committed: until then nothing is loaded.
        debug_assert!(job.state != State::Committed);
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Uuid, Running>) -> T) -> T {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut running);
        self.count.send_replace(running.len());
        result
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.with(|all| all.remove(&self.id));
    }
}
