//! Who has loaded what: one line in the log for each load, under the target `audit`, whatever became of it. No line holds a secret. Values
//! that come from outside are logged as strings, which are quoted and escaped, so that nobody writes lines of their own.

use super::request::Failure;
use super::store::Counts;
use super::{Job, State};
use crate::access::Caller;
use crate::error::{LoadError, Stop};

/// A line of the audit log.
macro_rules! line {
    ($caller:expr, $event:literal, $outcome:expr, $($fields:tt)*) => {
        tracing::info!(
            target: "audit",
            event = $event,
            outcome = $outcome,
            principal = $caller.principal.id.as_str(),
            name = $caller.principal.name.as_str(),
            remote = $caller.remote.map(tracing::field::display),
            $($fields)*,
            $event
        )
    };
}

/// A load that was accepted has come to its end. `reason` is the short name of what it failed of: PostgreSQL's own words for that may
/// quote a row, and rows are not logged.
pub(super) fn ended(caller: &Caller, job: &Job, outcome: Result<u64, (&LoadError, &str)>, counts: Counts) {
    let (table, bytes, millis) = (job.table.as_str(), counts.bytes_received, counts.timings.total);
    let rejected = counts.rows_rejected;
    match outcome {
        Ok(rows) => line!(caller, "load", State::Committed.name(), job = %job.id, table, rows, rejected, bytes, millis),
        Err((error, reason)) => {
            let outcome = match error {
                LoadError::Stopped(Stop::Cancelled) => State::Cancelled.name(),
                LoadError::OutcomePending => State::Committing.name(),
                _ => State::Failed.name(),
            };
            line!(caller, "load", outcome, job = %job.id, table, rows = 0, rejected, bytes, millis, reason);
        }
    }
}

/// A load that was sent again was answered with the result of the first one.
pub fn replayed(caller: &Caller, job: &Job) {
    line!(caller, "load", "replayed", job = %job.id, table = job.table.as_str(), rows = 0, bytes = 0);
}

/// A load was refused before its body was asked for. (Of those that got further there is a line already.)
pub fn refused(caller: &Caller, table: &str, failure: &Failure) {
    if !matches!(failure, Failure::Load { .. }) {
        let reason = failure.to_string();
        line!(caller, "load", "refused", table, rows = 0, bytes = 0, reason = reason.as_str());
    }
}

/// Somebody has asked for a load to be stopped.
pub(super) fn cancelled(caller: &Caller, job: &Job, requested: bool) {
    let outcome = if requested { job.state.name() } else { "refused" };
    line!(caller, "cancel", outcome, job = %job.id, table = job.table.as_str());
}
