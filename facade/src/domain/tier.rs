//! What is answered about a tier. Pure.

use daap_crds::{
    DaapTier, DaapTierSpec,
    condition::{self, ACCEPTED},
    tier::Strategy,
};

use super::entity_tag::EntityTag;

/// A tier.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// The name, which is also its id.
    pub name: String,
    /// Its state.
    pub tag: EntityTag,
    /// What the platform defined.
    pub spec: DaapTierSpec,
    /// Whether databases can be asked for on it.
    pub accepted: bool,
    /// Why not, when it is known.
    pub message: Option<String>,
    /// The revision that new databases are bound to.
    pub current_revision: Option<String>,
    /// How many databases hold one of its revisions.
    pub in_use: i32,
}

impl Tier {
    /// The tier of a resource; `None` for one that no API server has stored.
    pub fn from_resource(resource: DaapTier) -> Option<Self> {
        let status = resource.status.unwrap_or_default();
        let verdict = condition::find(&status.conditions, ACCEPTED);
        Some(Self {
            tag: EntityTag::of(&resource.metadata)?,
            name: resource.metadata.name?,
            spec: resource.spec,
            accepted: condition::is_true(&status.conditions, ACCEPTED),
            message: verdict
                .filter(|verdict| verdict.status != "True")
                .map(|verdict| verdict.message.clone()),
            current_revision: status.current_revision,
            in_use: status.in_use,
        })
    }
}

/// What deleting a database does to its data, in words for a product team.
pub const fn destruction_effect(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Freeze => {
            "The database becomes inaccessible. Its data stay, and it can be unfrozen."
        }
        Strategy::Archive => {
            "The database is removed. Its backups stay, and a new database can be restored from them."
        }
        Strategy::Hard => "The database and its backups are removed. Nothing can be recovered.",
    }
}
