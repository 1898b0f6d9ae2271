//! Idempotency keys (draft-ietf-httpapi-idempotency-key-header): which load holds one, and what whoever comes with it next is told.
//!
//! A unique index has the word: of all loads with the same key on the same table, one at most runs or is committed. Whoever finds the
//! key taken gets that load's result, is told that it still runs, or learns that it was for something else.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::accept::{Accepted, Attempt};
use super::conduct::Conductor;
use super::request::{Client, Failure, Request};
use super::{Job, State};
use crate::access::limits::Counted;
use crate::error::SlotError;
use crate::ingest::Stopper;
use crate::ingest::digest::{Declared, sha256};

/// How long a load that is being committed is waited for: it is as good as over, one way or the other.
const COMMIT_WAIT: Duration = Duration::from_secs(20);
const COMMIT_POLL: Duration = Duration::from_millis(100);
/// How many may wait for that at a time. They count against no limit of theirs, and each asks again and again.
pub(super) const COMMIT_WAITERS_MAX: usize = 32;

/// How often a load comes back for a key whose holder was gone when it was looked at. Each time another load has ended meanwhile.
const ATTEMPTS_MAX: usize = 10;

/// A key, with what the client asks for under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// as the client made it up
    pub name: String,
    /// SHA-256 of what was asked for
    pub fingerprint: Vec<u8>,
}

impl Key {
    /// A key for the request of which `asked` is the canonical text.
    pub fn new(name: String, asked: &str) -> Key {
        Key { name, fingerprint: sha256(asked.as_bytes()) }
    }
}

/// What the metadata keep of a load that comes with a key.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// whose key it is: everybody has keys of their own
    pub(super) principal: String,
    pub(super) key: Key,
    /// the table as the client spelled it
    pub(super) requested_table: String,
    /// what it declares its body to be
    pub(super) digest: Option<Value>,
}

impl Claim {
    pub(super) fn of(request: &Request) -> Option<Claim> {
        let key = request.key.clone()?;
        let digest = (!request.digests.is_empty()).then(|| by_algorithm(&request.digests));
        Some(Claim {
            principal: request.caller.principal.id.clone(),
            key,
            requested_table: request.table.clone(),
            digest,
        })
    }
}

/// The load that has the key.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) job: Job,
    pub(super) fingerprint: Vec<u8>,
    pub(super) digest: Option<Value>,
    /// committed longer ago than keys are kept
    pub(super) is_expired: bool,
}

/// By which of its names the table is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum TableName<'a> {
    /// as the client spelled it
    Requested(&'a str),
    /// as the catalogue has it
    Resolved(&'a str),
}

/// In which way a key was used for something else before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// other parameters or another content type
    #[error("with other parameters, another content type or another content encoding")]
    Request,
    /// another body
    #[error("for a body with another digest")]
    Digest,
}

impl Holder {
    /// A digest that only one of the two declares contradicts nothing.
    fn differs_from(&self, claim: &Claim) -> Option<Difference> {
        if self.fingerprint != claim.key.fingerprint {
            return Some(Difference::Request);
        }
        let (Some(Value::Object(mine)), Some(Value::Object(theirs))) = (&claim.digest, &self.digest) else {
            return None;
        };
        let contradicted = |(algorithm, digest)| theirs.get(algorithm).is_some_and(|other| other != digest);
        mine.iter().any(contradicted).then_some(Difference::Digest)
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Admission {
    /// it is loaded, and counts as a load of whoever asked until the second is dropped
    Accepted(Box<Accepted>, Option<Counted>),
    /// it was loaded before, and this is the result
    Replayed(Box<Job>),
}

impl Conductor {
    /// Everything that can be said before the body is asked for. Without a key that is what can be refused; with one, the load that
    /// holds it comes first. `stopper` stops the load from outside.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn admit(&self, request: Request, client: &impl Client, stopper: Stopper) -> Result<Admission, Failure> {
        // Before anything is asked or waited for. What the name comes to is looked at when the catalogue has said it.
        if !request.caller.principal.tables.may_match(&request.table) {
            return Err(Failure::Forbidden { table: request.table });
        }
        let claim = Claim::of(&request);
        let spelled = TableName::Requested(&request.table);
        // Before there is a slot, and before it counts as a load: a replay is none.
        if let Some(job) = self.replay(claim.as_ref(), spelled, &stopper).await? {
            return Ok(Admission::Replayed(job));
        }
        let counted = request.count()?;
        for _ in 0..ATTEMPTS_MAX {
            match self.accept(request.clone(), claim.as_ref(), client, stopper.clone()).await {
                Ok(Attempt::Accepted(accepted)) => return Ok(Admission::Accepted(accepted, counted)),
                Ok(Attempt::KeyHeld { table }) => {
                    let resolved = TableName::Resolved(&table);
                    if let Some(job) = self.replay(claim.as_ref(), resolved, &stopper).await? {
                        return Ok(Admission::Replayed(job));
                    }
                }
                // The slots may well be full of loads that came at the same time with the same key.
                Err(full @ Failure::Slot(SlotError::Saturated(_))) => {
                    let job = self.replay(claim.as_ref(), spelled, &stopper).await?;
                    return job.map(Admission::Replayed).ok_or(full);
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::KeyInProgress { job: None })
    }

    /// The result of the load that holds the key; `None` when none does.
    async fn replay(&self, claim: Option<&Claim>, table: TableName<'_>, stopper: &Stopper) -> Result<Option<Box<Job>>, Failure> {
        let Some(claim) = claim else {
            return Ok(None);
        };
        let deadline = Instant::now() + COMMIT_WAIT;
        let mut waiting = None;
        loop {
            let Some(holder) = self.key_holder(claim, table).await? else {
                return Ok(None);
            };
            let job = holder.job.id;
            if let Some(difference) = holder.differs_from(claim) {
                return Err(Failure::KeyReused { job, difference });
            }
            match holder.job.state {
                State::Committed => {
                    self.replayed.add(1);
                    return Ok(Some(Box::new(Job { replayed: true, ..holder.job })));
                }
                State::Committing if Instant::now() < deadline => {}
                _ => return Err(Failure::KeyInProgress { job: Some(job) }),
            }
            if waiting.is_none() {
                let place = self.key_waiters.try_acquire();
                waiting = Some(place.map_err(|_| Failure::KeyInProgress { job: Some(job) })?);
            }
            tokio::select! {
                stop = stopper.stopped() => return Err(Failure::Stopped(stop)),
                () = tokio::time::sleep(COMMIT_POLL) => {}
            }
        }
    }

    /// The load that holds the key. One that has held it for long enough gives it up here.
    async fn key_holder(&self, claim: &Claim, table: TableName<'_>) -> Result<Option<Holder>, Failure> {
        let retention = self.limits().key_retention;
        loop {
            let found = self.store.key_holder(claim, table, retention).await.map_err(Failure::Metadata)?;
            match found {
                Some(holder) if holder.is_expired => self.store.expire_key(holder.job.id).await.map_err(Failure::Metadata)?,
                found => return Ok(found),
            }
        }
    }
}

fn by_algorithm(digests: &[Declared]) -> Value {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let entries = digests
        .iter()
        .map(|digest| (digest.algorithm.name().to_owned(), Value::String(hexadecimal(&digest.value))));
    Value::Object(entries.collect::<Map<_, _>>())
}
