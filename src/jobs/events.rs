//! What happens to jobs, as it happens, on whichever instance it does.
//!
//! The jobs themselves have the word. Whoever follows some asks the database what has changed, in the same way and with the same sight as any
//! other question: every second, and sooner when a bell rings. It rings at once for what this instance changes, and by NOTIFY for what others
//! do. Nothing hangs on that: without it (behind a pooler, or while the listening connection is broken) one just hears a little later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::conduct::Conductor;
use super::{Job, State};
use crate::access::Sight;
use crate::engine::oltp::{Listener, Oltp};
use crate::error::DatabaseError;

const CHANNEL: &str = "pgsluice_jobs";
/// For how long changes are gathered before the others are told: each time makes commits of the whole server wait for each other.
const GATHER: Duration = Duration::from_millis(100);
/// After how long a connection that broke is opened again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// How often those who follow jobs ask when nothing was heard. Loads of this instance tell nobody how far they are, and are asked so often too.
const POLL: Duration = Duration::from_secs(1);
/// How often they ask at the most.
const PAUSE: Duration = Duration::from_millis(500);
/// Jobs that ended earlier than this before the last question, and were not seen, are not looked for again: beyond the time that the statement
/// which ends a job may take.
const OVERLAP_BEYOND: Duration = Duration::from_secs(5);

/// Rings when a job has changed.
#[derive(Debug, Clone)]
pub(super) struct Bell {
    heard: watch::Sender<()>,
    /// this instance has changed something that the others have not been told of
    untold: Arc<Notify>,
}

impl Bell {
    pub(super) fn new() -> Bell {
        Bell { heard: watch::Sender::new(()), untold: Arc::default() }
    }

    /// Hears it from now on.
    pub(super) fn heard(&self) -> Heard {
        Heard(self.heard.subscribe())
    }

    /// This instance has changed a job.
    pub(super) fn ring(&self) {
        self.heard.send_replace(());
        self.untold.notify_one();
    }

