//! What was last seen of each object, so that only a change that matters wakes a quota. Pure.
//!
//! In: what a watch tells. Out: the names of the quotas that have something to look at.

use std::collections::{BTreeSet, HashMap};

use daap_crds::{DaapDatabase, Phase};

/// What a quota counts of a database.
#[derive(Clone, PartialEq)]
struct Charged {
    tier: String,
    revision: Option<String>,
    phase: Option<Phase>,
    abandoned: bool,
    leaving: bool,
}

impl Charged {
    fn of(database: &DaapDatabase) -> Self {
        Self {
            tier: database.spec.tier.clone(),
            revision: database.spec.tier_revision.clone(),
            phase: database.status.as_ref().and_then(|status| status.phase),
            abandoned: database.is_abandoned(),
            leaving: database.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// What was last seen of each database, by uid.
#[derive(Default)]
pub struct ChargedDatabases(HashMap<String, Charged>);

impl ChargedDatabases {
    /// A database was seen. One that is not bound always matters: it waits for an answer.
    pub fn seen(&mut self, database: &DaapDatabase) -> BTreeSet<String> {
        let uid = database.metadata.uid.clone().unwrap_or_default();
        let now = Charged::of(database);
        let before = self.0.insert(uid, now.clone());
        if before.as_ref() == Some(&now) && now.revision.is_some() {
            return BTreeSet::new();
        }
        before
            .into_iter()
            .map(|one| one.tier)
            .chain([now.tier])
            .collect()
    }

    /// A database is gone.
    pub fn gone(&mut self, uid: &str) -> Option<String> {
        self.0.remove(uid).map(|charged| charged.tier)
    }

    /// All databases were listed anew: what is not among them went unseen.
    pub fn listed(&mut self, uids: &BTreeSet<String>) -> BTreeSet<String> {
        let unseen = self.0.iter().filter(|(uid, _)| !uids.contains(*uid));
        let tiers = unseen.map(|(_, charged)| charged.tier.clone()).collect();
        self.0.retain(|uid, _| uids.contains(uid));
        tiers
    }
}

/// What each tier was last seen to offer.
#[derive(Default)]
pub struct Offers(HashMap<String, Option<String>>);

impl Offers {
    /// Whether a tier offers something else than before.
    pub fn differ(&mut self, tier: &str, offer: Option<String>) -> bool {
        self.0.insert(tier.to_owned(), offer.clone()) != Some(offer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::database;

    fn names(tiers: &BTreeSet<String>) -> Vec<&str> {
        tiers.iter().map(String::as_str).collect()
    }

    #[test]
    fn only_what_is_counted_matters_once_a_database_is_bound() {
        let mut seen = ChargedDatabases::default();
        let mut one = database();
        assert_eq!(names(&seen.seen(&one)), ["gold"]);
        one.spec.purpose = Some("another".into());
        assert!(seen.seen(&one).is_empty());
        one.spec.tier = "silver".into();
        assert_eq!(names(&seen.seen(&one)), ["gold", "silver"]);
        one.spec.tier_revision = None;
        for _ in 0..2 {
            assert_eq!(names(&seen.seen(&one)), ["silver"]);
        }
        assert_eq!(
            seen.gone(one.metadata.uid.as_deref().unwrap()).as_deref(),
            Some("silver")
        );
    }

    #[test]
    fn what_gives_its_place_back_matters() {
        let mut seen = ChargedDatabases::default();
        let mut one = database();
        seen.seen(&one);
        one.status = Some(crate::fixtures::from_yaml(
            "{abandonedAt: '2026-01-01T00:00:00Z'}",
        ));
        assert_eq!(names(&seen.seen(&one)), ["gold"]);
    }

    #[test]
    fn a_removal_that_no_watch_told_of_matters() {
        let mut seen = ChargedDatabases::default();
        let one = database();
        seen.seen(&one);
        let uid = one.metadata.uid.clone().unwrap();
        assert!(seen.listed(&[uid].into()).is_empty());
        assert_eq!(names(&seen.listed(&BTreeSet::new())), ["gold"]);
    }
}
