//! Short queries go before loads.
//!
//! Where both want the same processors, loads slow down as far as queries need it: the idea of LEDBAT (RFC 6817), which is a transport for
//! what may wait. Each query tells how long it took, and who has waited for it. As long as they take much longer than the quickest one did, and
//! somebody waits for that all the time, the rest that a load takes after every so many bytes grows; as soon as it is not so, it shrinks.
//! While few ask, and wherever there is room for both, loads take none at all.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The rest is for so many bytes on their way to PostgreSQL.
const REST_BYTES: usize = 64 << 10;
/// How often the rest is reconsidered.
const WINDOW: Duration = Duration::from_millis(10);
/// Over what time it is counted how many wait.
const MEMORY: Duration = Duration::from_millis(100);
/// So many have to wait, on average, for what a late query is late: a load is not slowed down for one now and then.
const WAITING_MIN: f64 = 1.0;
/// By how much it grows at a time, and what is not worth a break.
const STEP: Duration = Duration::from_micros(200);
/// What is left of it when it shrinks, in tenths.
const SHRINK_TENTHS: u32 = 9;
/// A load goes on with some 12 MB/s at least, whatever it is that holds the queries up.
const REST_MAX: Duration = Duration::from_millis(4);
/// At a time: by the end of it nobody may be asking any more, even if the row before was a large one.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// What is owed until it is worth to be slept: timers are no finer.
const REST_MIN: Duration = Duration::from_millis(1);
/// The quickest query is one of at most twice that time: servers change, and networks.
const QUICKEST_SPAN: Duration = Duration::from_secs(10);
/// What takes longer is held up by something else, as a lock or a dead link: no rest would help.
const BEYOND: Duration = Duration::from_millis(100);

/// What both engines know of one another; cheap to clone.
#[derive(Debug, Clone)]
pub struct Precedence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// how much longer than the quickest one queries may take; zero if loads take no notice
    delay_max: Duration,
    /// those who were answered in this window, and by how many microseconds too late
    answered: AtomicU64,
    late_micros: AtomicU64,
    pace: Mutex<Pace>,
    rested_micros: AtomicU64,
}

#[derive(Debug)]
struct Pace {
    window: Instant,
    /// how many wait for what queries are late
    waiting: f64,
    /// after every [`REST_BYTES`]
    rest: Duration,
}

impl Precedence {
    /// Queries may take so much longer than the quickest one before loads slow down; with zero they never do.
    pub fn new(delay_max: Duration) -> Precedence {
        Precedence(Arc::new(Inner {
            delay_max,
            answered: AtomicU64::new(0),
            late_micros: AtomicU64::new(0),
            pace: Mutex::new(Pace { window: Instant::now(), waiting: 0.0, rest: Duration::ZERO }),
            rested_micros: AtomicU64::new(0),
        }))
    }

    /// For queries that are alike, on one server.
    pub fn queries(&self) -> Queries {
        Queries { precedence: self.clone(), quickest: Mutex::new(Quickest::new(Instant::now())) }
    }

    /// For one load.
    pub fn pacer(&self) -> Pacer {
        Pacer { precedence: self.clone(), owed: Duration::ZERO }
    }

    /// How long loads have rested so far, all of them together.
    pub fn rested(&self) -> Duration {
        Duration::from_micros(self.0.rested_micros.load(Relaxed))
    }

    /// How long a load has to rest now.
    fn rest(&self, now: Instant) -> Duration {
        if self.0.delay_max.is_zero() {
            return Duration::ZERO;
        }
        let mut pace = lock(&self.0.pace);
        let window = now.saturating_duration_since(pace.window);
        if window >= WINDOW {
            pace.window = now;
            let rest = if self.are_late(window, &mut pace.waiting) { pace.rest + STEP } else { pace.rest * SHRINK_TENTHS / 10 };
            pace.rest = if rest < STEP { Duration::ZERO } else { rest.min(REST_MAX) };
        }
        pace.rest
    }

