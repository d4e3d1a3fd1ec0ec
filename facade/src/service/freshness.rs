//! How fresh the record of the cluster is. Pure, but for the clock; told by a job, asked by every read.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::ports::Dependency;
use crate::domain::failure::Failure;

/// Readers are told when the cluster was not heard for longer than this.
pub const STALE_AFTER: Duration = Duration::from_secs(15);

/// When the cluster was last heard by the replica that mirrors it.
#[derive(Debug, Default)]
pub struct Freshness(Mutex<Option<Instant>>);

impl Freshness {
    /// The cluster was heard this long ago. Absent: never.
    pub fn set(&self, age: Option<Duration>) {
        let heard = age.and_then(|age| Instant::now().checked_sub(age));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }

    /// How old the record is. Absent: there is none yet.
    pub fn age(&self) -> Option<Duration> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|heard| heard.elapsed())
    }

    /// How old the record is, when that is more than readers may silently be given.
    ///
    /// # Errors
    /// When the cluster was never heard: an empty list would be a lie.
    pub fn staleness(&self) -> Result<Option<Duration>, Failure> {
        match self.age() {
            Some(age) => Ok(Some(age).filter(|age| *age > STALE_AFTER)),
            None => Err(Failure::unavailable(
                "The record of the cluster",
                "the cluster was not listed yet",
            )),
        }
    }
}

#[async_trait]
impl Dependency for Freshness {
    fn name(&self) -> &'static str {
        "mirror"
    }

    async fn check(&self) -> Result<(), Failure> {
        self.staleness().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_old_record_is_told_to_be_old() {
        let freshness = Freshness::default();
        assert!(freshness.staleness().is_err(), "nothing is known yet");
        freshness.set(Some(Duration::from_secs(1)));
        assert_eq!(freshness.staleness().unwrap(), None);
        freshness.set(Some(STALE_AFTER + Duration::from_secs(1)));
        assert!(freshness.staleness().unwrap() > Some(STALE_AFTER));
    }
}
