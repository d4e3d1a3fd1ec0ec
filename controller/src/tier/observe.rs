//! What there is of a tier. Reads the cluster, live; the only reader of the tier controller.
//!
//! In: the name of a DaapTier. Out: [`Observed`].

use std::collections::BTreeMap;

use daap_crds::{DaapDatabase, DaapObjectStore, DaapQuota, DaapTier, DaapTierRevision};
use kube::{api::ListParams, core::DeserializeGuard};

use crate::k8s::{
    client::{Lookup, Reader},
    error::CallError,
};

/// What there is of a tier.
pub struct Observed {
    /// The tier.
    pub tier: DaapTier,
    /// Its revisions.
    pub revisions: Vec<DaapTierRevision>,
    /// The databases that name it.
    pub users: Users,
    /// The object store it names.
    pub store: Option<DaapObjectStore>,
    /// Whether it has a quota.
    pub has_quota: bool,
}

/// The databases that name a tier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// How many there are, bound or not.
    pub named: usize,
    /// How many are bound to each revision.
    pub bound: BTreeMap<String, i32>,
    /// How many cannot be read, and so may be bound to any.
    pub unreadable: usize,
}

impl Users {
    /// How many hold a revision.
    pub fn bound_to(&self, revision: &str) -> i32 {
        self.bound.get(revision).copied().unwrap_or(0)
    }

    fn count(databases: &[DeserializeGuard<DaapDatabase>]) -> Self {
        let mut users = Self {
            named: databases.len(),
            ..Self::default()
        };
        for database in databases {
            match &database.0 {
                Ok(database) => {
                    if let Some(revision) = &database.spec.tier_revision {
                        *users.bound.entry(revision.clone()).or_default() += 1;
                    }
                }
                Err(_) => users.unreadable += 1,
            }
        }
        users
    }
}

/// What there is of a tier; nothing, when it is gone.
///
/// # Errors
/// When the API server does not answer.
pub async fn observe(reader: &Reader, name: &str) -> Result<Option<Observed>, CallError> {
    let Lookup::Found(tier) = reader.get::<DaapTier>(name).await? else {
        return Ok(None);
    };
    let of_tier = ListParams::default().fields(&format!("spec.tier={name}"));
    let (revisions, databases, quota) = tokio::try_join!(
        reader.list_all::<DaapTierRevision>(&of_tier),
        reader.list_all::<DeserializeGuard<DaapDatabase>>(&of_tier),
        reader.get::<DeserializeGuard<DaapQuota>>(name),
    )?;
    let store = match &tier.spec.backup {
        Some(backup) => reader.get(&backup.object_store).await?.found().cloned(),
        None => None,
    };
    Ok(Some(Observed {
        tier,
        revisions,
        users: Users::count(&databases),
        store,
        has_quota: quota.found().is_some(),
    }))
}
