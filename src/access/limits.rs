//! How much a principal may ask for, on this instance: requests by the minute, loads at a time, bytes by the hour.
//!
//! Requests and bytes are buckets that fill up steadily: a bucket that is full holds a minute's or an hour's worth, which may be taken at
//! once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From how many principals on those that ask for nothing any more are forgotten.
const ALLOWANCES_MAX: usize = 10_000;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What somebody may ask for; without a number, as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// requests a minute
    pub requests_per_minute: Option<u32>,
    /// loads at a time
    pub loads: Option<u32>,
    /// bytes of bodies an hour, as they come
    pub bytes_per_hour: Option<u64>,
}

/// What is over a limit, and when it may be under it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// too many requests
    #[error("you may make {limit} requests a minute")]
    Requests {
        /// the limit
        limit: u32,
        /// when there is room for another one
        after: Duration,
    },
    /// too many loads
    #[error("you may have {limit} load(s) at a time, and have them")]
    Loads {
        /// the limit
        limit: u32,
    },
    /// too many bytes
    #[error("you may send {limit} bytes an hour, and have {left} left")]
    Bytes {
        /// the limit
        limit: u64,
        /// what is left
        left: u64,
        /// when there is enough again
        after: Duration,
    },
    /// more bytes than there ever will be at once
    #[error("you may send {limit} bytes an hour, and the body has more")]
    Never {
        /// the limit
        limit: u64,
    },
}

impl Exceeded {
    /// The name of the limit.
    pub fn quota(&self) -> &'static str {
        match self {
            Exceeded::Requests { .. } => "requests",
            Exceeded::Loads { .. } => "loads",
            Exceeded::Bytes { .. } | Exceeded::Never { .. } => "bytes",
        }
    }

    /// When there will be room again, if that is known.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Exceeded::Requests { after, .. } | Exceeded::Bytes { after, .. } => Some(*after),
            Exceeded::Loads { .. } | Exceeded::Never { .. } => None,
        }
    }
}

/// One limit as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// its name
    pub name: &'static str,
    /// what it is of, by the names of draft-ietf-httpapi-ratelimit-headers
    pub unit: &'static str,
    /// how many there are when nothing has been taken
    pub size: u64,
    /// within which time they come back, if that is a matter of time
    pub window: Option<Duration>,
    /// how many are left
    pub left: u64,
    /// when all of them will be there again
    pub full_after: Option<Duration>,
}

/// Fills up steadily, and can be taken from.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    size: f64,
    window: Duration,
    level: f64,
    seen: Instant,
}

impl Bucket {
    fn full(size: u64, window: Duration) -> Bucket {
        Bucket { size: size as f64, window, level: size as f64, seen: Instant::now() }
    }

    fn refill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.seen).as_secs_f64() * self.size / self.window.as_secs_f64();
        self.level = (self.level + gained).min(self.size);
        self.seen = now;
    }

    /// Takes so much, or says how long it takes until there is so much.
    fn take(&mut self, amount: f64, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        if amount > self.level {
            return Err(self.time_for(amount));
        }
        self.level -= amount;
        Ok(())
    }

    fn time_for(&self, level: f64) -> Duration {
        self.window.mul_f64(((level.min(self.size) - self.level) / self.size).max(0.0))
    }

    fn left(&self) -> u64 {
        self.level as u64
    }
}

#[derive(Debug)]
struct Account {
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
    loads: u32,
}

/// What is left of somebody's limits on this instance.
#[derive(Debug)]
pub struct Allowance {
    limits: Limits,
    account: Mutex<Account>,
}

/// A load that counts; it ends when this is dropped.
#[derive(Debug)]
pub struct Counted(Arc<Allowance>);

