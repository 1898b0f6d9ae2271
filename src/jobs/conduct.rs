//! Conducts loads: an accepted one to its final state, all of them to their end. What the answer says is what the database says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::accept::Accepted;
use super::events::Bell;
use super::instance::Identity;
use super::keys::COMMIT_WAITERS_MAX;
use super::progress::Registry;
use super::replica::Replica;
use super::request::{Describe, Failure};
use super::store::{Counts, Filter, Store};
use super::tally::Outcome;
use super::witness::JobRow;
use super::{Job, Rejected, State, audit};
use crate::access::{Caller, Sight};
use crate::config::{self, Limits};
use crate::engine::bulk::Bulk;
use crate::engine::oltp::Oltp;
use crate::error::{DatabaseError, LoadError, Stop};
use crate::ingest::commit::target_id;
use crate::ingest::meter::Counter;
use crate::ingest::parquet::Spools;
use crate::ingest::{self, Frames};
use crate::telemetry::{Sums, Trace};

/// How long a cancellation waits for the job's end before it answers.
const CANCEL_WAIT: Duration = Duration::from_secs(10);
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// Whoever asks whether the metadata answer does not wait for as long as a query may take: the next one may find a connection that does.
const PING_PATIENCE: Duration = Duration::from_secs(3);

/// Runs loads and answers questions about jobs.
#[derive(Debug, Clone)]
pub struct Conductor {
    pub(super) me: Arc<Identity>,
    pub(super) store: Store,
    pub(super) bulk: Bulk,
    pub(super) running: Registry,
    pub(super) bell: Bell,
    pub(super) replayed: Arc<Counter>,
    pub(super) key_waiters: Arc<Semaphore>,
    /// jobs that this instance has deleted because they were old
    pub(super) deleted: Arc<Counter>,
    pub(super) limits: Arc<Limits>,
    pub(super) spools: Spools,
    /// nobody is let in any more
    pub(super) closing: CancellationToken,
}

impl Conductor {
    /// A conductor on these engines, under a new identity.
    ///
    /// # Errors
    /// The target database cannot be asked which one it is, or the replica's URL cannot be read. A replica that is not there is no error.
    pub async fn new(bulk: Bulk, oltp: Oltp, replica: Option<config::Replica>, limits: Limits) -> Result<Conductor, DatabaseError> {
        let target = target_id(&bulk).await?;
        let (me, bell) = (Identity::new(), Bell::new());
        let replica = match replica {
            Some(config::Replica { oltp, lag_max }) => Some(Replica::new(Oltp::new(oltp)?, lag_max, me.id)),
            None => None,
        };
        Ok(Conductor {
            me: Arc::new(me),
            store: Store::new(oltp, replica, bulk.precedence(), target, bell.clone()),
            bulk,
            running: Registry::new(),
            bell,
            replayed: Arc::default(),
            key_waiters: Arc::new(Semaphore::new(COMMIT_WAITERS_MAX)),
            deleted: Arc::default(),
            spools: Spools::new(limits.spool.clone()),
            limits: Arc::new(limits),
            closing: CancellationToken::new(),
        })
    }

