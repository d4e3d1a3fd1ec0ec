//! Makes the children what they should be. Writes; the only writer of children.
//!
//! In: [`Objects`] and what was observed of them, or [`BackupWork`]. Out: [`Applied`]. Nothing is deleted here but the
//! objects of failed base backups.
//! What else is deleted is an operation's to delete.

use daap_crds::{
    cnpg::{Backup, Cluster},
    label,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Resource, ResourceExt as _};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use thiserror::Error;

use super::{build::Objects, observe::Children, plan::BackupWork};
use crate::k8s::{
    apply::{Outcome, Writer},
    client::Lookup,
    error::CallError,
};

/// Why the children are not what they should be.
#[derive(Debug, Error)]
#[error("cannot write the {kind}")]
pub struct ApplyError {
    /// The kind of the child.
    kind: String,
    /// Why.
    source: CallError,
}

impl ApplyError {
    /// What the API server said.
    pub fn call(&self) -> &CallError {
        &self.source
    }
}

/// What became of the children.
#[derive(Default)]
pub struct Applied {
    /// The Cluster's uid, if there was something to apply.
    pub cluster_uid: Option<String>,
    /// Whether the Cluster or the pooler was written, so that what their status says is not about what was written.
    pub outdated: bool,
    /// Whether anything was written.
    pub wrote: bool,
    /// What the API server, or CloudNativePG through it, does not accept, in words.
    pub refusal: Option<Refusal>,
    /// Whether a base backup that was asked for could not be made.
    pub backup_refused: bool,
}

/// What the API server, or CloudNativePG through it, does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The object is wrong.
    Invalid(String),
    /// The webhook that would say so does not answer.
    Unanswered(String),
}

/// Makes the children what they should be, each only on a difference, in an order in which nothing is ever
/// reachable that should not be, and nothing waits for what comes after it.
///
/// # Errors
/// When a write fails. What was written before stays, and is found by the next run.
pub async fn apply(
    writer: &Writer,
    namespace: &Namespace,
    observed: &Children,
    objects: Objects,
) -> Result<Applied, ApplyError> {
    let Objects {
        default_deny,
        instance_policy,
        pooler_policy,
        application_secret,
        observer_secret,
        connection_secret,
        store_secret,
        object_store,
        source_store,
        cluster,
        pooler,
        scheduled_backup,
    } = objects;
    let mut progress = Progress {
        writer,
        applied: Applied::default(),
    };

    progress.mark(namespace).await?;
    progress
        .child(Some(default_deny), &observed.default_deny)
        .await?;
    progress
        .child(Some(instance_policy), &observed.instance_policy)
        .await?;
    progress
        .child(pooler_policy, &observed.pooler_policy)
        .await?;
    progress
        .child(Some(application_secret), &observed.application_secret)
        .await?;
    progress
        .child(Some(observer_secret), &observed.observer_secret)
        .await?;
    progress.child(store_secret, &observed.store_secret).await?;
    progress.child(object_store, &observed.object_store).await?;
    progress.child(source_store, &observed.source_store).await?;
    if !progress.cluster(&cluster, observed.cluster.found()).await? {
        return Ok(progress.applied);
    }
    progress
        .child(connection_secret, &observed.connection_secret)
        .await?;
    let wrote_pooler = progress.child(pooler, &observed.pooler).await?;
    progress.applied.outdated |= wrote_pooler;
    progress
        .child(scheduled_backup, &observed.scheduled_backup)
        .await?;
    Ok(progress.applied)
}

/// Makes the base backup that was asked for, and removes failed ones of which there are too many. To be done when the
/// children are as they should be. CloudNativePG not taking a base backup keeps nothing else of the database waiting.
///
/// # Errors
/// When the API server does not answer.
pub async fn apply_backups(
    writer: &Writer,
    work: BackupWork,
    mut applied: Applied,
) -> Result<Applied, ApplyError> {
    if let Some(backup) = work.requested {
        // It was looked for and not found. Its name is the request's, so that a second one cannot come to be.
        match writer.apply(&backup, None).await {
            Ok(outcome) => {
                let mut progress = Progress { writer, applied };
                progress.note(&outcome);
                applied = progress.applied;
            }
            Err(error) if error.is_refusal() || error.is_webhook_failure() => {
                tracing::warn!(
                    namespace = backup.namespace(),
                    name = backup.name_any(),
                    error = error.chain(),
                    "a base backup was refused"
                );
                applied.backup_refused = true;
            }
            Err(error) => return Err(failed::<Backup>(error)),
        }
    }
    for backup in work.surplus {
        writer.delete(&backup).await.map_err(failed::<Backup>)?;
        applied.wrote = true;
        tracing::info!(
            namespace = backup.namespace(),
            name = backup.name_any(),
            "removed a failed base backup"
        );
    }
    Ok(applied)
}

struct Progress<'a> {
    writer: &'a Writer,
    applied: Applied,
}

impl Progress<'_> {
    /// Marks the namespace as holding data, before it does: guards against its deletion go by that label.
    async fn mark(&mut self, namespace: &Namespace) -> Result<(), ApplyError> {
        if namespace.labels().contains_key(label::HOLDS_DATA) {
            return Ok(());
        }
        let changes = json!({"metadata": {"labels": {label::HOLDS_DATA: "true"}}});
        self.writer
            .amend(namespace, changes)
            .await
            .map_err(failed::<Namespace>)?;
        self.applied.wrote = true;
        Ok(())
    }

    /// Makes one child what it should be, and tells whether it was written.
    async fn child<K>(
        &mut self,
        desired: Option<K>,
        observed: &Lookup<K>,
    ) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        let Some(desired) = desired else {
            return Ok(false);
        };
        let outcome = self
            .writer
            .apply(&desired, observed.found())
            .await
            .map_err(failed::<K>)?;
        Ok(self.note(&outcome))
    }

    /// Takes account of what became of a child, and tells whether it was written.
    fn note<K: Resource<DynamicType = ()>>(&mut self, outcome: &Outcome<K>) -> bool {
        if !outcome.is_written() {
            return false;
        }
        self.applied.wrote = true;
        tracing::info!(
            kind = %K::kind(&()),
            namespace = outcome.object().namespace(),
            name = outcome.object().name_any(),
            created = matches!(outcome, Outcome::Created(_)),
            "wrote a child"
        );
        true
    }

    /// Makes the Cluster what it should be, and tells whether it was accepted.
    async fn cluster(
        &mut self,
        desired: &Cluster,
        observed: Option<&Cluster>,
    ) -> Result<bool, ApplyError> {
        match self.writer.apply(desired, observed).await {
            Ok(outcome) => {
                self.applied
                    .cluster_uid
                    .clone_from(&outcome.object().metadata.uid);
                self.applied.outdated |= self.note(&outcome);
                Ok(true)
            }
            Err(error) => {
                let said = error
                    .status()
                    .map(|status| status.message.clone())
                    .unwrap_or_default();
                self.applied.refusal = Some(if error.is_refusal() {
                    Refusal::Invalid(said)
                } else if error.is_webhook_failure() {
                    Refusal::Unanswered(said)
                } else {
                    return Err(failed::<Cluster>(error));
                });
                Ok(false)
            }
        }
    }
}

fn failed<K: Resource<DynamicType = ()>>(source: CallError) -> ApplyError {
    ApplyError {
        kind: K::kind(&()).into_owned(),
        source,
    }
}
