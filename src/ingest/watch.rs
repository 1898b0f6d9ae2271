//! Tells a PostgreSQL that works from one that cannot be heard any more.
//!
//! A load may wait for PostgreSQL for hours: for a lock, for a trigger, for a disk. A link that is dead looks just like that from here, and
//! TCP may take a quarter of an hour to notice, or for ever. So whoever has waited for long asks on another connection what the load's
//! server process does. If it waits for us while we wait for it, what one has sent has not come to the other, and will not.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::meter::Waits;
use crate::engine::bulk::{Backend, Bulk, Connection, Sight};
use crate::error::DatabaseError;

/// Between two looks: the first may have come just between two statements.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How often it must be seen that the server process does not work.
const IDLE_LOOKS: u32 = 2;
/// How many looks in a row may fail.
const BLIND_LOOKS: u32 = 3;

/// Watches over a load that has not sent COMMIT yet; returns, with the reason, when there is nothing to be hoped for any more.
pub(super) async fn dead_link(bulk: &Bulk, connection: &Connection, waits: &Waits, stall: Duration) -> DatabaseError {
    tokio::select! {
        () = left_behind(connection) => DatabaseError {
            message: "another server has taken over from the one that this load was on".to_owned(),
            ..DatabaseError::default()
        },
        error = silent(bulk, connection.backend(), waits, stall) => error,
    }
}

/// Returns after a failover: what the old primary would say, if it says anything, does not count any more.
async fn left_behind(connection: &Connection) {
    while connection.is_current() {
        sleep(LOOK_PAUSE).await;
    }
}

async fn silent(bulk: &Bulk, backend: Backend, waits: &Waits, stall: Duration) -> DatabaseError {
    loop {
        let wait = longer_than(stall, waits).await;
        let verdict = judge(bulk, backend, waits, wait).await;
        if let Err(error) = verdict {
            return error;
        }
        sleep(stall).await;
    }
}

/// Returns when a wait takes longer than that; the moment at which it began.
async fn longer_than(stall: Duration, waits: &Waits) -> Instant {
    loop {
        let rest = match waits.since() {
            Some(since) if since.elapsed() >= stall => return since,
            Some(since) => stall.saturating_sub(since.elapsed()),
            None => stall,
        };
        sleep(rest).await;
    }
}

/// Looks until it is clear whether to go on; also when the wait is over meanwhile.
async fn judge(bulk: &Bulk, backend: Backend, waits: &Waits, wait: Instant) -> Result<(), DatabaseError> {
    let (mut idle, mut blind) = (0, 0);
    while waits.since() == Some(wait) {
        match bulk.in_time(look(bulk, backend)).await {
            Ok(Sight::Working) => return Ok(()),
            // It lives, and has no connection left for a question.
            Err(error) if error.is_full() => return Ok(()),
            Ok(Sight::Waiting | Sight::Gone) => (idle, blind) = (idle + 1, 0),
            Err(error) => {
                blind += 1;
                if blind == BLIND_LOOKS {
                    return Err(unheard(&format!("and it cannot be asked why: {error}")));
                }
            }
        }
        if idle == IDLE_LOOKS && waits.since() == Some(wait) {
            return Err(end(bulk, backend).await);
        }
        sleep(LOOK_PAUSE).await;
    }
    Ok(())
}

async fn look(bulk: &Bulk, backend: Backend) -> Result<Sight, DatabaseError> {
    let connection = bulk.connect_aside().await?;
    let sight = connection.sight(backend).await?;
    connection.release();
    Ok(sight)
}

/// What is at the other end of a dead link would keep its locks for as long as it does not notice.
async fn end(bulk: &Bulk, backend: Backend) -> DatabaseError {
    let ended = async {
        let connection = bulk.connect_aside().await?;
        connection.terminate(backend).await?;
        connection.release();
        Ok(())
    };
    if let Err(error) = bulk.in_time(ended).await {
        tracing::warn!(%error, pid = backend.pid, "the server process of a load whose link is dead could not be ended");
    }
    unheard("and the server process of this load is gone or waits for the service: the link between the two is dead")
}

fn unheard(what: &str) -> DatabaseError {
    DatabaseError {
        message: format!("nothing was heard of the load for long, {what}"),
        ..DatabaseError::default()
    }
}
