//! What is charged, and who may write it. Pure.
//!
//! A trait, so that tests can put a mistake in the place of a single judgement and show that it does not go unseen.

use daap_crds::{DaapTierSpec, Phase, cost::Cost};

use super::observe::Entry;

/// What is charged, and who may write it.
pub trait Bookkeeping: Send + Sync {
    /// What a database of a revision costs; `None` when it is too much to be written.
    fn cost(&self, revision: &DaapTierSpec) -> Option<Cost> {
        Cost::of(revision)
    }

    /// Whether a database that was admitted is still charged.
    ///
    /// A frozen one keeps its volumes, and its place for the time when it is unfrozen. An archived or deleted one has
    /// neither, nor has one whose restore was abandoned.
    fn is_charged(&self, database: &Entry) -> bool {
        let has_nothing = matches!(database.phase(), Phase::Archived | Phase::Deleted);
        !has_nothing && !database.is_abandoned()
    }

    /// Whether the leadership of this number may write what was last written under the other.
    fn may_write(&self, own: i64, recorded: i64) -> bool {
        own >= recorded
    }
}

/// The judgements as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exact;

impl Bookkeeping for Exact {}
