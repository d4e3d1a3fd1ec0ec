//! Stable reason codes: they appear in conditions, in `status.problem` and in REST answers. Pure.
//!
//! A code once published keeps its meaning; new codes may be added.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a database is not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// No node has room for an instance.
    Unschedulable,
    /// A container image cannot be pulled or does not exist.
    ImagePull,
    /// A volume cannot be provisioned, bound or mounted.
    Storage,
    /// The disk is full.
    DiskFull,
    /// CloudNativePG refuses the definition made from the tier.
    InvalidDefinition,
    /// CloudNativePG's API is not installed, or its operator does not answer.
    OperatorMissing,
    /// The Barman Cloud plugin is not installed, or does not answer.
    PluginMissing,
    /// A container keeps crashing.
    InstanceCrashing,
    /// The tier does not exist.
    TierNotFound,
    /// The tier exists, but is not accepted.
    TierNotAccepted,
    /// The quota of the tier has no room.
    QuotaExceeded,
    /// The tier revision the database is bound to does not exist.
    RevisionNotFound,
    /// The object store named by the tier does not exist or has no usable credentials.
    ObjectStoreUnavailable,
    /// The Cluster that held the data is gone.
    ClusterVanished,
    /// Something of the same name exists that is not this database's.
    NameConflict,
    /// CloudNativePG waits for a person.
    NeedsAttention,
    /// Not healthy by its deadline, and no other cause was found.
    ProvisioningDeadline,
    /// What a database is to be restored from is not there, or has no backups.
    RestoreSourceUnavailable,
    /// The instant to restore is not one that the source's backups hold.
    RestoreOutsideWindow,
    /// PostgreSQL could not restore from the backups.
    RestoreFailed,
    /// The wish is known to DAAP, and is not served by this version.
    Unsupported,
}

impl Reason {
    /// The code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unschedulable => "Unschedulable",
            Self::ImagePull => "ImagePull",
            Self::Storage => "Storage",
            Self::DiskFull => "DiskFull",
            Self::InvalidDefinition => "InvalidDefinition",
            Self::OperatorMissing => "OperatorMissing",
            Self::PluginMissing => "PluginMissing",
            Self::InstanceCrashing => "InstanceCrashing",
            Self::TierNotFound => "TierNotFound",
            Self::TierNotAccepted => "TierNotAccepted",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::RevisionNotFound => "RevisionNotFound",
            Self::ObjectStoreUnavailable => "ObjectStoreUnavailable",
            Self::ClusterVanished => "ClusterVanished",
            Self::NameConflict => "NameConflict",
            Self::NeedsAttention => "NeedsAttention",
            Self::ProvisioningDeadline => "ProvisioningDeadline",
            Self::RestoreSourceUnavailable => "RestoreSourceUnavailable",
            Self::RestoreOutsideWindow => "RestoreOutsideWindow",
            Self::RestoreFailed => "RestoreFailed",
            Self::Unsupported => "Unsupported",
        }
    }

    /// What a person can do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Unschedulable => {
                "Add room to the cluster (nodes, or smaller tiers); the database continues by itself."
            }
            Self::ImagePull => {
                "Correct the image in the tier, or make the image available to the nodes; the database continues by itself."
            }
            Self::Storage => {
                "Check the storage class of the tier and its provisioner; the database continues by itself."
            }
            Self::DiskFull => {
                "Free space or grow the volumes; if write-ahead log piles up, repair archiving first."
            }
            Self::InvalidDefinition => {
                "Correct the tier, then move the database to the corrected revision."
            }
            Self::OperatorMissing => {
                "Install or repair the CloudNativePG operator; the database continues by itself."
            }
            Self::PluginMissing => {
                "Install or repair the Barman Cloud plugin; the database continues by itself."
            }
            Self::InstanceCrashing => "Read the log of the instance's pod.",
            Self::TierNotFound => "Create the tier, or ask for one that exists.",
            Self::TierNotAccepted => "Read the Accepted condition of the tier and correct it.",
            Self::QuotaExceeded => {
                "Raise the DaapQuota of the tier, or destroy databases that are not needed; what waits is admitted in order."
            }
            Self::RevisionNotFound => "Restore the DaapTierRevision from a backup of the cluster.",
            Self::ObjectStoreUnavailable => {
                "Create or correct the DaapObjectStore and the Secret it names."
            }
            Self::ClusterVanished => {
                "The data's Cluster was removed by someone else. Restore the database from its backups."
            }
            Self::NameConflict => {
                "Rename one of the two, or remove the object that is not this database's."
            }
            Self::NeedsAttention => {
                "Read the status of the CloudNativePG Cluster; it waits for a person."
            }
            Self::ProvisioningDeadline => "Read the events of the database's namespace.",
            Self::RestoreSourceUnavailable => {
                "Destroy this database, and restore from a database that has backups."
            }
            Self::RestoreOutsideWindow => {
                "Destroy this database, and restore to an instant inside the source's restore window."
            }
            Self::RestoreFailed => {
                "Destroy this database, and restore to another instant; the source is untouched."
            }
            Self::Unsupported => "Undo the change.",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
