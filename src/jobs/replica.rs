//! The read replica of the metadata: answers questions about jobs as long as it is known to be near enough behind the primary.
//!
//! How near is measured by the heartbeats that this instance writes into the metadata anyway, and without comparing clocks: it remembers
//! when it began to write each of them, and the replica shows one. All that was committed before that moment is on the replica. So an idle
//! primary does not make it look late, nor a link that is cut make it look well, and a replica of something else shows nothing at all.
//!
//! Each answer comes with the heartbeat that its own server shows: of several replicas, or of one that has just stopped following, no other
//! measurement would do. Whoever is too far behind, silent or away is left alone until the next heartbeat asks again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::engine::oltp::{self, Oltp, Query};
use crate::error::DatabaseError;

/// Within the lag that is allowed there are so many heartbeats, so that one that is late does not matter.
const BEATS: u32 = 4;

/// The heartbeat that the replica shows, in the spelling of `Store::heartbeat`.
const SHOWN: &str = "SELECT (extract(epoch FROM heartbeat_at) * 1000000)::bigint FROM pgsluice.instances WHERE id = $1";

/// The replica as one instance sees it; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Replica(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    oltp: Oltp,
    me: Uuid,
    lag_max: Duration,
    history: Mutex<History>,
    /// there is a heartbeat since the last probe
    beaten: Notify,
    usable: AtomicBool,
    served: AtomicU64,
    behind: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
}

/// What this instance has written to the primary.
#[derive(Debug)]
struct History {
    /// heartbeats, as they stand there, and when each was about to be written
    beats: VecDeque<(i64, Instant)>,
    /// when it last changed a job
    changed: Instant,
    /// the moment up to which the replica was last seen to have everything
    shown: Option<Instant>,
}

/// What is asked of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// that it is not too old
    Recent,
    /// that it also knows what this instance has changed itself
    OwnChanges,
}

/// What the replica has done so far.
#[derive(Debug, Clone, Default)]
pub struct ReplicaStats {
    /// it answers, and is near enough behind the primary
    pub usable: bool,
    /// how old what it shows may be; `None` before anything was seen
    pub lag: Option<Duration>,
    /// questions that it has answered
    pub served_total: u64,
    /// those that it was too far behind for
    pub behind_total: u64,
    /// those that it did not answer
    pub failed_total: u64,
    /// those that it was not asked because it was not usable
    pub skipped_total: u64,
    /// its pool
    pub pool: Option<oltp::Stats>,
}

/// Why the primary has to be asked.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("the replica is further behind than --read-lag-max")]
    Behind,
    #[error("the replica does not have the last change of this instance yet")]
    BehindOwnChange,
    #[error(transparent)]
    Failed(#[from] DatabaseError),
}

impl Replica {
    pub(super) fn new(oltp: Oltp, lag_max: Duration, me: Uuid) -> Replica {
        let history = History { beats: VecDeque::new(), changed: Instant::now(), shown: None };
        Replica(Arc::new(Inner {
            oltp,
            me,
            lag_max,
            history: Mutex::new(history),
            beaten: Notify::new(),
            usable: AtomicBool::new(false),
            served: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }))
    }

    /// How often a heartbeat has to be written, at least.
    pub(super) fn beat(&self) -> Duration {
        self.0.lag_max / BEATS
    }

    /// A heartbeat stands in the metadata, and was about to be written at that moment.
    pub(super) fn written(&self, beat: i64, began: Instant) {
        let mut history = self.history();
        history.beats.push_back((beat, began));
        // One that is older would be too old to be of use.
        while history.beats.front().is_some_and(|(_, began)| began.elapsed() > self.0.lag_max) {
            history.beats.pop_front();
        }
        drop(history);
        self.0.beaten.notify_one();
    }

    /// This instance has changed a job, or may have.
    pub(super) fn changed(&self) {
        self.history().changed = Instant::now();
    }

    /// Whether it is worth asking; counts that it was not.
    pub(super) fn may_be_asked(&self) -> bool {
        let may_be = self.0.usable.load(Relaxed);
        if !may_be {
            self.0.skipped.fetch_add(1, Relaxed);
        }
        may_be
    }

    /// The answer of the replica; `None` where the primary has to be asked.
    pub(super) async fn query(&self, query: Query<'_>, wanted: Wanted) -> Option<Vec<Row>> {
        let inner = &self.0;
        if !self.may_be_asked() {
            return None;
        }
        match self.ask(query, wanted).await {
            Ok(rows) => {
                inner.served.fetch_add(1, Relaxed);
                return Some(rows);
            }
            Err(unfit) => {
                let count = if matches!(unfit, Unfit::Failed(_)) { &inner.failed } else { &inner.behind };
                count.fetch_add(1, Relaxed);
                // Whoever is behind may just show a heartbeat of which the primary's answer is still on its way. The next probe knows.
                if matches!(unfit, Unfit::Failed(_)) {
                    self.give_up(&unfit);
                }
            }
        }
        None
    }

    async fn ask(&self, query: Query<'_>, wanted: Wanted) -> Result<Vec<Row>, Unfit> {
        // The heartbeat first: what is read after it is no older.
        let (shown, rows) = self.0.oltp.query_both((SHOWN, &[(&self.0.me, Type::UUID)]), query).await?;
        let as_of = self.as_of(&shown)?;
        if wanted == Wanted::OwnChanges && as_of < self.history().changed {
            return Err(Unfit::BehindOwnChange);
        }
        Ok(rows)
    }

    /// The moment up to which the server has everything.
    fn as_of(&self, shown: &[Row]) -> Result<Instant, Unfit> {
        let beat: Option<i64> = shown.first().map(|row| row.try_get(0)).transpose().map_err(DatabaseError::from)?;
        let mut history = self.history();
        let began = history.beats.iter().find(|(known, _)| Some(*known) == beat).map(|(_, began)| *began);
        let began = began.filter(|began| began.elapsed() <= self.0.lag_max).ok_or(Unfit::Behind)?;
        history.shown = Some(began);
        Ok(began)
    }

    /// With each heartbeat that is written, finds out whether the replica can be asked (again).
    pub(super) async fn probe(&self) {
        self.0.beaten.notified().await;
        let shown = self.0.oltp.query(SHOWN, &[(&self.0.me, Type::UUID)]).await;
        match shown.map_err(Unfit::from).and_then(|shown| self.as_of(&shown)) {
            Ok(_) => {
                if !self.0.usable.swap(true, Relaxed) {
                    tracing::info!("questions about jobs go to the read replica");
                }
            }
            Err(unfit) => self.give_up(&unfit),
        }
    }

    fn give_up(&self, why: &Unfit) {
        if self.0.usable.swap(false, Relaxed) {
            tracing::warn!(error = %why, "questions about jobs go to the primary");
        }
    }

    pub(super) fn stats(&self) -> ReplicaStats {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        ReplicaStats {
            usable: self.0.usable.load(Relaxed),
            lag: self.history().shown.map(|shown| shown.elapsed()),
            served_total: get(&self.0.served),
            behind_total: get(&self.0.behind),
            failed_total: get(&self.0.failed),
            skipped_total: get(&self.0.skipped),
            pool: Some(self.0.oltp.stats()),
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
