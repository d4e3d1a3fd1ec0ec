//! What is done at a step. Pure: [`Stage`] in, [`Deed`] out.

use daap_crds::{
    cnpg::{self, Cluster},
    condition,
    database::{Fence, Operation, OperationKind},
    label,
    reason::Reason,
    tier::DaapTierSpec,
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    super::{
        build,
        observe::{Observed, StoreLookup},
        plan::{Archive, Deed, Store, Trouble},
    },
    step::Step,
};
use crate::{settings::Settings, tenant_sql::Tenant};

/// How long a fence may be on its way to the archive until another one is made: its segment may be one of a primary
/// that is none any more.
const FENCE_PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// Everything that a step may look at.
pub struct Stage<'a> {
    /// What there is.
    pub observed: &'a Observed,
    /// What the database is made of.
    pub template: &'a DaapTierSpec,
    /// What was set from outside.
    pub settings: &'a Settings,
    /// The operation.
    pub operation: &'a Operation,
    /// The Cluster that holds the data, if it is the one that was written down.
    pub cluster: Option<&'a Cluster>,
    /// The time.
    pub now: Timestamp,
}

/// What is done at a step.
pub fn deed(stage: &Stage<'_>, step: Step) -> Deed {
    match step {
        Step::Quiesce => Deed::Settle,
        Step::LockOut | Step::Rouse => stage.with_tenant(Deed::TryLogin),
        Step::EndSessions => stage.with_tenant(Deed::EndSessions),
        Step::TryArchive | Step::Fence => stage.with_tenant(Deed::Fence),
        Step::AwaitArchive | Step::AwaitFence => stage.with_fence(Deed::FindSegment),
        Step::FinalBackup => stage.final_backup(),
        Step::Verify => stage.with_fence(Deed::Verify),
        Step::VerifyAsleep => stage.verify_asleep(),
        Step::Hibernate => stage.hibernate(),
        Step::Isolate => stage.isolate(),
        Step::DeleteCluster => stage.delete_cluster(),
        Step::AwaitGone => stage.await_gone(),
        Step::RemoveChildren => stage.remove_children(),
        Step::Purge => stage.purge(),
        Step::Recheck => stage.recheck(),
        // These two are served as every database is; what is found then is their finding.
        Step::Wake | Step::Recover => Deed::Wait(step.doing().to_owned()),
        Step::ClaimSource => stage.claim_source(),
        Step::FenceSource => stage.fence_source(),
        Step::AwaitSource => stage.await_source(),
    }
}

impl<'a> Stage<'a> {
    /// The stage of an operation.
    pub fn new(
        observed: &'a Observed,
        template: &'a DaapTierSpec,
        settings: &'a Settings,
        operation: &'a Operation,
        now: Timestamp,
    ) -> Self {
        let status = observed.database.status.as_ref();
        let last = status.and_then(|status| status.incarnations.last());
        let is_its = |cluster: &&Cluster| {
            last.is_some_and(|last| {
                observed.identity.owns(&cluster.metadata)
                    && cluster.labels().get(label::INCARNATION) == Some(&last.server_name)
                    && (last.cluster_uid.is_none() || last.cluster_uid == cluster.metadata.uid)
            })
        };
        Self {
            observed,
            template,
            settings,
            operation,
            cluster: observed.children.cluster.found().filter(is_its),
            now,
        }
    }

    /// How long the operation is at its step.
    pub fn age(&self) -> SignedDuration {
        self.now.duration_since(self.operation.since.0)
    }

    /// Whether the tries at this step, from the first on, took longer than a step may that can be done without.
    pub fn is_overdue(&self) -> bool {
        let steps = &self.operation.steps;
        let first = steps.iter().find(|taken| taken.name == self.operation.step);
        let since = first.map_or(self.operation.since.0, |taken| taken.started_at.0);
        let patience = SignedDuration::try_from(self.settings.operation_patience);
        self.now.duration_since(since) >= patience.unwrap_or(SignedDuration::MAX)
    }

    /// Why the database is not what was asked for, as was said before.
    pub fn problem(&self) -> Option<String> {
        let status = self.observed.database.status.as_ref()?;
        let problem = status.problem.as_ref()?;
        Some(problem.message.clone())
    }

    /// Whether this is the first step of a freeze.
    pub fn begins_freeze(&self) -> bool {
        self.operation.kind == OperationKind::Freeze
            && Step::parse(&self.operation.step) == Some(Step::Quiesce)
    }

    /// Whether the fence should be made anew.
    pub fn fence_is_overdue(&self) -> bool {
        self.age() >= FENCE_PATIENCE
    }

    fn with_tenant(&self, deed: fn(Tenant) -> Deed) -> Deed {
        if self.cluster.is_none() {
            return self.without_cluster();
        }
        match self.observed.tenant() {
            Some(tenant) => deed(tenant),
            None => Deed::Wait("its Secrets are not complete".to_owned()),
        }
    }

