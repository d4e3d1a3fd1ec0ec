//! The six public statuses of a database, and the moves between them. Pure.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a database is. The words are the product's own and appear unchanged in REST.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Being created, not yet healthy.
    #[default]
    Provisioning,
    /// Healthy: applications can connect, and only over TLS.
    Ready,
    /// Failed, or too long without becoming healthy; `problem` tells why. Watched for recovery.
    Error,
    /// Inaccessible with its data in place; reversible.
    Frozen,
    /// Gone from the cluster, recoverable from its backups.
    Archived,
    /// Gone.
    Deleted,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 6] = [
        Self::Provisioning,
        Self::Ready,
        Self::Error,
        Self::Frozen,
        Self::Archived,
        Self::Deleted,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Error => "error",
            Self::Frozen => "frozen",
            Self::Archived => "archived",
            Self::Deleted => "deleted",
        }
    }

    /// Whether a database may go from `self` to `next` in one step (staying put is always legal).
    ///
    /// `archived` and `deleted` are one-way: what comes back from an archive is a new database.
    pub fn may_become(self, next: Self) -> bool {
        use Phase::{Archived, Deleted, Error, Frozen, Provisioning, Ready};
        self == next
            || match self {
                Provisioning | Ready | Error => {
                    matches!(next, Ready | Error | Frozen | Archived | Deleted)
                }
                // Through `error` when it cannot be woken; archived or purged by force.
                Frozen => matches!(next, Ready | Error | Archived | Deleted),
                Archived => next == Deleted,
                Deleted => false,
            }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, so that a change of a rule shows as a change of a line.
    #[test]
    fn moves() {
        let table = Phase::ALL
            .map(|from| {
                let targets: Vec<_> = Phase::ALL
                    .into_iter()
                    .filter(|to| from.may_become(*to))
                    .map(Phase::as_str)
                    .collect();
                format!("{from} -> {}", targets.join(" "))
            })
            .join("\n");
        insta::assert_snapshot!(table, @r"
        provisioning -> provisioning ready error frozen archived deleted
        ready -> ready error frozen archived deleted
        error -> ready error frozen archived deleted
        frozen -> ready error frozen archived deleted
        archived -> archived deleted
        deleted -> deleted
        ");
    }
}
