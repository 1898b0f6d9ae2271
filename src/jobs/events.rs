//! What happens to jobs, as it happens, on whichever instance it does.
//!
//! The jobs themselves have the word. A change is told to every instance (NOTIFY, by a trigger on the table), and whoever follows jobs then
//! asks the database what has changed, in the same way and with the same sight as any other question. Nothing hangs on being told: without
//! it (behind a pooler, or while the listening connection is broken) one asks all the same, a little later.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Job;
use super::conduct::Conductor;
use crate::access::Sight;
use crate::engine::oltp::{Listener, Oltp};
use crate::error::DatabaseError;

/// As `V6__events.sql` has it.
const CHANNEL: &str = "pgsluice_jobs";
/// How often those who follow jobs ask when nothing was told. Loads of this instance tell nobody how far they are, and are asked so often too.
const POLL: Duration = Duration::from_secs(1);
/// How long what is told is gathered, so that many changes are one question.
const GATHER: Duration = Duration::from_millis(100);
/// How long ago a job that was not seen yet may say that it has ended: its last statement takes no longer than a command may.
const OVERLAP: Duration = Duration::from_secs(15);
/// After how long a connection that broke is opened again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// Rings when a job has changed.
#[derive(Debug, Clone)]
pub(super) struct Bell(watch::Sender<()>);

impl Bell {
    pub(super) fn new() -> Bell {
        Bell(watch::Sender::new(()))
    }

    /// Hears it from now on.
    pub(super) fn heard(&self) -> Heard {
        Heard(self.0.subscribe())
    }

    /// Rings at everything that is told, until told to stop.
    pub(super) async fn ring(&self, oltp: &Oltp, stop: &CancellationToken) {
        if !oltp.can_listen() {
            return;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.ring_while_connected(oltp) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LISTEN_AGAIN) => {}
            }
        }
    }

    async fn ring_while_connected(&self, oltp: &Oltp) {
        match oltp.listen(CHANNEL).await {
            Ok(mut listener) => self.ring_with(&mut listener).await,
            Err(error) => tracing::warn!(%error, "cannot listen to changes of jobs: asking for them every second"),
        }
    }

    async fn ring_with(&self, listener: &mut Listener) {
        // What was told before it listened.
        self.0.send_replace(());
        while listener.told().await.is_some() {
            self.0.send_replace(());
        }
        tracing::debug!("the connection that listens to changes of jobs has ended");
    }
}

/// Somebody who hears the bell.
#[derive(Debug)]
pub(super) struct Heard(watch::Receiver<()>);

impl Heard {
    /// Waits until it rings, and a moment longer.
    pub(super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left to ring it.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(GATHER).await;
        self.0.mark_unchanged();
    }
}

/// Which jobs to follow.
#[derive(Debug, Clone)]
pub struct Follow {
    /// only those that may be seen
    pub sight: Sight,
    /// only this one, whenever it ended; else all, of those that have ended only the ones that did after `since`
    pub job: Option<Uuid>,
    /// microseconds since 1970, by the database's clock; now, if not given
    pub since: Option<i64>,
}

/// Jobs that have changed, and when they were looked at, which is from where to go on.
#[derive(Debug)]
pub struct Changes {
    /// microseconds since 1970, by the database's clock
    pub as_of: i64,
    /// as they are now, the oldest first
    pub jobs: Vec<Job>,
}

/// Follows jobs.
#[derive(Debug)]
pub struct Followed {
    conductor: Conductor,
    follow: Follow,
    bell: Heard,
    /// as they were last shown
    shown: HashMap<Uuid, Job>,
    next: Instant,
}

impl Conductor {
    /// Follows jobs from now on, or from some time on.
    pub fn follow(&self, follow: Follow) -> Followed {
        Followed {
            conductor: self.clone(),
            follow,
            bell: self.bell.heard(),
            shown: HashMap::new(),
            next: Instant::now() + POLL,
        }
    }
}

impl Followed {
    /// Waits until something may have changed.
    pub async fn may_have_changed(&mut self) {
        tokio::select! {
            () = tokio::time::sleep_until(self.next) => {}
            () = self.bell.next() => {}
        }
        self.next = Instant::now() + POLL;
    }

    /// What has changed since it was asked last. All of it comes, if need be more than once; between two questions a job may change more than
    /// once too, and is then seen only as it is.
    ///
    /// # Errors
    /// The metadata cannot be read; ask again.
    pub async fn changes(&mut self) -> Result<Changes, DatabaseError> {
        let (as_of, mut jobs) = self.conductor.store.followed(&self.follow, OVERLAP).await?;
        for job in &mut jobs {
            self.conductor.running.overlay(job);
        }
        let now: HashMap<Uuid, Job> = jobs.iter().map(|job| (job.id, job.clone())).collect();
        // Whoever follows from now on is not told what ended before.
        let is_first = self.follow.since.replace(as_of).is_none() && self.follow.job.is_none();
        jobs.retain(|job| !(is_first && job.state.is_final()) && self.shown.get(&job.id) != Some(job));
        self.shown = now;
        Ok(Changes { as_of, jobs })
    }
}