    /// Tells the others, and hears of them, until told to stop.
    pub(super) async fn connect(&self, oltp: &Oltp, stop: &CancellationToken) {
        if oltp.can_listen() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.tell(oltp) => {}
                () = self.listen(oltp) => {}
            }
        }
    }

    async fn tell(&self, oltp: &Oltp) {
        loop {
            self.untold.notified().await;
            tokio::time::sleep(GATHER).await;
            if let Err(error) = oltp.notify(CHANNEL).await {
                tracing::debug!(%error, "other instances could not be told that jobs have changed");
            }
        }
    }

    async fn listen(&self, oltp: &Oltp) {
        loop {
            match oltp.listen(CHANNEL).await {
                Ok(mut listener) => self.ring_with(&mut listener).await,
                Err(error) => tracing::warn!(%error, "cannot listen to changes of jobs: asking for them every second"),
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    async fn ring_with(&self, listener: &mut Listener) {
        // What was told before it listened.
        self.heard.send_replace(());
        while listener.told().await.is_some() {
            self.heard.send_replace(());
        }
        tracing::debug!("the connection that listens to changes of jobs has ended");
    }
}

/// Somebody who hears the bell.
#[derive(Debug)]
pub(super) struct Heard(watch::Receiver<()>);

impl Heard {
    /// Waits until it rings.
    pub(super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left to ring it.
            std::future::pending::<()>().await;
        }
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

/// What to ask of the database for somebody who follows jobs.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) follow: &'a Follow,
    /// how long before `since` a job may have ended
    pub(super) overlap: Duration,
    /// those that were last seen open, whenever they ended
    pub(super) open: &'a [Uuid],
}

/// What the database says to it: at most so many that have ended, those that did first.
#[derive(Debug)]
pub(super) struct Reply {
    /// microseconds since 1970, by the database's clock, before anything was looked at
    pub(super) as_of: i64,
    /// each with when it ended; those that have not come last
    pub(super) jobs: Vec<(Job, Option<i64>)>,
    /// there are more that have ended
    pub(super) is_cut: bool,
}

/// A job that has changed, and up to when whoever has seen this has seen everything.
#[derive(Debug)]
pub struct Change {
    /// as it is now
    pub job: Job,
    /// microseconds since 1970, by the database's clock
    pub seen: i64,
}

/// What has changed.
#[derive(Debug)]
pub struct Changes {
    /// the jobs that did
    pub changes: Vec<Change>,
    /// up to when everything has been looked at: microseconds since 1970, by the database's clock
    pub as_of: i64,
    /// the one job that is followed is there no more
    pub is_gone: bool,
}

/// What makes a job worth showing again.
type Face = (State, [u64; 5]);

/// Follows jobs.
#[derive(Debug)]
pub struct Followed {
    conductor: Conductor,
    follow: Follow,
    bell: Heard,
    /// as they were last shown, and when they ended
    shown: HashMap<Uuid, (Face, Option<i64>)>,
    /// what was asked last time was not answered in full
    is_behind: bool,
    /// somebody follows from now on, and what ended before is not for them
    is_new: bool,
    asked: Instant,
}

impl Conductor {
    /// Follows jobs from now on, or from some time on.
    pub fn follow(&self, follow: Follow) -> Followed {
        let is_new = follow.since.is_none() && follow.job.is_none();
        let bell = self.bell.heard();
        Followed {
            conductor: self.clone(),
            follow,
            bell,
            shown: HashMap::new(),
            is_behind: false,
            is_new,
            asked: Instant::now(),
        }
    }
}

impl Followed {
    /// Waits until something may have changed.
    pub async fn may_have_changed(&mut self) {
        if self.is_behind {
            return;
        }
        tokio::time::sleep_until(self.asked + PAUSE).await;
        tokio::select! {
            () = tokio::time::sleep_until(self.asked + POLL) => {}
            () = self.bell.next() => {}
        }
    }

    /// What has changed since it was asked last. All of it comes, if need be more than once; between two questions a job may change more than
    /// once too, and is then seen only as it is.
    ///
    /// # Errors
    /// The metadata cannot be read; ask again.
    pub async fn changes(&mut self) -> Result<Changes, DatabaseError> {
        self.asked = Instant::now();
        let store = &self.conductor.store;
        let open: Vec<Uuid> = self.shown.iter().filter(|(_, (_, ended))| ended.is_none()).map(|(id, _)| *id).collect();
        let overlap_max = store.oltp().command_timeout() + OVERLAP_BEYOND;
        // The next page of one answer begins where the last one ended.
        let overlap = if self.is_behind { Duration::ZERO } else { overlap_max };
        let Reply { as_of, jobs, is_cut } = store.followed(&Question { follow: &self.follow, overlap, open: &open }).await?;
        let is_gone = self.follow.job.is_some() && jobs.is_empty();
        let mut seen = self.follow.since.unwrap_or(as_of);
        let mut changes = Vec::new();
        for (mut job, ended) in jobs {
            self.conductor.running.overlay(&mut job);
            // Whoever comes back with this has seen all that ended before.
            seen = seen.max(ended.unwrap_or(if is_cut { seen } else { as_of }));
            let face = face(&job);
            let shown = self.shown.insert(job.id, (face, ended));
            if shown.is_none_or(|(shown, _)| shown != face) && !(self.is_new && job.state.is_final()) {
                changes.push(Change { job, seen });
            }
        }
        if !is_cut {
            seen = as_of;
        }
        // What ended before that is not looked at again.
        let horizon = seen.saturating_sub(i64::try_from(overlap_max.as_micros()).unwrap_or(i64::MAX));
        self.shown.retain(|_, (_, ended)| ended.is_none_or(|ended| ended >= horizon));
        self.is_behind = is_cut;
        self.is_new = self.is_new && is_cut;
        self.follow.since = Some(seen);
        Ok(Changes { changes, as_of: seen, is_gone })
    }
}

/// Time goes by for every load; that alone is no change.
fn face(job: &Job) -> Face {
    (
        job.state,
        [job.rows_received, job.rows_loaded, job.rows_rejected, job.bytes_received, job.bytes_decoded],
    )
}
