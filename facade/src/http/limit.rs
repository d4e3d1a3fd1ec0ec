//! How often somebody may do something: a token bucket for each, in memory. Pure but for its own memory, which is
//! bounded; the clock is the caller's. Every replica counts for itself.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue};

use crate::domain::failure::{Code, Failure};

/// How many buckets are kept. Beyond that, the full ones are forgotten, and if none is full, all are.
const MAX_BUCKETS: usize = 10_000;

/// How often.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// A second, in the long run.
    pub per_second: u32,
}

/// What is left for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// How much a full bucket holds.
    pub burst: u32,
    /// How many are left at once.
    pub remaining: u32,
    /// How long it takes to fill an empty bucket.
    pub window: Duration,
    /// How long it takes for this one to be full.
    pub full_in: Duration,
    /// How long to wait, when nothing was left.
    pub retry_after: Option<Duration>,
}

/// The buckets of everybody.
#[derive(Debug)]
pub struct Buckets<K> {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The failure to answer with, when nothing was left.
pub fn refusal(allowance: &Allowance) -> Option<Failure> {
    let wait = Duration::from_secs(seconds(allowance.retry_after?).max(1));
    Some(Failure {
        retry_after: Some(wait),
        ..Failure::new(
            Code::RateLimited,
            format!(
                "More than {} requests at once, or too many in the long run. Try again in {} s.",
                allowance.burst,
                wait.as_secs()
            ),
        )
    })
}

/// Tells what is left, as
/// [draft-ietf-httpapi-ratelimit-headers](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/) says.
pub fn set_headers(headers: &mut HeaderMap, allowance: &Allowance) {
    let (burst, window) = (allowance.burst, seconds(allowance.window));
    let (remaining, full_in) = (allowance.remaining, seconds(allowance.full_in));
    for (name, value) in [
        ("ratelimit-policy", format!("\"key\";q={burst};w={window}")),
        ("ratelimit", format!("\"key\";r={remaining};t={full_in}")),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl<K: Eq + Hash> Buckets<K> {
    /// Full buckets. At least one at once, and one a second.
    pub fn new(rate: Rate) -> Self {
        Self {
            burst: f64::from(rate.burst.max(1)),
            per_second: f64::from(rate.per_second.max(1)),
            buckets: Mutex::default(),
        }
    }

    /// Takes one from somebody's bucket, if there is one.
    pub fn take(&self, key: K, now: Instant) -> Allowance {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| self.tokens(bucket, now) < self.burst);
            if buckets.len() >= MAX_BUCKETS {
                buckets.clear();
            }
        }
        let full = Bucket {
            tokens: self.burst,
            at: now,
        };
        let bucket = buckets.entry(key).or_insert(full);
        let tokens = self.tokens(bucket, now);
        let allowed = tokens >= 1.0;
        let left = if allowed { tokens - 1.0 } else { tokens };
        *bucket = Bucket {
            tokens: left,
            at: now,
        };
        let time_for = |tokens: f64| Duration::from_secs_f64(tokens.max(0.0) / self.per_second);
        Allowance {
            burst: self.burst as u32,
            remaining: left as u32,
            window: time_for(self.burst),
            full_in: time_for(self.burst - left),
            retry_after: (!allowed).then(|| time_for(1.0 - left)),
        }
    }

    fn tokens(&self, bucket: &Bucket, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.tokens + gained).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let buckets = Buckets::new(Rate {
            burst: 3,
            per_second: 2,
        });
        let begin = Instant::now();
        for remaining in [2, 1, 0] {
            let allowance = buckets.take("a", begin);
            assert_eq!(
                (allowance.remaining, allowance.retry_after),
                (remaining, None)
            );
        }
        let refused = buckets.take("a", begin);
        assert_eq!(refused.retry_after, Some(Duration::from_millis(500)));
        assert_eq!(refused.full_in, Duration::from_millis(1500));
        assert_eq!(buckets.take("b", begin).retry_after, None);
        let later = begin + Duration::from_millis(500);
        assert_eq!(buckets.take("a", later).retry_after, None);
        assert!(buckets.take("a", later).retry_after.is_some());
        let much_later = begin + Duration::from_secs(100);
        assert_eq!(buckets.take("a", much_later).remaining, 2);
    }

    #[test]
    fn memory_is_bounded() {
        let buckets = Buckets::new(Rate {
            burst: 2,
            per_second: 1,
        });
        let now = Instant::now();
        for key in 0..3 * MAX_BUCKETS {
            buckets.take(key, now);
        }
        assert!(buckets.buckets.lock().unwrap().len() <= MAX_BUCKETS);
    }
}
