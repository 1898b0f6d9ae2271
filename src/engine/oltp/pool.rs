//! The pool: after SQLAlchemy's `QueuePool`, with its words.
//!
//! Up to `pool_size` connections are kept; up to `max_overflow` more are opened when all are in use, and closed when they come back and
//! nobody waits. Who finds none waits in line, for at most `pool_timeout`. The one that was given back last is given out first, so that
//! those that are not needed grow old and are replaced.
//!
//! A connection comes back only when it owes no answer. A caller that went away in the middle of a query leaves that to a task, which
//! waits for the answer in its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::Error;

use super::session::Session;
use super::stats::{Counters, Stats};
use crate::config;
use crate::engine::hosts::Hosts;
use crate::engine::unreachable;
use crate::error::DatabaseError;

/// A connection that was in use so recently is not asked whether it lives: a closed one is known to be closed, and the question would
/// double the time of most queries.
const PING_IDLE_MIN: Duration = Duration::from_millis(500);
/// How long an idle connection may take to say that it lives.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The pool; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hosts: Hosts,
    settings: config::Oltp,
    /// one for each connection that may be open
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
    counters: Arc<Counters>,
}

/// A connection of the pool in use.
#[derive(Debug)]
pub(super) struct Lease {
    /// taken by whatever ends the lease
    held: Option<(Session, OwnedSemaphorePermit)>,
    pool: Pool,
    /// a question has been sent, and not answered yet
    owes_answer: bool,
}

impl Pool {
    pub(super) fn new(settings: config::Oltp) -> Result<Pool, DatabaseError> {
        let name = format!("{} oltp", settings.application_name);
        let hosts = if settings.reads_only { Hosts::to_read } else { Hosts::to_write };
        Ok(Pool(Arc::new(Inner {
            hosts: hosts(&settings.url, &name, settings.pool_timeout)?,
            permits: Arc::new(Semaphore::new(settings.pool_size + settings.max_overflow)),
            settings,
            idle: Mutex::default(),
            counters: Arc::default(),
        })))
    }