    /// What a load may ask for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The metadata database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        let answer = tokio::time::timeout(PING_PATIENCE, self.store.ping()).await;
        answer.unwrap_or_else(|_| {
            Err(DatabaseError {
                message: format!("no answer within {} s", PING_PATIENCE.as_secs()),
                ..DatabaseError::default()
            })
        })
    }

    /// The target database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping_target(&self) -> Result<(), Failure> {
        Ok(self.bulk.ping().await?)
    }

    /// Runs an accepted load to its final state. It must be let run to its end: dropped, it leaves the job to recovery.
    ///
    /// # Errors
    /// [`Failure::Load`].
    pub async fn run(&self, accepted: Accepted, frames: impl Frames + 'static, describe: &dyn Describe) -> Result<Job, Failure> {
        let Accepted { mut job, caller, load, connection, running, entry } = accepted;
        let (rejects, trace) = (load.rejects.clone(), load.trace.clone());
        let witness = JobRow {
            id: job.id,
            store: &self.store,
            stopper: &running.stopper,
            rejects: rejects.as_deref(),
        };
        let loading = ingest::run(load, frames, &self.bulk, connection, &self.limits, &running.stopper, &witness);
        let outcome = Box::pin(loading).await;
        let mut counts = running.counts();
        let described = outcome.as_ref().map_err(|error| (error, describe.describe(job.id, error)));
        let recording = trace.database_stage("record end", "pgsluice.jobs");
        let recorded = match &described {
            Ok(rows) => {
                counts.rows_loaded = **rows;
                self.store.committed(job.id, counts).await.map(Some)
            }
            // Nobody knows yet: the job stays as it is until recovery has found out.
            Err((LoadError::OutcomePending, _)) => Ok(None),
            Err((error, (reason, document))) => {
                let state = match error {
                    LoadError::Stopped(Stop::Cancelled) => State::Cancelled,
                    _ => State::Failed,
                };
                if let Err(error) = witness.keep_rejects().await {
                    tracing::error!(job = %job.id, %error, "a reject report could not be written down");
                }
                self.store.ended(job.id, state, reason, document, counts).await
            }
        };
        let recorded = recording.end(recorded);
        trace_outcome(&trace, &outcome, described.as_ref().err().map(|(_, (reason, _))| reason.as_str()), counts);
        entry.end(Outcome::from(&outcome), *outcome.as_ref().unwrap_or(&0));
        audit::ended(
            &caller,
            &job,
            described.as_ref().map(|rows| **rows).map_err(|(error, (reason, _))| (*error, reason.as_str())),
            counts,
        );
        match recorded {
            Ok(Some(recorded)) => job = recorded,
            Ok(None) => {}
            // The load's own end stands in the ledger; the job row follows when recovery gets to it. The answer does not wait for that.
            Err(error) => {
                tracing::error!(job = %job.id, %error, "a job's end could not be written down yet");
                witness.show(counts, &mut job);
            }
        }
        match outcome {
            Ok(rows) => {
                job.state = State::Committed;
                job.rows_loaded = rows;
                Ok(job)
            }
            Err(error) => Err(Failure::Load { job: job.id, error }),
        }
    }

    /// One job, as of now; `None` also for one that is out of sight.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub async fn job(&self, id: Uuid, sight: &Sight) -> Result<Option<Job>, DatabaseError> {
        // Of one that runs here nobody else knows more.
        if self.running.get(id).is_none() {
            return self.store.find(id, sight).await;
        }
        let mut job = self.store.get(id, sight).await?;
        if let Some(job) = &mut job {
            self.running.overlay(job);
        }
        Ok(job)
    }

    /// The next rejects of a job, after the one of that number; none at the end.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub async fn rejects(&self, id: Uuid, after: i32) -> Result<Vec<Rejected>, DatabaseError> {
        self.store.rejects(id, after).await
    }

    /// What stands before the records of a job's rejects: the header of a CSV.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub async fn rejects_header(&self, id: Uuid) -> Result<Option<Vec<u8>>, DatabaseError> {
        self.store.rejects_header(id).await
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub async fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, DatabaseError> {
        let mut jobs = self.store.list(filter).await?;
        for job in &mut jobs {
            self.running.overlay(job);
        }
        Ok(jobs)
    }

    /// Stops a running load, here or on another instance, and waits a while for its end. `None` when there is no such job in sight; false
    /// beside the job when there was nothing to stop any more.
    ///
    /// # Errors
    /// The metadata cannot be read or written.
    pub async fn cancel(&self, id: Uuid, caller: &Caller) -> Result<Option<(Job, bool)>, DatabaseError> {
        let sight = caller.principal.sight();
        let requested = self.store.request_cancel(id, &sight).await?;
        if requested && let Some(running) = self.running.get(id) {
            running.stopper.stop(Stop::Cancelled);
        }
        let deadline = Instant::now() + CANCEL_WAIT;
        loop {
            let Some(job) = self.job(id, &sight).await? else {
                return Ok(None);
            };
            if !requested || job.state.is_final() || Instant::now() > deadline {
                audit::cancelled(caller, &job, requested);
                return Ok(Some((job, requested)));
            }
            tokio::time::sleep(CANCEL_POLL).await;
        }
    }

    /// Turns away loads that wait for a place, and waits for running ones to end, for so long or until told to hurry; then stops those
    /// that still run and waits for that.
    pub async fn drain(&self, grace: Duration, hurry: &CancellationToken) {
        self.closing.cancel();
        let (loads, seconds) = (self.running.all().len(), grace.as_secs());
        if loads > 0 {
            tracing::warn!("shutting down: waiting up to {seconds} s for {loads} running load(s); a second signal stops them now");
        }
        tokio::select! {
            () = self.running.idle() => return,
            () = tokio::time::sleep(grace) => {}
            () = hurry.cancelled() => {}
        }
        self.running.stop_all(Stop::Shutdown);
        let _ = tokio::time::timeout(grace.max(CANCEL_WAIT), self.running.idle()).await;
    }
}

/// Says in a load's trace what has become of it. That somebody has cancelled it is no error.
fn trace_outcome(trace: &Trace, outcome: &Result<u64, LoadError>, reason: Option<&str>, counts: Counts) {
    let how = Outcome::from(outcome);
    let sums = Sums {
        rows_loaded: *outcome.as_ref().unwrap_or(&0),
        rows_received: counts.rows_received,
        rows_rejected: counts.rows_rejected,
        bytes_received: counts.bytes_received,
        client_wait_ms: counts.timings.client_wait,
        encode_ms: counts.timings.encode,
        database_ms: counts.timings.database,
    };
    trace.note_outcome(how.name(), reason.filter(|_| how != Outcome::Cancelled), sums);
}