    /// Whether the queries of this window took too long for too many. It ends here.
    fn are_late(&self, window: Duration, waiting: &mut f64) -> bool {
        let (answered, late_micros) = (self.0.answered.swap(0, Relaxed), self.0.late_micros.swap(0, Relaxed));
        let of_memory = window.div_duration_f64(MEMORY).min(1.0);
        *waiting += (Duration::from_micros(late_micros).div_duration_f64(window) - *waiting) * of_memory;
        let mean = late_micros.checked_div(answered);
        *waiting > WAITING_MIN && mean.is_some_and(|mean| Duration::from_micros(mean) > self.0.delay_max)
    }
}

/// Tells how queries fare. They have to be alike: what one takes longer than the quickest is taken for the time that it had to wait.
#[derive(Debug)]
pub struct Queries {
    precedence: Precedence,
    quickest: Mutex<Quickest>,
}

/// The least time of this span and of the one before.
#[derive(Debug)]
struct Quickest {
    since: Instant,
    before: Duration,
    now: Duration,
}

impl Queries {
    /// One was answered, for which so many had waited so long.
    pub fn answered(&self, took: Duration, waiting: usize) {
        self.answered_at(Instant::now(), took, waiting as u64);
    }

    fn answered_at(&self, now: Instant, took: Duration, waiting: u64) {
        if took >= BEYOND {
            return;
        }
        let late = took.saturating_sub(lock(&self.quickest).with(now, took));
        self.precedence.0.answered.fetch_add(waiting, Relaxed);
        self.precedence.0.late_micros.fetch_add(late.as_micros() as u64 * waiting, Relaxed);
    }
}

impl Quickest {
    fn new(now: Instant) -> Quickest {
        Quickest { since: now, before: Duration::MAX, now: Duration::MAX }
    }

    /// The least time, this one included.
    fn with(&mut self, now: Instant, took: Duration) -> Duration {
        let age = now.saturating_duration_since(self.since);
        if age >= QUICKEST_SPAN {
            let before = if age < 2 * QUICKEST_SPAN { self.now } else { Duration::MAX };
            *self = Quickest { since: now, before, now: took };
        }
        self.now = self.now.min(took);
        self.now.min(self.before)
    }
}

/// Makes a load rest.
#[derive(Debug)]
pub struct Pacer {
    precedence: Precedence,
    owed: Duration,
}