    fn with_fence(&self, deed: fn(Archive, String) -> Deed) -> Deed {
        let Some(Fence { segment, .. }) = self.operation.fence.clone() else {
            return Deed::Wait("there is no fence".to_owned());
        };
        match self.archive() {
            Ok(archive) => deed(archive, segment),
            Err(wait) => wait,
        }
    }

    /// Where the last incarnation archives.
    pub(super) fn archive(&self) -> Result<Archive, Deed> {
        let store = self.store()?;
        let status = self.observed.database.status.as_ref();
        let last = status.and_then(|status| status.incarnations.last());
        let server_name = last.map(|incarnation| incarnation.server_name.clone());
        Ok(Archive {
            store,
            server_name: server_name.unwrap_or_default(),
        })
    }

    /// The object store, at the place that was written down.
    pub(super) fn store(&self) -> Result<Box<Store>, Deed> {
        match &self.observed.store {
            StoreLookup::Available(store) => {
                let mut store = store.clone();
                if let Some(url) = self.backup_url() {
                    store.url = url;
                }
                Ok(store)
            }
            StoreLookup::Unavailable(message) => Err(Deed::Wait(message.clone())),
            StoreLookup::NotNeeded => Err(Deed::Wait("its tier has no backup".to_owned())),
        }
    }

    pub(super) fn backup_url(&self) -> Option<String> {
        let status = self.observed.database.status.as_ref()?;
        status
            .incarnations
            .iter()
            .rev()
            .find_map(|incarnation| incarnation.backup_url.clone())
    }

    fn final_backup(&self) -> Deed {
        let Some(name) = &self.operation.backup else {
            // Its name is written down first, so that a crash does not make two.
            return Deed::Proceed;
        };
        let found = self.observed.children.backups.iter();
        let mut found = found.filter(|backup| backup.name_any() == *name);
        let Some(backup) = found.next() else {
            let backup = build::build_backup(&self.observed.identity, name.clone());
            return Deed::Back(Box::new(backup));
        };
        let status = backup.status.clone().unwrap_or_default();
        match status.phase.as_deref() {
            Some("completed") => Deed::Settle,
            Some("failed" | "invalid backup definition") => {
                let why = status.error.unwrap_or_default();
                Deed::GiveUp(Trouble::new(Reason::ObjectStoreUnavailable, why))
            }
            _ => Deed::Wait("the last base backup is under way".to_owned()),
        }
    }

    fn verify_asleep(&self) -> Deed {
        let status = self.observed.database.status.as_ref();
        let last = status.and_then(|status| status.incarnations.last());
        match (last.and_then(|last| last.fence.clone()), self.archive()) {
            (Some(fence), Ok(archive)) => Deed::Verify(archive, fence.segment),
            // Nothing is known of the last commit, so it is asked for.
            (None, _) => Deed::GiveUp(Trouble::new(Reason::Unsupported, "It has no fence.")),
            (_, Err(wait)) => wait,
        }
    }

    fn hibernate(&self) -> Deed {
        let Some(cluster) = self.cluster else {
            return self.without_cluster();
        };
        if is_hibernated(cluster) && self.observed.symptoms.pods.is_empty() {
            Deed::Settle
        } else {
            Deed::Wait("its instances stop".to_owned())
        }
    }

    /// A database for which no Cluster was ever made has nothing that could be reached, or lost. One whose Cluster
    /// vanished is not closed by that: somebody has to know.
    fn without_cluster(&self) -> Deed {
        let status = self.observed.database.status.as_ref();
        let was_made = status.is_some_and(|status| {
            let mut incarnations = status.incarnations.iter();
            incarnations.any(|incarnation| incarnation.cluster_uid.is_some())
        });
        if was_made {
            Deed::Wait("the Cluster that held the data does not exist".to_owned())
        } else {
            Deed::Proceed
        }
    }

    fn isolate(&self) -> Deed {
        let Some(cluster) = self.cluster else {
            return self.without_cluster();
        };
        let status = cluster.status.as_ref();
        let ready = status.and_then(|status| status.ready_instances);
        if ready.unwrap_or(0) == 0 {
            Deed::Settle
        } else {
            Deed::Wait("PostgreSQL stops".to_owned())
        }
    }
}

/// Whether CloudNativePG says that no instance runs.
pub fn is_hibernated(cluster: &Cluster) -> bool {
    condition::is_true(cluster.conditions(), cnpg::annotation::HIBERNATION)
}

/// The name of the next last base backup of an operation.
pub fn final_backup_name(database: &str, operation: &Operation) -> String {
    let id = operation.id.get(..8).unwrap_or(&operation.id);
    format!("{database}-last-{id}-{}", operation.attempts)
}
