//! Keeps house: says that this instance lives, writes down how far its loads are, hears of cancellations, resolves the jobs that a dead
//! instance left behind, and has old ones deleted. No job stays open for ever, and none is resolved by a guess: the ledger has the word.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::State;
use super::conduct::Conductor;
use super::request::Describe;
use super::retention::Sweeper;
use super::store::{Counts, Orphan};
use crate::config::Instance;
use crate::error::{DatabaseError, LoadError, Stop};
use crate::ingest::commit::{Outcome, resolve};

/// A server process that was told to end usually has within this time; if not, the next round asks again.
const TERMINATION_WAIT: Duration = Duration::from_millis(500);
/// The first change is followed at once, the next ones together: thousands of short loads a second must not ask thousands of times.
const CANCELLATIONS_APART: Duration = Duration::from_millis(100);

/// The housekeeper of one instance.
pub struct Housekeeper {
    conductor: Conductor,
    settings: Instance,
    describe: Arc<dyn Describe>,
}

impl std::fmt::Debug for Housekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Housekeeper").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Housekeeper {
    /// For the jobs that this conductor runs.
    pub fn new(conductor: Conductor, settings: Instance, describe: Arc<dyn Describe>) -> Housekeeper {
        Housekeeper { conductor, settings, describe }
    }

    /// One round after the other, until told to stop; then signs this instance off.
    ///
    /// Loops of their own, because a round that resolves orphans may take as long as their target makes it take: a living instance must not be
    /// taken for dead meanwhile, and its loads must hear of cancellations.
    pub async fn run(self, stop: CancellationToken) {
        let heartbeats = async {
            let mut ticks = Ticks::new(self.beat(), &stop);
            while ticks.next().await {
                self.heartbeat().await;
            }
        };
        // On its own, because a replica that does not answer must not hold up the heartbeat.
        let replica = async {
            let Some(replica) = self.conductor.store.replica() else {
                return;
            };
            while stop.run_until_cancelled(replica.probe()).await.is_some() {}
        };
        let loads = async {
            let mut ticks = Ticks::new(self.settings.heartbeat, &stop);
            while ticks.next().await {
                warn_of(self.attend_loads().await);
            }
        };
        // Orphans and old jobs take turns, because both ask the target, which has one connection for that.
        let orphans = async {
            let mut ticks = Ticks::new(self.settings.heartbeat, &stop);
            let mut sweeper = self.settings.job_retention.map(|retention| Sweeper::new(&self.conductor, retention));
            while ticks.next().await {
                // Whoever goes down need not wait for it: the next instance does the rest.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.settle_the_past(sweeper.as_mut()) => {}
                }
            }
        };
        let cancellations = async {
            let mut heard = self.conductor.bell.heard();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = heard.next() => warn_of(self.attend_cancellations().await),
                }
                stop.run_until_cancelled(tokio::time::sleep(CANCELLATIONS_APART)).await;
            }
        };
        let changes = self.conductor.bell.connect(self.conductor.store.oltp(), &stop);
        tokio::join!(heartbeats, replica, loads, orphans, cancellations, changes);
        let me = self.conductor.me.id;
        if let Err(error) = self.conductor.store.forget(me).await {
            tracing::warn!(%error, "this instance could not sign off");
        }
    }

    /// How often the heartbeat is written: what measures the replica's lag has to be finer than what is allowed.
    fn beat(&self) -> Duration {
        let heartbeat = self.settings.heartbeat;
        self.conductor.store.replica().map_or(heartbeat, |replica| heartbeat.min(replica.beat()))
    }

    async fn heartbeat(&self) {
        if let Err(error) = self.conductor.store.heartbeat(&self.conductor.me).await {
            tracing::warn!(%error, "the heartbeat failed");
        }
    }

    /// What comes before the first load: this instance is known, and the orphans of an earlier one are resolved.
    pub async fn begin(&self) {
        self.heartbeat().await;
        warn_of(self.resolve_orphans().await);
    }

    /// What the loads of this instance have to hear, and what others may want to know of them.
    async fn attend_loads(&self) -> Result<(), DatabaseError> {
        self.attend_cancellations().await?;
        for (id, running) in self.conductor.running.all() {
            self.conductor.store.report(id, running.counts()).await?;
        }
        Ok(())
    }

    async fn attend_cancellations(&self) -> Result<(), DatabaseError> {
        let Conductor { store, me, running, .. } = &self.conductor;
        if running.is_empty() {
            return Ok(());
        }
        for id in store.cancel_requests(me.id).await? {
            if let Some(running) = running.get(id) {
                running.stopper.stop(Stop::Cancelled);
            }
        }
        Ok(())
    }

    async fn settle_the_past(&self, sweeper: Option<&mut Sweeper<'_>>) {
        warn_of(self.resolve_orphans().await);
        if let Some(sweeper) = sweeper {
            warn_of(sweeper.step().await);
        }
    }

    async fn resolve_orphans(&self) -> Result<(), DatabaseError> {
        let Conductor { store, me, .. } = &self.conductor;
        self.resolve_own().await?;
        let (known, unknown) = store.others(me.id, self.settings.lease.as_secs_f64()).await?;
        for (other, silent) in known {
            if silent || other.is_gone(me) {
                self.resolve_instance(other.id).await?;
            }
        }
        for instance in unknown {
            self.resolve_instance(instance).await?;
        }
        Ok(())
    }

    /// Jobs of this instance that it does not run (any more), because their end could not be found out or written down.
    ///
    /// A job leaves the register only after the attempt to write down its end. So one that is open before and after a look at the
    /// register, and not on it, really has nobody.
    async fn resolve_own(&self) -> Result<(), DatabaseError> {
        let (store, running) = (&self.conductor.store, &self.conductor.running);
        let suspects = store.unfinished(self.conductor.me.id).await?;
        let suspects: Vec<Uuid> = suspects.iter().map(|job| job.id).filter(|id| running.get(*id).is_none()).collect();
        if suspects.is_empty() {
            return Ok(());
        }
        for orphan in store.unfinished(self.conductor.me.id).await? {
            if suspects.contains(&orphan.id) {
                warn_of(self.resolve(orphan).await);
            }
        }
        Ok(())
    }

    async fn resolve_instance(&self, instance: Uuid) -> Result<(), DatabaseError> {
        for orphan in self.conductor.store.unfinished(instance).await? {
            // One that cannot be resolved keeps no other from it.
            warn_of(self.resolve(orphan).await);
        }
        self.conductor.store.forget(instance).await
    }

    /// Brings one orphan to its end; the next round asks again when its server process has not gone yet.
    async fn resolve(&self, orphan: Orphan) -> Result<(), DatabaseError> {
        let Orphan { id, backend } = orphan;
        let mut outcome = resolve(&self.conductor.bulk, id, backend).await?;
        if outcome.is_none() {
            tokio::time::sleep(TERMINATION_WAIT).await;
            outcome = resolve(&self.conductor.bulk, id, backend).await?;
        }
        let store = &self.conductor.store;
        match outcome {
            None => return Ok(()),
            Some(Outcome::Committed { rows }) => {
                let counts = Counts { rows_received: rows, rows_loaded: rows, ..Counts::default() };
                store.committed(id, counts).await?;
            }
            Some(Outcome::NotCommitted) => {
                let error = LoadError::Stopped(Stop::Interrupted);
                let (reason, document) = self.describe.describe(id, &error);
                store.ended(id, State::Failed, &reason, &document, Counts::default()).await?;
            }
        }
        tracing::info!(job = %id, ?outcome, "resolved an orphaned job");
        Ok(())
    }
}

fn warn_of(round: Result<(), DatabaseError>) {
    if let Err(error) = round {
        tracing::warn!(%error, "housekeeping failed and will be tried again");
    }
}

/// A beat that ends when it is told to.
struct Ticks<'a> {
    interval: Interval,
    stop: &'a CancellationToken,
}

impl Ticks<'_> {
    fn new(period: Duration, stop: &CancellationToken) -> Ticks<'_> {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ticks { interval, stop }
    }

    /// Waits for the next beat; false when there is none any more.
    async fn next(&mut self) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            _ = self.interval.tick() => true,
        }
    }
}
