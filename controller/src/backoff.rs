//! How long an object that failed waits for its next try. Pure but for the clock of tokio.
//!
//! Kept by uid, so that an object made anew under an old name starts afresh. A run that some event brought on
//! before the wait was over does not make the wait longer.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Copy)]
struct Wait {
    failures: u32,
    until: Instant,
}

/// The waits of all objects of a kind.
#[derive(Default)]
pub struct Backoff {
    waits: Mutex<HashMap<String, Wait>>,
}

impl Backoff {
    /// The wait of an object that just failed.
    pub fn failed(&self, uid: &str) -> Duration {
        let now = Instant::now();
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = waits.get(uid).copied();
        if let Some(wait) = previous.filter(|wait| wait.until > now) {
            return wait.until - now;
        }
        let failures = previous.map_or(0, |wait| wait.failures) + 1;
        let doubled = FIRST
            .saturating_mul(1 << (failures - 1).min(10))
            .min(LONGEST);
        let wait = doubled.mul_f64(rand::random_range(0.8..1.0));
        waits.insert(
            uid.to_owned(),
            Wait {
                failures,
                until: now + wait,
            },
        );
        wait
    }

    /// The object succeeded, or is gone.
    pub fn reset(&self, uid: &str) {
        self.waits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn doubles_up_to_the_longest_and_starts_afresh() {
        let backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            let wait = backoff.failed("uid");
            waits.push(wait);
            tokio::time::advance(wait).await;
        }
        for (index, wait) in waits.iter().enumerate() {
            let most = (FIRST * 2u32.pow(u32::try_from(index).unwrap())).min(LONGEST);
            assert!(
                *wait <= most && *wait >= most.mul_f64(0.8),
                "{index}: {wait:?}"
            );
        }
        backoff.reset("uid");
        assert!(backoff.failed("uid") <= FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_run_does_not_lengthen_the_wait() {
        let backoff = Backoff::default();
        let first = backoff.failed("uid");
        tokio::time::advance(first / 2).await;
        assert_eq!(backoff.failed("uid"), first - first / 2);
        assert!(backoff.failed("another") <= FIRST);
    }
}
