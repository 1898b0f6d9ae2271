//! The loads that run in this process: how far they are, and how to stop them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use uuid::Uuid;

use super::store::Counts;
use super::tally::{Outcome, Sums, Tally};
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
    book: Arc<Mutex<Book>>,
    count: Arc<watch::Sender<usize>>,
}

#[derive(Debug)]
struct Book {
    running: HashMap<Uuid, Listed>,
    past: Tally,
}

#[derive(Debug)]
struct Listed {
    running: Running,
    /// `None` until the load has begun
    format: Option<&'static str>,
}

/// Takes its load off the registry when it goes.
#[derive(Debug)]
pub(super) struct Entry {
    id: Uuid,
    registry: Registry,
    outcome: Outcome,
    rows_loaded: u64,
}

impl Registry {
    pub(super) fn new() -> Registry {
        let book = Book { running: HashMap::new(), past: Tally::new() };
        Registry { book: Arc::new(Mutex::new(book)), count: Arc::new(watch::Sender::new(0)) }
    }

    pub(super) fn enter(&self, id: Uuid, running: Running) -> Entry {
        self.with(|book| book.running.insert(id, Listed { running, format: None }));
        // Whatever goes without a word is left to recovery.
        Entry { id, registry: self.clone(), outcome: Outcome::Pending, rows_loaded: 0 }
    }

    pub(super) fn get(&self, id: Uuid) -> Option<Running> {
        self.with(|book| book.running.get(&id).map(|listed| listed.running.clone()))
    }

    pub(super) fn all(&self) -> Vec<(Uuid, Running)> {
        self.with(|book| book.running.iter().map(|(id, listed)| (*id, listed.running.clone())).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.with(|book| book.running.is_empty())
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

    /// What all loads came to so far, the running ones as of now.
    pub(super) fn tally(&self) -> Tally {
        self.with(|book| {
            let mut tally = book.past.clone();
            for Listed { running, format } in book.running.values() {
                if let Some(format) = format {
                    let loads = tally.of(format);
                    loads.running += 1;
                    loads.sums += Sums::from(&*running.meter);
                }
            }
            tally
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut book);
        self.count.send_replace(book.running.len());
        result
    }
}

impl Entry {
    /// The load has a job now: from here on it counts.
    pub(super) fn begin(&self, format: &'static str) {
        self.registry.with(|book| {
            if let Some(listed) = book.running.get_mut(&self.id) {
                listed.format = Some(format);
                book.past.of(format).started += 1;
            }
        });
    }

    /// The load has come to its end, with so many rows in the table.
    pub(super) fn end(mut self, outcome: Outcome, rows_loaded: u64) {
        self.outcome = outcome;
        self.rows_loaded = rows_loaded;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // In one step, so that nobody sees the load twice or not at all.
        self.registry.with(|book| {
            if let Some(Listed { running, format: Some(format) }) = book.running.remove(&self.id) {
                book.past.of(format).end(&running.meter, self.outcome, self.rows_loaded);
            }
        });
    }
}
