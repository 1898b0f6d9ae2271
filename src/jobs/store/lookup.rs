//! Jobs by their ids. Those that are asked for at the same time are asked for together.
//!
//! A question costs the server, and us, far more than one more row in its answer. So it is asked at once as long as few others are under way;
//! whoever comes while there are more waits for the next question, which takes along all that have come meanwhile. Nobody's answer is older
//! than their question.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};
use tokio_postgres::types::Type;
use tracing::Instrument;
use uuid::Uuid;

use super::{COLUMNS, in_sight, job};
use crate::access::Sight;
use crate::engine::oltp::{Oltp, Param};
use crate::engine::precedence::{Precedence, Queries};
use crate::error::DatabaseError;
use crate::jobs::Job;
use crate::jobs::replica::{Replica, Wanted};

/// So many questions are under way before others wait: while the server thinks about one, we take in the answer to the other.
const UNDER_WAY: usize = 2;
/// For how long they wait: a question that hangs must not hold up those that would not.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// Finds jobs on one server; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lookup(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Server,
    /// for one job, and for several at once
    alone: Queries,
    together: Queries,
    turns: Semaphore,
    /// by what they may see, because one question has one sight
    waiting: Mutex<HashMap<Sight, Vec<Asked>>>,
}

/// Who is asked.
#[derive(Debug)]
pub(super) enum Server {
    Primary(Oltp),
    /// which may be in no state to answer, and then knows of no job
    Replica(Replica),
}

/// Somebody who waits for a job.
#[derive(Debug)]
struct Asked {
    id: Uuid,
    answer: oneshot::Sender<Result<Option<Job>, DatabaseError>>,
}

impl Lookup {
    pub(super) fn new(server: Server, precedence: &Precedence) -> Lookup {
        let (alone, together) = (precedence.queries(), precedence.queries());
        Lookup(Arc::new(Inner {
            server,
            alone,
            together,
            turns: Semaphore::new(UNDER_WAY),
            waiting: Mutex::default(),
        }))
    }

    /// A job that is in sight.
    pub(super) async fn find(&self, id: Uuid, sight: &Sight) -> Result<Option<Job>, DatabaseError> {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting();
            let asked = waiting.entry(sight.clone()).or_default();
            asked.push(Asked { id, answer });
            asked.len() == 1
        };
        if is_first {
            // On its own, because whoever came first may be gone before the others have their answers.
            tokio::spawn(self.clone().ask(sight.clone()).in_current_span());
        }
        let gone = |_| DatabaseError { message: "the question was given up".to_owned(), ..DatabaseError::default() };
        answered.await.map_err(gone)?
    }

    /// Asks for all that wait, when it is their turn.
    async fn ask(self, sight: Sight) {
        let turn = tokio::time::timeout(WAIT_MAX, self.0.turns.acquire()).await;
        let mut asked = self.waiting().remove(&sight).unwrap_or_default();
        asked.retain(|asked| !asked.answer.is_closed());
        if asked.is_empty() {
            return;
        }
        let ids: Vec<Uuid> = asked.iter().map(|asked| asked.id).collect();
        let jobs = self.jobs(&ids, &sight).await;
        drop(turn);
        for Asked { id, answer } in asked {
            let found = match &jobs {
                Ok(jobs) => Ok(jobs.get(&id).cloned()),
                Err(error) => Err(error.clone()),
            };
            // Who is gone by now needs none.
            let _ = answer.send(found);
        }
    }

    async fn jobs(&self, ids: &[Uuid], sight: &Sight) -> Result<HashMap<Uuid, Job>, DatabaseError> {
        // Of one that goes alone the server keeps its plan; an array it would take for longer, and plan for each time.
        let (which, asked, alike): (&str, Param<'_>, _) = match ids {
            [id] => ("= $1", (id, Type::UUID), &self.0.alone),
            _ => ("= ANY ($1)", (&ids, Type::UUID_ARRAY), &self.0.together),
        };
        let sql = format!("SELECT {COLUMNS} FROM pgsluice.jobs WHERE id {which} AND {}", in_sight(2, 3));
        let params: [Param<'_>; 3] = [asked, (&sight.principal, Type::TEXT), (&sight.tables, Type::TEXT_ARRAY)];
        let asking_since = Instant::now();
        let rows = match &self.0.server {
            Server::Primary(oltp) => Some(oltp.query(&sql, &params).await?),
            Server::Replica(replica) => replica.query((&sql, &params), Wanted::Recent).await,
        };
        // Only an answer tells how long one takes.
        let Some(rows) = rows else {
            return Ok(HashMap::new());
        };
        alike.answered(asking_since.elapsed(), ids.len());
        rows.iter().map(|row| job(row).map(|job| (job.id, job)).map_err(Into::into)).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Sight, Vec<Asked>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