    pub(super) fn settings(&self) -> &config::Oltp {
        &self.0.settings
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(super) fn stats(&self) -> Stats {
        let settings = self.settings();
        let checked_out = settings.pool_size + settings.max_overflow - self.0.permits.available_permits();
        let idle = self.idle().len();
        self.0.counters.snapshot(settings, checked_out, idle)
    }

    /// A connection: one that is idle, a new one, or the next that comes back.
    pub(super) async fn lease(&self) -> Result<Lease, DatabaseError> {
        let within = self.settings().pool_timeout;
        let leasing = tokio::time::timeout(within, self.lease_unbounded()).await;
        leasing.unwrap_or_else(|_| {
            self.0.counters.timed_out();
            let (size, overflow, seconds) = (self.settings().pool_size, self.settings().max_overflow, within.as_secs());
            Err(unreachable(format!(
                "no connection of the metadata pool within {seconds} s (pool_size {size}, max_overflow {overflow})"
            )))
        })
    }

    async fn lease_unbounded(&self) -> Result<Lease, DatabaseError> {
        let permit = self.permit().await?;
        while let Some(session) = self.take_idle() {
            if self.is_fit(&session).await {
                return Ok(self.leased(session, permit));
            }
        }
        let session = Session::open(&self.0.hosts, self.settings().statement_cache_size, Arc::clone(&self.0.counters)).await?;
        self.0.counters.opened();
        Ok(self.leased(session, permit))
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, DatabaseError> {
        if let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = self.0.counters.waiting();
        let permit = Arc::clone(&self.0.permits).acquire_owned().await;
        permit.map_err(|_| unreachable("the metadata pool is closed"))
    }

    fn leased(&self, session: Session, permit: OwnedSemaphorePermit) -> Lease {
        Lease { held: Some((session, permit)), pool: self.clone(), owes_answer: false }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Session> {
        self.idle().pop()
    }

    /// The connection lives, and is not too old.
    async fn is_fit(&self, session: &Session) -> bool {
        let settings = self.settings();
        if session.link.client.is_closed() || !session.link.is_current() {
            return false;
        }
        if session.opened.elapsed() > settings.pool_recycle {
            self.0.counters.recycled();
            return false;
        }
        if !settings.pool_pre_ping || session.idle_since.elapsed() < PING_IDLE_MIN {
            return true;
        }
        if matches!(tokio::time::timeout(PING_TIMEOUT, session.ping()).await, Ok(Ok(()))) {
            return true;
        }
        self.0.counters.ping_failed();
        session.link.io.abort();
        self.close_idle();
        false
    }

    /// What has ended one connection has most likely ended the others: nobody should find that out one by one.
    fn close_idle(&self) {
        for other in std::mem::take(&mut *self.idle()) {
            other.link.io.abort();
        }
    }

    /// Tells the server to stop, and closes the connection. A pooler is only told the latter: PgBouncer crashes by cancel requests whose
    /// client does not wait (1.18 to 1.20; its issues 801, 822, 904).
    async fn cancel(&self, session: &Session) {
        if !self.settings().behind_pooler {
            let cancel = session.link.client.cancel_token();
            let _ = tokio::time::timeout(self.settings().command_timeout, cancel.cancel_query(self.0.hosts.tls())).await;
        }
        session.link.io.abort();
    }

    fn put_back(&self, mut session: Session, permit: OwnedSemaphorePermit) {
        session.idle_since = Instant::now();
        if !session.link.client.is_closed() {
            let mut idle = self.idle();
            // Whoever waits would only open another.
            let wanted = self.settings().pool_size.max(self.0.counters.waiting_now());
            idle.truncate(wanted);
            if idle.len() < wanted {
                idle.push(session);
            }
        }
        // Only now, so that whoever gets it finds the connection.
        drop(permit);
    }
}

impl Lease {
    /// Asks, and waits for the answer for at most `command_timeout`; `None` when there was none.
    pub(super) async fn in_time<T>(&mut self, ask: impl AsyncFnOnce(&mut Session) -> Result<T, Error>) -> Option<Result<T, Error>> {
        let within = self.pool.settings().command_timeout;
        // Only `discard`, `abandon` and `drop` take it, and each ends the lease.
        let (session, _) = self.held.as_mut().expect("a live lease");
        self.owes_answer = true;
        let answer = tokio::time::timeout(within, ask(session)).await.ok()?;
        self.owes_answer = false;
        Some(answer)
    }

    /// Closes the connection: nobody knows what state it is in.
    pub(super) fn discard(mut self) {
        if let Some((session, permit)) = self.held.take() {
            session.link.io.abort();
            drop(permit);
        }
    }

    /// Closes it and the idle ones: the server is not what it was when they were made.
    pub(super) fn discard_all(self) {
        self.pool.close_idle();
        self.discard();
    }

    /// Tells the server to stop working on what was asked, and closes the connection. Its place is free when that is done.
    pub(super) fn abandon(mut self) {
        if let Some((session, permit)) = self.held.take() {
            let pool = self.pool.clone();
            spawn(async move {
                pool.cancel(&session).await;
                drop(permit);
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((session, permit)) = self.held.take() else {
            return;
        };
        let pool = self.pool.clone();
        if !self.owes_answer {
            return pool.put_back(session, permit);
        }
        // The caller is gone in the middle of a query. Answers come in order: behind that of a ping there is none left.
        spawn(async move {
            match tokio::time::timeout(pool.settings().command_timeout, session.ping()).await {
                Ok(Ok(())) => pool.put_back(session, permit),
                _ => pool.cancel(&session).await,
            }
        });
    }
}

/// Nothing can be settled any more when the runtime is on its way down.
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(work);
    }
}
