//! What is counted in memory and written now and then, in bulk: keys that were used, and authentications that failed.
//! Bounded, whoever calls how often.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use uuid::Uuid;

use super::ports::{AuditTrail, Keys, Rejections};
use crate::domain::{api_key::KeyRecord, failure::Failure};

/// How many addresses are told apart between two times of writing. The others are counted together.
const MAX_SOURCES: usize = 1000;
/// What stands for them.
const OTHER_SOURCES: &str = "others";
/// A use is worth noting when the last one that was noted is older.
const COARSE: Duration = Duration::from_secs(3600);

/// What was counted since it was written last.
#[derive(Debug, Default)]
pub struct Tally {
    used: Mutex<HashSet<Uuid>>,
    rejected: Mutex<HashMap<String, i32>>,
}

impl Tally {
    /// Notes that a key was used.
    pub fn used(&self, key: &KeyRecord, now: Timestamp) {
        let recent = |last: Timestamp| now.duration_since(last).unsigned_abs() < COARSE;
        if !key.last_used_at.is_some_and(recent) {
            lock(&self.used).insert(key.id);
        }
    }

    /// Notes that an authentication failed.
    pub fn rejected(&self, source: &str) {
        let mut rejected = lock(&self.rejected);
        let known = rejected.len() < MAX_SOURCES || rejected.contains_key(source);
        let source = if known { source } else { OTHER_SOURCES };
        let calls = rejected.entry(source.to_owned()).or_default();
        *calls = calls.saturating_add(1);
    }

    /// Writes what was counted, if anything was. What cannot be written is counted on.
    pub async fn write(&self, keys: &dyn Keys, trail: &dyn AuditTrail) -> Result<(), Failure> {
        let used: Vec<_> = mem::take(&mut *lock(&self.used)).into_iter().collect();
        if !used.is_empty() {
            // A use that is lost is noted at the next one.
            keys.used(&used).await?;
        }
        let rejected = mem::take(&mut *lock(&self.rejected));
        if rejected.is_empty() {
            return Ok(());
        }
        let rejections: Vec<_> = rejected
            .into_iter()
            .map(|(source, calls)| Rejections { source, calls })
            .collect();
        let written = trail.rejected(&rejections).await;
        if written.is_err() {
            let mut counted = lock(&self.rejected);
            for Rejections { source, calls } in rejections {
                let sum = counted.entry(source).or_default();
                *sum = sum.saturating_add(calls);
            }
        }
        written
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_are_counted_together() {
        let tally = Tally::default();
        for number in 0..3 * MAX_SOURCES {
            tally.rejected(&number.to_string());
        }
        let rejected = lock(&tally.rejected);
        assert_eq!(rejected.len(), MAX_SOURCES + 1);
        assert_eq!(rejected[OTHER_SOURCES], 2 * MAX_SOURCES as i32);
    }
}
