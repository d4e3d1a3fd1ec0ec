//! When each object store is to be tried again. Pure but for the clock of tokio.
//!
//! Kept in memory alone: a restart tries every store once, which costs a request and no write.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

#[derive(Clone, Copy)]
struct Next {
    generation: Option<i64>,
    at: Instant,
}

/// When each object store is to be tried again, by its uid.
#[derive(Default)]
pub struct ProbeTimes(Mutex<HashMap<String, Next>>);

impl ProbeTimes {
    /// Whether it is time for an object store: its pause is over, or its spec changed.
    pub fn is_due(&self, uid: &str, generation: Option<i64>) -> bool {
        let next = self.lock().get(uid).copied();
        next.is_none_or(|next| next.generation != generation || next.at <= Instant::now())
    }

    /// It was tried just now, and rests for about as long as this: a little less, so that not all come at once.
    pub fn tried(&self, uid: &str, generation: Option<i64>, pause: Duration) {
        let at = Instant::now() + pause.mul_f64(rand::random_range(0.8..1.0));
        self.lock().insert(uid.to_owned(), Next { generation, at });
    }

    /// How long it rests yet.
    pub fn wait(&self, uid: &str) -> Duration {
        let next = self.lock().get(uid).copied();
        // A moment longer, so that the time has come.
        next.map_or(Duration::ZERO, |next| {
            next.at.saturating_duration_since(Instant::now())
        }) + Duration::from_millis(50)
    }

    /// It is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Next>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_rests_between_two_probes_unless_it_changed() {
        let probes = ProbeTimes::default();
        let pause = Duration::from_secs(300);
        assert!(probes.is_due("a", Some(1)));
        probes.tried("a", Some(1), pause);
        assert!(!probes.is_due("a", Some(1)));
        assert!(probes.is_due("a", Some(2)) && probes.is_due("b", Some(1)));
        let wait = probes.wait("a");
        assert!(wait > pause.mul_f64(0.79) && wait < pause, "{wait:?}");
        tokio::time::advance(wait).await;
        assert!(probes.is_due("a", Some(1)));
        probes.tried("a", Some(1), pause);
        probes.forget("a");
        assert!(probes.is_due("a", Some(1)));
    }
}
