//! What happens in a trial: all of it follows from the seed and the trial's number.

use std::time::Duration;

use fastrand::Rng;

use crate::body::{Coding, Damage, Format, Rows, is_noticed};
use crate::client::Framing;
use crate::fault::Fault;

/// When a fault strikes, in the order of a load's life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Moment {
    /// nobody has connected yet
    Before,
    /// so much of the body is on its way, between 0 and 1
    Body(f64),
    /// so long after the request began
    After(Duration),
    /// all of the body is on its way
    BodySent,
    /// the ledger row is about to be written
    Ledger,
    /// the job is about to be said to commit
    Committing,
    /// COMMIT is about to reach the server
    CommitAsked,
    /// COMMIT is with the server
    CommitSent,
    /// COMMIT has taken effect, and nobody knows
    CommitDone,
    /// the job's end is about to be written down
    Recording,
    /// the client has its answer
    Answered,
}

impl Moment {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Moment::Before => "before the client connects",
            Moment::Body(_) => "within the body",
            Moment::After(_) => "some milliseconds after the beginning",
            Moment::BodySent => "the body has been sent",
            Moment::Ledger => "the ledger row is on its way to the server",
            Moment::Committing => "the job is about to be `committing`",
            Moment::CommitAsked => "COMMIT is on its way to the server",
            Moment::CommitSent => "COMMIT is with the server",
            Moment::CommitDone => "COMMIT has taken effect, its answer is on its way",
            Moment::Recording => "the job's end is about to be written down",
            Moment::Answered => "the client has its answer",
        }
    }
}

/// Which way to PostgreSQL is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// to the metadata
    Metadata,
    /// to the tables
    Target,
    Both,
}

/// One trial, as it is meant to go.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) number: u64,
    pub(crate) fault: Fault,
    pub(crate) moment: Moment,
    pub(crate) format: Format,
    pub(crate) coding: Coding,
    pub(crate) rows: usize,
    pub(crate) framing: Framing,
    /// a `Content-Digest` is declared
    pub(crate) has_digest: bool,
    pub(crate) damage: Option<Damage>,
    /// rows that the load may leave out, of those that are too large and those that are double
    pub(crate) rejects: Option<(Vec<usize>, Vec<usize>)>,
    /// the jobs' metadata are in a database of their own
    pub(crate) two_databases: bool,
    pub(crate) way: Way,
    /// how long the fault lasts, for those that last
    pub(crate) outage: Duration,
    /// what is left to the fault itself, between 0 and 1
    pub(crate) chance: f64,
    /// where in the body, between 0 and 1
    pub(crate) place: f64,
    /// how long things are left alone between the fault and what it held up
    pub(crate) pause: Duration,
}

impl Plan {
    /// The plan of one trial. Faults take turns, so that every run of some length has all of them.
    pub(crate) fn of(seed: u64, number: u64, faults: &[Fault]) -> Plan {
        let turn = number / faults.len() as u64;
        let fault = faults[(number % faults.len() as u64) as usize];
        // By the fault's name and its turn, and not by the trial's number: a trial is the same whatever faults are asked for.
        let name = fault.name().bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut rng = Rng::with_seed(seed ^ (name << 32) ^ turn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Every format and every coding meets every fault in time.
        let (formats, codings) = (Format::ALL.len() as u64, Coding::ALL.len() as u64);
        let pair = turn.wrapping_add(seed).wrapping_add(name);
        let format = Format::ALL[(pair % formats) as usize];
        let coding = Coding::ALL[(pair % codings) as usize];
        let rows = 10_f64.powf(3.0 + 2.2 * rng.f64()) as usize;
        let damage = damage(fault);
        let noticed = damage.is_none_or(|damage| is_noticed(format, coding, damage));
        let way = [Way::Metadata, Way::Target, Way::Both][rng.usize(..3)];
        let moment = fault.moment(&mut rng, way);
        Plan {
            number,
            fault,
            moment,
            format,
            coding,
            rows,
            framing: if rng.bool() { Framing::Length } else { Framing::Chunks(rng.usize(100..40_000)) },
            has_digest: rng.bool() || !noticed,
            damage,
            rejects: (damage != Some(Damage::Garbled) && rng.u8(..4) == 0).then(|| rejects(&mut rng, rows)),
            two_databases: rng.bool(),
            way,
            outage: outage(&mut rng, moment),
            chance: rng.f64(),
            place: rng.f64(),
            pause: Duration::from_millis(rng.u64(..30)),
        }
    }

    /// The rows of an attempt. A digest says that the body is the first one again.
    pub(crate) fn rows(&self, attempt: u32) -> Rows {
        let (too_large, doubles) = self.rejects.clone().unwrap_or_default();
        let attempt = if self.has_digest { 1 } else { attempt };
        Rows { trial: self.number, attempt, count: self.rows, too_large, doubles }
    }
}

fn damage(fault: Fault) -> Option<Damage> {
    match fault {
        Fault::BodyTruncated => Some(Damage::Truncated),
        Fault::BodyFlipped => Some(Damage::Flipped),
        Fault::BodyGarbled => Some(Damage::Garbled),
        _ => None,
    }
}

/// A few rows of both kinds, never next to each other: a double of a row that is not there would be none.
fn rejects(rng: &mut Rng, rows: usize) -> (Vec<usize>, Vec<usize>) {
    let mut places: Vec<usize> = (0..rng.usize(1..20)).map(|_| rng.usize(1..rows / 2) * 2).collect();
    places.sort_unstable();
    places.dedup();
    places.into_iter().partition(|_| rng.bool())
}

/// Mostly short; around COMMIT, one in four outlasts the time for which the service asks what became of it.
fn outage(rng: &mut Rng, moment: Moment) -> Duration {
    let is_long = rng.u8(..4) == 0 && matches!(moment, Moment::CommitAsked | Moment::CommitSent | Moment::CommitDone);
    Duration::from_millis(if is_long { rng.u64(21_000..24_000) } else { rng.u64(50..4_000) })
}
