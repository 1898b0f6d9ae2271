//! Rows that are turned away while the rest of the load goes on: what is kept of each, whichever stage found it, and how many there may
//! be before the load as a whole is given up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::meter::Meter;
use crate::error::{Excess, RowError};

/// What a reject takes beside its texts: itself, in a list that may be twice as long as it need be, and the allocations of its texts.
const REJECT_OVERHEAD_BYTES: usize = 2 * size_of::<Reject>() + 128;

/// What a bad row does to its load.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum OnError {
    /// it ends it
    #[default]
    Abort,
    /// it is turned away, as long as there are not too many
    Skip(Tolerance),
}

/// How many rows may be turned away; when there are more, nothing is loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// so many
    pub limit: u64,
    /// and such a share of all rows, from 0 to 1
    pub ratio: Option<f64>,
}

/// A row that was turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// where it stands and what is wrong with it
    pub error: RowError,
    /// the record as it came, without its line end; of a format that is not text, as a record of CSV
    pub record: Vec<u8>,
}

/// What was turned away so far.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// what stands before the records, if anything: the header of a CSV
    pub header: Option<Vec<u8>>,
    /// the rows, in the order in which they were found
    pub rejects: Vec<Reject>,
}

/// The rejects of one load. Both stages that find bad rows add to them, each on its own thread.
#[derive(Debug)]
pub struct Rejects {
    tolerance: Tolerance,
    report_bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    report: Report,
    bytes: usize,
    /// the report in the order of the body, once somebody has asked for it
    closed: Option<Arc<Report>>,
    /// what ended the load; whoever comes later hears of it too
    excess: Option<Excess>,
}

impl Rejects {
    /// None yet.
    pub fn new(tolerance: Tolerance, report_bytes_max: usize) -> Rejects {
        Rejects { tolerance, report_bytes_max, state: Mutex::default() }
    }

    /// Closes the report, if that has not been done, and shows it, in the order of the body. What a stage finds that does not know yet
    /// that the load is over comes too late.
    pub fn close(&self) -> Arc<Report> {
        let mut state = self.lock();
        if let Some(closed) = &state.closed {
            return Arc::clone(closed);
        }
        let mut report = std::mem::take(&mut state.report);
        report.rejects.sort_by_key(|reject| {
            let position = &reject.error.position;
            (position.byte_offset.or(position.row), position.line)
        });
        Arc::clone(state.closed.insert(Arc::new(report)))
    }

    /// Says what has to stand before the records to make them a body again.
    pub(super) fn set_header(&self, header: &[u8]) {
        self.lock().report.header = Some(header.to_vec());
    }

    /// Turns a row away. The one that is too many is in the report too, so that there is one even where there may be none.
    pub(super) fn add(&self, error: RowError, record: Vec<u8>, meter: &Meter) -> Result<(), Excess> {
        let mut state = self.lock();
        if let Some(excess) = &state.excess {
            return Err(excess.clone());
        }
        if state.closed.is_some() {
            return Ok(());
        }
        let texts = [error.value.as_deref(), error.type_name.as_deref(), Some(&error.reason), error.position.column.as_deref()];
        let texts: usize = texts.into_iter().flatten().map(str::len).sum();
        state.bytes += REJECT_OVERHEAD_BYTES + texts + record.len();
        if state.bytes > self.report_bytes_max {
            return Err(state.end(Excess::Report { limit: self.report_bytes_max }));
        }
        state.report.rejects.push(Reject { error, record });
        meter.rows_rejected.add(1);
        let limit = self.tolerance.limit;
        if state.report.rejects.len() as u64 > limit {
            return Err(state.end(Excess::Limit { limit }));
        }
        Ok(())
    }

    /// Holds the share, which only the end of the body tells.
    pub(super) fn check_ratio(&self, received: u64) -> Result<(), Excess> {
        let rejected = self.lock().report.rejects.len() as u64;
        match self.tolerance.ratio {
            Some(ratio) if rejected as f64 > ratio * received as f64 => Err(Excess::Ratio { rejected, received, ratio }),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, excess: Excess) -> Excess {
        self.excess = Some(excess.clone());
        excess
    }
}