impl Allowance {
    fn new(limits: Limits) -> Allowance {
        let account = Account {
            requests: limits.requests_per_minute.map(|size| Bucket::full(size.into(), MINUTE)),
            bytes: limits.bytes_per_hour.map(|size| Bucket::full(size, HOUR)),
            loads: 0,
        };
        Allowance { limits, account: Mutex::new(account) }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// It is one too many.
    pub fn request(&self) -> Result<(), Exceeded> {
        let limit = self.limits.requests_per_minute.unwrap_or_default();
        self.with(|account| match &mut account.requests {
            Some(bucket) => bucket.take(1.0, Instant::now()).map_err(|after| Exceeded::Requests { limit, after }),
            None => Ok(()),
        })
    }

    /// Counts a load. One that says how many bytes it has is held to that before the first of them comes.
    ///
    /// # Errors
    /// It is one too many, or has too many bytes.
    pub fn load(self: &Arc<Self>, declared_bytes: Option<u64>) -> Result<Counted, Exceeded> {
        self.with(|account| {
            if let (Some(bucket), Some(bytes)) = (&mut account.bytes, declared_bytes) {
                bucket.refill(Instant::now());
                self.check_bytes(bucket, bytes)?;
            }
            if let Some(limit) = self.limits.loads.filter(|limit| account.loads >= *limit) {
                return Err(Exceeded::Loads { limit });
            }
            account.loads += 1;
            Ok(())
        })?;
        Ok(Counted(Arc::clone(self)))
    }

    /// Counts bytes of a body that have come.
    ///
    /// # Errors
    /// They are too many.
    pub fn bytes(&self, bytes: usize) -> Result<(), Exceeded> {
        self.with(|account| match &mut account.bytes {
            Some(bucket) => match bucket.take(bytes as f64, Instant::now()) {
                Ok(()) => Ok(()),
                // Whoever comes back as soon as there is enough for these would get no further.
                Err(_) => Err(self.too_many_bytes(bucket, bucket.size)),
            },
            None => Ok(()),
        })
    }

    fn check_bytes(&self, bucket: &Bucket, bytes: u64) -> Result<(), Exceeded> {
        let limit = self.limits.bytes_per_hour.unwrap_or_default();
        if bytes > limit {
            return Err(Exceeded::Never { limit });
        }
        if bytes > bucket.left() {
            return Err(self.too_many_bytes(bucket, bytes as f64));
        }
        Ok(())
    }

    fn too_many_bytes(&self, bucket: &Bucket, wanted: f64) -> Exceeded {
        let limit = self.limits.bytes_per_hour.unwrap_or_default();
        Exceeded::Bytes { limit, left: bucket.left(), after: bucket.time_for(wanted) }
    }

    /// Every limit that there is, as it stands.
    pub fn quotas(&self) -> Vec<Quota> {
        let steady = |name, unit, bucket: &mut Bucket| {
            bucket.refill(Instant::now());
            Quota {
                name,
                unit,
                size: bucket.size as u64,
                window: Some(bucket.window),
                left: bucket.left(),
                full_after: Some(bucket.time_for(bucket.size)),
            }
        };
        self.with(|account| {
            let requests = account.requests.as_mut().map(|bucket| steady("requests", "requests", bucket));
            let at_work = account.loads;
            let loads = self.limits.loads.map(|limit| Quota {
                name: "loads",
                unit: "concurrent-requests",
                size: limit.into(),
                window: None,
                left: limit.saturating_sub(at_work).into(),
                full_after: None,
            });
            let bytes = account.bytes.as_mut().map(|bucket| steady("bytes", "content-bytes", bucket));
            [requests, loads, bytes].into_iter().flatten().collect()
        })
    }

    fn is_untouched(&self) -> bool {
        self.with(|account| {
            let full = |bucket: &mut Option<Bucket>| {
                bucket.as_mut().is_none_or(|bucket| {
                    bucket.refill(Instant::now());
                    bucket.level >= bucket.size
                })
            };
            account.loads == 0 && full(&mut account.requests) && full(&mut account.bytes)
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Account) -> T) -> T {
        act(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.with(|account| account.loads -= 1);
    }
}

/// What is left to everybody.
#[derive(Debug, Default)]
pub(super) struct Allowances(Mutex<HashMap<String, Arc<Allowance>>>);

impl Allowances {
    /// What is left to one; `None` for whoever has no limits.
    pub(super) fn of(&self, principal: &str, limits: Limits) -> Option<Arc<Allowance>> {
        if limits == Limits::default() {
            return None;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(principal) {
            Some(allowance) if allowance.limits == limits => Some(Arc::clone(allowance)),
            _ => {
                if all.len() >= ALLOWANCES_MAX {
                    all.retain(|_, allowance| !allowance.is_untouched());
                }
                let allowance = Arc::new(Allowance::new(limits));
                all.insert(principal.to_owned(), Arc::clone(&allowance));
                Some(allowance)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_is_in_it_and_fills_up() {
        let mut bucket = Bucket::full(60, MINUTE);
        let begin = bucket.seen;
        for _ in 0..60 {
            bucket.take(1.0, begin).unwrap();
        }
        assert_eq!(bucket.take(1.0, begin), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(1.0, begin + Duration::from_millis(1500)), Ok(()));
        assert_eq!(bucket.left(), 0);
        bucket.refill(begin + HOUR);
        assert_eq!(bucket.left(), 60);
        // A clock that seems to go back gives nothing.
        bucket.take(60.0, begin + HOUR).unwrap();
        assert!(bucket.take(1.0, begin).is_err());
    }

    #[test]
    fn loads_and_bytes_are_counted() {
        let limits = Limits { loads: Some(1), bytes_per_hour: Some(3600), ..Limits::default() };
        let allowances = Allowances::default();
        let allowance = allowances.of("a", limits).unwrap();
        let load = allowance.load(None).unwrap();
        assert_eq!(allowances.of("a", limits).unwrap().load(None).unwrap_err(), Exceeded::Loads { limit: 1 });
        assert!(allowances.of("b", limits).unwrap().load(None).is_ok());
        drop(load);
        assert_eq!(allowance.load(Some(3601)).unwrap_err(), Exceeded::Never { limit: 3600 });
        drop(allowance.load(Some(3600)).unwrap());
        allowance.bytes(3000).unwrap();
        assert!(matches!(
            allowance.load(Some(700)).unwrap_err(),
            Exceeded::Bytes { limit: 3600, left: 600..=602, .. }
        ));
        assert!(matches!(allowance.bytes(700).unwrap_err(), Exceeded::Bytes { .. }));
        assert!(allowances.of("c", Limits::default()).is_none());
    }
}
