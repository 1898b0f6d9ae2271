//! PostgreSQL counts failovers: a standby that is promoted begins a new timeline of its cluster. A primary on an older one has been left
//! behind, though it may not know, and what it says or takes is not what counts. Whoever keeps it from coming back does that job; this is for
//! when nobody did.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::unreachable;
use crate::error::DatabaseError;

/// A WAL file's name begins with the timeline, in eight hexadecimal digits.
const POSITION: &str = "SELECT system_identifier, pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) \
                        FROM pg_catalog.pg_control_system()";
const TIMELINE_DIGITS: usize = 8;

/// What whoever is not to know it is told: no right, no such function, not of this server, and a standby's "recovery is in progress".
const KEPT_BACK: [SqlState; 4] = [
    SqlState::INSUFFICIENT_PRIVILEGE,
    SqlState::UNDEFINED_FUNCTION,
    SqlState::FEATURE_NOT_SUPPORTED,
    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
];

/// The newest timeline that has been seen of each cluster: by the whole process, because both engines have to go the same way.
static NEWEST: Mutex<BTreeMap<i64, u32>> = Mutex::new(BTreeMap::new());

/// Where a primary stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// the cluster's system identifier
    cluster: i64,
    timeline: u32,
}

impl Position {
    /// Where the server stands. `None` for a standby, and where it may not be asked: some services keep that to themselves.
    ///
    /// # Errors
    /// Any other: who fails to answer is not taken for one that may not.
    pub(super) async fn of(client: &Client) -> Result<Option<Position>, DatabaseError> {
        let row = match client.query_typed_one(POSITION, &[]).await {
            Ok(row) => row,
            Err(error) if error.code().is_some_and(|code| KEPT_BACK.contains(code)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let file: String = row.try_get(1)?;
        let timeline = file.get(..TIMELINE_DIGITS).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let timeline = timeline.ok_or_else(|| unreachable(format!("a WAL file is called {file:?}")))?;
        Ok(Some(Position { cluster: row.try_get(0)?, timeline }))
    }

    /// No newer timeline of this cluster has been seen.
    pub(super) fn is_current(self) -> bool {
        newest().get(&self.cluster).is_none_or(|newest| *newest <= self.timeline)
    }

    /// Notes the timeline.
    ///
    /// # Errors
    /// A newer one has been seen.
    pub(super) fn admitted(self) -> Result<Position, DatabaseError> {
        let mut clusters = newest();
        let newest = clusters.entry(self.cluster).or_insert(self.timeline);
        if *newest > self.timeline {
            return Err(unreachable(format!(
                "the server is on timeline {}, and its cluster has gone on to timeline {newest}: it is an old primary that was failed over \
                 from (if it was put in its place on purpose, restart the service)",
                self.timeline
            )));
        }
        *newest = self.timeline;
        Ok(self)
    }
}

fn newest() -> MutexGuard<'static, BTreeMap<i64, u32>> {
    NEWEST.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn whoever_was_left_behind_is_not_admitted_again() {
        let at = |cluster, timeline| Position { cluster, timeline };
        let old = at(-1, 1).admitted().unwrap();
        assert!(old.is_current());
        let new = at(-1, 2).admitted().unwrap();
        assert!(new.is_current() && !old.is_current());
        assert!(old.admitted().unwrap_err().to_string().contains("old primary"));
        // Of another cluster nothing is known by that.
        assert_eq!(at(-2, 1).admitted().unwrap(), at(-2, 1));
        assert!(at(-1, 2).admitted().is_ok());
    }
}
