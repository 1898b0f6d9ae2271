//! How many streams of events there may be: so many in all, and no more than a part of them for one principal, so that nobody takes them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::metrics::Gauge;
use super::problem::Problem;

/// Of so many one principal may have one.
const PART: usize = 4;

/// The streams that are open; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    /// how many each principal has
    open: Mutex<HashMap<String, usize>>,
    /// how many all have
    gauge: Gauge,
}

/// A place for one stream, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place {
    streams: Streams,
    principal: String,
}

impl Streams {
    pub(super) fn new(max: usize, gauge: Gauge) -> Streams {
        Streams(Arc::new(Inner { max, open: Mutex::default(), gauge }))
    }

    /// A place for this principal; where nobody is asked who they are, they all are the same, and may have all.
    pub(super) fn enter(&self, principal: &str) -> Result<Place, Problem> {
        let Inner { max, gauge, .. } = &*self.0;
        let mut open = self.open();
        let (all, own) = (open.values().sum::<usize>(), open.get(principal).copied().unwrap_or(0));
        let part = if principal.is_empty() { *max } else { max.div_ceil(PART) };
        if all >= *max || own >= part {
            let (count, whose) = if all >= *max { (*max, "") } else { (part, " with this key") };
            let detail = format!("{count} streams of events are open{whose}, which is as many as there may be");
            return Err(Problem::unavailable("too-many-event-streams", detail));
        }
        open.insert(principal.to_owned(), own + 1);
        gauge.inc();
        Ok(Place { streams: self.clone(), principal: principal.to_owned() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        match open.get_mut(&self.principal) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.principal)),
        }
        self.streams.0.gauge.dec();
    }
}
