//! The one place where a database is admitted to a tier, however it was asked for. Pure.

use daap_crds::{DaapDatabase, DaapTierRevision};
use kube::ResourceExt as _;

/// What admission says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is admitted, and is to be bound to this revision.
    Admitted {
        /// The name of the revision.
        revision: String,
    },
}

/// Whether a database that waits is admitted on the current revision of its tier.
pub fn decide(_database: &DaapDatabase, current: &DaapTierRevision) -> Verdict {
    Verdict::Admitted {
        revision: current.name_any(),
    }
}
