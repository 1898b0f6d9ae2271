//! Sums over all loads of this process, for `/metrics`. A load counts while it runs, and not once less when it has ended: what it came to
//! is added to the past in the moment in which it leaves the register.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use crate::error::{LoadError, Stop};
use crate::ingest::Format;
use crate::ingest::meter::Meter;

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// the rows are in the table
    Committed,
    /// nothing is in the table
    Failed,
    /// somebody asked for it to stop; nothing is in the table
    Cancelled,
    /// recovery has to find out
    Pending,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 4] = [Outcome::Committed, Outcome::Failed, Outcome::Cancelled, Outcome::Pending];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Committed => "committed",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
            Outcome::Pending => "pending",
        }
    }
}

impl From<&Result<u64, LoadError>> for Outcome {
    fn from(result: &Result<u64, LoadError>) -> Outcome {
        match result {
            Ok(_) => Outcome::Committed,
            Err(LoadError::OutcomePending) => Outcome::Pending,
            Err(LoadError::Stopped(Stop::Cancelled)) => Outcome::Cancelled,
            Err(_) => Outcome::Failed,
        }
    }
}

/// What loads add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// rows parsed, those that were turned away too
    pub rows_received: u64,
    /// rows committed
    pub rows_loaded: u64,
    /// rows turned away
    pub rows_rejected: u64,
    /// bytes of bodies as they came
    pub bytes_received: u64,
    /// bytes of bodies without their codings
    pub bytes_decoded: u64,
    /// microseconds in each stage, in the order of [`STAGES`]
    pub stage_micros: [u64; 5],
}

/// The stages that a load's time is split into.
pub const STAGES: [&str; 5] = ["queue", "client_wait", "encode", "database", "commit"];

impl From<&Meter> for Sums {
    /// Copied is not committed, so nothing is loaded yet.
    fn from(meter: &Meter) -> Sums {
        let stages = [&meter.queue, &meter.client_wait, &meter.encode, &meter.database, &meter.commit];
        Sums {
            rows_received: meter.rows_received.get(),
            rows_loaded: 0,
            rows_rejected: meter.rows_rejected.get(),
            bytes_received: meter.bytes_received.get(),
            bytes_decoded: meter.bytes_decoded.get(),
            stage_micros: stages.map(|clock| clock.micros()),
        }
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        self.rows_received += other.rows_received;
        self.rows_loaded += other.rows_loaded;
        self.rows_rejected += other.rows_rejected;
        self.bytes_received += other.bytes_received;
        self.bytes_decoded += other.bytes_decoded;
        for (own, other) in self.stage_micros.iter_mut().zip(other.stage_micros) {
            *own += other;
        }
    }
}

/// All loads of one format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loads {
    /// begun so far
    pub started: u64,
    /// running now
    pub running: u64,
    /// ended so far
    pub finished: BTreeMap<Outcome, u64>,
    /// and what they came to, the running ones as of now
    pub sums: Sums,
}

/// All loads by format.
#[derive(Debug, Clone)]
pub struct Tally(BTreeMap<&'static str, Loads>);

impl Tally {
    /// Nothing of anything yet, but each of it: what is not there cannot be seen to grow.
    pub(super) fn new() -> Tally {
        let finished: BTreeMap<Outcome, u64> = Outcome::ALL.into_iter().map(|outcome| (outcome, 0)).collect();
        let none = Loads { finished, ..Loads::default() };
        Tally(Format::NAMES.into_iter().map(|format| (format, none.clone())).collect())
    }

    /// By the names of the formats.
    pub fn formats(&self) -> impl Iterator<Item = (&'static str, &Loads)> {
        self.0.iter().map(|(format, loads)| (*format, loads))
    }

    pub(super) fn of(&mut self, format: &'static str) -> &mut Loads {
        self.0.entry(format).or_default()
    }
}

impl Loads {
    pub(super) fn end(&mut self, meter: &Meter, outcome: Outcome, rows_loaded: u64) {
        *self.finished.entry(outcome).or_default() += 1;
        self.sums += Sums { rows_loaded, ..Sums::from(meter) };
    }
}
