//! The last word before COMMIT, in the jobs' metadata.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::report::by_column;
use super::store::{Counts, Store, vanished};
use super::{Job, State, rejects_url};
use crate::access::Sight;
use crate::error::{DatabaseError, LoadError, Stop};
use crate::ingest::rejects::{Rejects, Report};
use crate::ingest::{Stopper, Witness};

/// How long a load that is about to commit waits for a metadata database that is away for a moment.
const METADATA_PATIENCE: Duration = Duration::from_secs(20);
const METADATA_PAUSE: Duration = Duration::from_millis(250);

/// The job's row in the metadata is the witness of the commit: whoever moves it out of `running` first has the word.
pub(super) struct JobRow<'a> {
    pub(super) id: Uuid,
    pub(super) store: &'a Store,
    pub(super) stopper: &'a Stopper,
    pub(super) rejects: Option<&'a Rejects>,
}

impl JobRow<'_> {
    /// What was turned away, if anything was.
    fn report(&self) -> Option<Arc<Report>> {
        self.rejects.map(Rejects::close).filter(|report| !report.rejects.is_empty())
    }

    pub(super) async fn keep_rejects(&self) -> Result<(), DatabaseError> {
        match self.report() {
            Some(report) => self.store.keep_rejects(self.id, &report).await,
            None => Ok(()),
        }
    }

    /// What the row would say of the load, for an answer that cannot wait for it.
    pub(super) fn show(&self, counts: Counts, job: &mut Job) {
        counts.put_into(job);
        if let Some(report) = self.report() {
            job.rejected_by_column = by_column(&report.rejects);
            job.rejects_url = Some(rejects_url(self.id));
        }
    }

    /// May be tried again.
    async fn try_committing(&self, xid: &str) -> Result<bool, DatabaseError> {
        // Whoever is told that rows are missing has to be able to see which.
        self.keep_rejects().await?;
        self.store.committing(self.id, xid).await
    }
}

impl Witness for JobRow<'_> {
    async fn committing(&self, xid: &str) -> Result<(), LoadError> {
        let since = Instant::now();
        let is_mine = loop {
            match self.try_committing(xid).await {
                Ok(is_mine) => break is_mine,
                // All the work is done: it would be a pity if it were for nothing because the metadata just restart.
                Err(error) if error.is_passing() && since.elapsed() < METADATA_PATIENCE => {
                    tracing::debug!(job = %self.id, %error, "a load is about to commit, and waits for the metadata");
                }
                Err(error) => return Err(LoadError::Metadata(error)),
            }
            tokio::time::sleep(METADATA_PAUSE).await;
        };
        if is_mine {
            return Ok(());
        }
        let stop = match self.store.get(self.id, &Sight::default()).await.map_err(LoadError::Metadata)?.map(|job| job.state) {
            // The metadata have lost it, as in a failover to a standby that did not have it yet.
            None => return Err(LoadError::Metadata(vanished(self.id))),
            // Taken for dead by another instance, and resolved.
            Some(State::Failed) => Stop::Interrupted,
            Some(_) => Stop::Cancelled,
        };
        self.stopper.stop(stop);
        Err(stop.into())
    }
}