impl Pacer {
    /// So many bytes are on their way.
    pub async fn passed(&mut self, bytes: usize) {
        let now = Instant::now();
        self.owed += self.precedence.rest(now).mul_f64(bytes as f64 / REST_BYTES as f64);
        if self.owed >= REST_MIN {
            tokio::time::sleep(self.owed.min(SLEEP_MAX)).await;
            let rested = now.elapsed();
            self.owed = Duration::ZERO;
            self.precedence.0.rested_micros.fetch_add(rested.as_micros() as u64, Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(1);
    const QUICK: Duration = Duration::from_micros(300);
    const LATE: Duration = Duration::from_millis(5);
    /// who ask for the same
    const CROWD: u64 = 40;

    /// Queries and loads under a clock of the test's own.
    struct Days {
        precedence: Precedence,
        queries: Queries,
        now: Instant,
    }

    impl Days {
        fn new(delay_max: Duration) -> Days {
            let precedence = Precedence::new(delay_max);
            Days { queries: precedence.queries(), precedence, now: Instant::now() }
        }

        /// So many windows, in each of which queries of these times were answered, and the rest after the last one.
        fn pass(&mut self, windows: u128, took: &[Duration]) -> Duration {
            for _ in 0..windows {
                took.iter().for_each(|took| self.queries.answered_at(self.now, *took, CROWD));
                self.now += WINDOW;
                self.precedence.rest(self.now);
            }
            self.precedence.rest(self.now)
        }
    }

    #[test]
    fn loads_rest_while_queries_are_late_and_no_longer() {
        let mut days = Days::new(MAX);
        assert_eq!(days.pass(5, &[]), Duration::ZERO);
        assert_eq!(days.pass(5, &[QUICK, QUICK + MAX]), Duration::ZERO);
        assert_eq!(days.pass(1, &[QUICK, LATE, LATE]), STEP);
        assert_eq!(days.pass(100, &[LATE]), REST_MAX);
        let less = days.pass(1, &[QUICK]);
        assert!(less < REST_MAX && !less.is_zero(), "{less:?}");
        assert_eq!(days.pass(40, &[QUICK]), Duration::ZERO);
        days.pass(100, &[LATE]);
        assert_eq!(days.pass(40, &[]), Duration::ZERO, "nobody asks any more");
    }

    #[test]
    fn a_load_is_not_slowed_down_for_few() {
        let mut days = Days::new(MAX);
        days.pass(1, &[QUICK]);
        for _ in 0..500 {
            // 100 in a second, each of them late by 4.7 ms: on average not even one that waits.
            days.queries.answered_at(days.now, LATE, 1);
            assert_eq!(days.pass(1, &[]), Duration::ZERO);
        }
        for _ in 0..500 {
            days.queries.answered_at(days.now, LATE, 5);
            days.pass(1, &[]);
        }
        assert_eq!(days.pass(0, &[]), REST_MAX);
    }

    #[test]
    fn a_server_far_away_is_not_a_late_one() {
        assert_eq!(Days::new(MAX).pass(50, &[LATE, LATE + MAX]), Duration::ZERO);
        // Farther away than it was: what was quick once is forgotten, though not at once.
        let mut days = Days::new(MAX);
        days.pass(1, &[QUICK]);
        let span = QUICKEST_SPAN.as_millis() / WINDOW.as_millis();
        assert_eq!(days.pass(span / 2, &[LATE]), REST_MAX);
        assert_eq!(days.pass(span, &[LATE]), REST_MAX);
        assert_eq!(days.pass(span, &[LATE]), Duration::ZERO);
        // Or nobody has asked for a while.
        let mut days = Days::new(MAX);
        days.pass(1, &[QUICK]);
        days.pass(3 * span, &[]);
        assert_eq!(days.pass(5, &[LATE]), Duration::ZERO);
    }

    #[test]
    fn each_kind_of_query_is_held_against_its_own() {
        let mut days = Days::new(MAX);
        let slower = days.precedence.queries();
        for _ in 0..50 {
            slower.answered_at(days.now, LATE, CROWD);
            assert_eq!(days.pass(1, &[QUICK]), Duration::ZERO);
        }
    }

    #[test]
    fn what_no_rest_would_help_is_no_reason_for_one() {
        let mut days = Days::new(MAX);
        days.pass(1, &[QUICK]);
        assert_eq!(days.pass(50, &[BEYOND, BEYOND * 50]), Duration::ZERO);
        let mut off = Days::new(Duration::ZERO);
        off.pass(1, &[QUICK]);
        assert_eq!(off.pass(50, &[LATE]), Duration::ZERO, "it is switched off");
    }

    #[tokio::test]
    async fn a_load_rests_by_its_bytes() {
        let mut days = Days::new(MAX);
        // The windows to come are over before this one has begun: nothing changes meanwhile.
        days.now += Duration::from_secs(3600);
        days.pass(1, &[QUICK]);
        assert_eq!(days.pass(1, &[QUICK, LATE]), STEP);
        let mut pacer = days.precedence.pacer();
        pacer.passed(REST_BYTES * 4).await;
        assert_eq!(days.precedence.rested(), Duration::ZERO, "0.8 ms are not worth it");
        pacer.passed(REST_BYTES * 6).await;
        assert!(days.precedence.rested() >= STEP * 10, "{:?}", days.precedence.rested());
        assert!(pacer.owed.is_zero());
    }
}
