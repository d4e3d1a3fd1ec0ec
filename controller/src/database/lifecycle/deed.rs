//! What is done at a step. Pure: [`Stage`] in, [`Deed`] out.

use daap_crds::{
    cnpg::{self, Cluster},
    condition,
    database::{
        Fence, Incarnation, LONGEST_RECEIPT, Operation, OperationKind, Removal, RestoredFrom,
    },
    label,
    reason::Reason,
    tier::DaapTierSpec,
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    super::{
        build,
        observe::{Observed, Source, SourceLookup, StoreLookup},
        plan::{Archive, Child, Claimed, Deed, Store, Trouble},
    },
    children,
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
    fn archive(&self) -> Result<Archive, Deed> {
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
    fn store(&self) -> Result<Box<Store>, Deed> {
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

    fn backup_url(&self) -> Option<String> {
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

    fn delete_cluster(&self) -> Deed {
        match self.cluster {
            Some(cluster) if cluster.metadata.deletion_timestamp.is_none() => {
                let mut taken = children::volumes(self.observed);
                taken.push(children::removal("Cluster", cluster.name_any()));
                self.remove(vec![children::cluster(cluster)], taken)
            }
            Some(_) => Deed::Wait("its Cluster is being removed".to_owned()),
            None => Deed::Proceed,
        }
    }

    fn await_gone(&self) -> Deed {
        if self.cluster.is_none() && !self.is_something_left() {
            Deed::Proceed
        } else {
            Deed::Wait("its pods and volumes are being removed".to_owned())
        }
    }

    /// Whether pods or volumes are left. They are found by the name of the Cluster, which may be somebody else's now.
    fn is_something_left(&self) -> bool {
        let Observed {
            identity, symptoms, ..
        } = self.observed;
        let namesake = self.observed.children.cluster.found();
        let is_taken = namesake.is_some_and(|cluster| !identity.owns(&cluster.metadata));
        let pods = symptoms.pods.iter().map(|pod| &pod.metadata);
        let volumes = symptoms.volumes.iter().map(|volume| &volume.metadata);
        pods.chain(volumes)
            .any(|meta| !is_taken || identity.owns(meta))
    }

    fn remove_children(&self) -> Deed {
        let keeps_archive = self.operation.kind == OperationKind::Archive;
        let left = children::removable(self.observed, keeps_archive);
        if left.is_empty() {
            Deed::Proceed
        } else {
            let taken = left.iter().map(children::removal_of).collect();
            self.remove(left, taken)
        }
    }

    /// Removes objects that the receipt names already, or lets it name them first.
    fn remove(&self, left: Vec<Child>, mut taken: Vec<Removal>) -> Deed {
        taken.retain(|removal| !self.operation.receipt.contains(removal));
        if taken.is_empty() || self.operation.receipt.len() >= LONGEST_RECEIPT {
            Deed::Remove(left)
        } else {
            Deed::List(taken)
        }
    }

    fn purge(&self) -> Deed {
        if self.backup_url().is_none() {
            return Deed::Proceed;
        }
        if !self.observed.readers.is_empty() {
            let readers = self.observed.readers.join(", ");
            return Deed::Wait(format!("its backups are being restored from: {readers}"));
        }
        self.store().map_or_else(|wait| wait, Deed::Purge)
    }

    /// A pod that was cut off from the cluster may still have been about to write.
    fn recheck(&self) -> Deed {
        let pause = SignedDuration::try_from(self.settings.purge_recheck)
            .unwrap_or(SignedDuration::from_mins(1));
        if self.backup_url().is_some() && self.age() < pause {
            return Deed::Wait("the emptied archive is looked at once more".to_owned());
        }
        self.purge()
    }

    fn claim_source(&self) -> Deed {
        match self.source() {
            Ok(source) => Deed::Claim(Box::new(Claimed {
                source: source.database.clone(),
                reader: self.observed.identity.uid.clone(),
            })),
            Err(give_up) => give_up,
        }
    }

    fn source(&self) -> Result<&'a Source, Deed> {
        match &self.observed.source {
            SourceLookup::Found(source) => Ok(source),
            SourceLookup::NotNeeded => Err(Deed::Wait("its source".to_owned())),
            SourceLookup::Unusable(message) => Err(Deed::GiveUp(Trouble::new(
                Reason::RestoreSourceUnavailable,
                message,
            ))),
        }
    }

    /// The instant that is to be restored.
    pub fn target(&self) -> Option<Timestamp> {
        let restore = self.observed.database.spec.restore.as_ref()?;
        restore.target_time.as_ref().map(|time| time.0)
    }

    fn fence_source(&self) -> Deed {
        let source = match self.source() {
            Ok(source) => source,
            Err(give_up) => return give_up,
        };
        let outside =
            |message: String| Deed::GiveUp(Trouble::new(Reason::RestoreOutsideWindow, message));
        let Some(from) = source.restorable_from else {
            return outside("The source has no base backup yet.".to_owned());
        };
        if let Some(target) = self.target().filter(|target| *target < from) {
            return outside(format!(
                "{target} is before {from}, the end of the source's first base backup."
            ));
        }
        match &source.tenant {
            Some(tenant) => Deed::Fence(tenant.clone()),
            // It rests, and what it committed last was written down when it stopped.
            None => match (&source.fence, self.target()) {
                (Some(fence), Some(target)) if target > fence.time.0 => outside(format!(
                    "{target} is after {}, the source's last archived commit.",
                    fence.time.0
                )),
                _ => Deed::Proceed,
            },
        }
    }

    /// The incarnation of a database whose source has archived everything it needs.
    pub fn restored_incarnation(&self, server_name: &str) -> Option<Incarnation> {
        let source = self.source().ok()?;
        let url = match &self.observed.store {
            StoreLookup::Available(store) => Some(store.url.clone()),
            StoreLookup::NotNeeded | StoreLookup::Unavailable(_) => None,
        };
        let spec = &self.observed.database.spec;
        Some(Incarnation {
            server_name: server_name.to_owned(),
            revision: spec.tier_revision.clone().unwrap_or_default(),
            postgres_major: self.template.postgres.major,
            backup_url: url,
            cluster_uid: None,
            fence: None,
            restored_from: Some(RestoredFrom {
                backup_url: source.backup_url.clone(),
                server_name: source.server_name.clone(),
                target_time: spec.restore.as_ref()?.target_time.clone(),
            }),
            reserved_connections: build::reserved_connections(self.template),
        })
    }

    fn await_source(&self) -> Deed {
        let source = match self.source() {
            Ok(source) => source,
            Err(give_up) => return give_up,
        };
        let Some(fence) = &self.operation.fence else {
            return Deed::Proceed;
        };
        match self.store() {
            Ok(mut store) => {
                store.url.clone_from(&source.backup_url);
                let archive = Archive {
                    store,
                    server_name: source.server_name.clone(),
                };
                Deed::FindSegment(archive, fence.segment.clone())
            }
            Err(wait) => wait,
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
