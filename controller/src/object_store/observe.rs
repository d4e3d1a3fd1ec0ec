//! What there is of an object store. Reads the cluster, live, and tries the store itself when it is time; the only reader
//! of the object store controller.
//!
//! In: the name of a DaapObjectStore. Out: [`Observed`].

use std::collections::BTreeSet;

use daap_crds::{
    DaapObjectStore, DaapTier, DaapTierRevision, condition, condition::REACHABLE,
    tier::DaapTierSpec,
};
use kube::{ResourceExt as _, api::ListParams, core::DeserializeGuard};

use super::secrets;
use crate::{
    archive::{ArchiveError, Store},
    context::Context,
    k8s::{
        client::Lookup,
        error::{CallError, chain},
    },
};

/// What there is of an object store.
pub struct Observed {
    /// The object store.
    pub store: DaapObjectStore,
    /// Who names it.
    pub users: Users,
    /// Whether the Secrets it names are there; or what is missing, in words.
    pub secrets: Result<(), String>,
    /// What a probe found. Nothing, when it was not the time for one.
    pub probe: Option<Result<(), Refusal>>,
}

/// Who names an object store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// The tiers that do, themselves or by a revision of theirs that some database may still hold.
    pub tiers: BTreeSet<String>,
    /// How many tiers and revisions cannot be read, and so may name any.
    pub unreadable: usize,
}

/// Why a probe had no success, in words for everyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable code.
    pub reason: &'static str,
    /// The cause, without any secrets.
    pub message: String,
}

impl From<&ArchiveError> for Refusal {
    fn from(error: &ArchiveError) -> Self {
        Self {
            reason: error.reason(),
            message: error.to_string(),
        }
    }
}

/// What there is of an object store; nothing, when it is gone.
///
/// # Errors
/// When the API server does not answer.
pub async fn observe(context: &Context, name: &str) -> Result<Option<Observed>, CallError> {
    let reader = &context.reader;
    let Lookup::Found(store) = reader.get::<DaapObjectStore>(name).await? else {
        return Ok(None);
    };
    let all = ListParams::default();
    let (tiers, revisions, secrets) = tokio::try_join!(
        reader.list_all::<DeserializeGuard<DaapTier>>(&all),
        reader.list_all::<DeserializeGuard<DaapTierRevision>>(&all),
        secrets::read(reader, &context.settings.system_namespace, &store.spec),
    )?;
    let (probe, secrets) = match secrets {
        Ok(secrets) => {
            let target = Store::new(store.spec.clone(), secrets);
            (probe(context, &store, &target).await, Ok(()))
        }
        Err(missing) => (None, Err(missing)),
    };
    Ok(Some(Observed {
        users: users(name, &tiers, &revisions),
        store,
        secrets,
        probe,
    }))
}

/// Tries the store, if it is time.
async fn probe(
    context: &Context,
    store: &DaapObjectStore,
    target: &Store,
) -> Option<Result<(), Refusal>> {
    let uid = store.uid().unwrap_or_default();
    let status = store.status.as_ref();
    // A status that says nothing, or that of Secrets that were missing, is not to last until the next probe.
    let is_told = status
        .and_then(|status| condition::find(&status.conditions, REACHABLE))
        .is_some_and(|reachable| reachable.reason != super::decide::NOT_TRIED);
    if is_told && !context.probe_times.is_due(&uid, store.metadata.generation) {
        return None;
    }
    let outcome = context.archives.probe(target).await;
    if let Err(error) = &outcome {
        tracing::warn!(
            object_store = store.name_any(),
            reason = error.reason(),
            error = chain(error),
            "a probe of an object store failed"
        );
    }
    Some(outcome.map_err(|error| Refusal::from(&error)))
}

fn users(
    name: &str,
    tiers: &[DeserializeGuard<DaapTier>],
    revisions: &[DeserializeGuard<DaapTierRevision>],
) -> Users {
    let names_it = |spec: &DaapTierSpec| {
        let backup = spec.backup.as_ref();
        backup.is_some_and(|backup| backup.object_store == name)
    };
    let mut users = Users::default();
    for tier in tiers {
        match &tier.0 {
            Ok(tier) if names_it(&tier.spec) => {
                users.tiers.insert(tier.name_any());
            }
            Ok(_) => {}
            Err(_) => users.unreadable += 1,
        }
    }
    for revision in revisions {
        match &revision.0 {
            Ok(revision) if names_it(&revision.spec.template) => {
                users.tiers.insert(revision.spec.tier.clone());
            }
            Ok(_) => {}
            Err(_) => users.unreadable += 1,
        }
    }
    users
}
