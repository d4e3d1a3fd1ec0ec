//! CloudNativePG's part, played by a script: statuses are written, no PostgreSQL runs.
//!
//! A stand-in, for what cannot be provoked on the real operator or not a hundred times at once. It plays the parts that
//! DAAP reads: a Cluster's status and certificate authority, a Pooler's Deployment, a Backup's end. Tests that use it say
//! so.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use daap_crds::cnpg::{Backup, Cluster, Pooler};
use futures::StreamExt as _;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::scripted_volumes;

/// What the script answers to a Cluster: its status, or nothing for a Cluster it does not touch.
pub type Script = dyn Fn(&Cluster) -> Option<Value> + Send + Sync;

/// How a base backup ends: the status it gets.
pub type BackupScript = dyn Fn(&Backup) -> Value + Send + Sync;

/// The running script; it ends when dropped.
pub struct ScriptedCnpg {
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl ScriptedCnpg {
    /// Every Cluster becomes healthy at once.
    pub fn healthy(client: &Client) -> Self {
        Self::start(client, |cluster| Some(healthy_status(cluster)))
    }

    /// Every Cluster gets the status that `script` gives it. The script is asked at every change of a Cluster, so it
    /// must settle: it is not written again while it gives the same.
    pub fn start(
        client: &Client,
        script: impl Fn(&Cluster) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let script: Arc<Script> = Arc::new(script);
        Self {
            tasks: vec![
                tokio::spawn(play_clusters(client.clone(), script, false)),
                tokio::spawn(play_poolers(client.clone())),
            ],
        }
    }

    /// The same, where each Cluster has a volume, which outlives it a little.
    pub fn start_with_volumes(
        client: &Client,
        script: impl Fn(&Cluster) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let script: Arc<Script> = Arc::new(script);
        Self {
            tasks: vec![
                tokio::spawn(play_clusters(client.clone(), script, true)),
                tokio::spawn(play_poolers(client.clone())),
                tokio::spawn(scripted_volumes::collect(client.clone())),
            ],
        }
    }

    /// Base backups are taken too, and end as `script` says.
    pub fn with_backups(
        mut self,
        client: &Client,
        script: impl Fn(&Backup) -> Value + Send + Sync + 'static,
    ) -> Self {
        let script: Arc<BackupScript> = Arc::new(script);
        let task = tokio::spawn(play_backups(client.clone(), script));
        self.tasks.push(task);
        self
    }
}

impl Drop for ScriptedCnpg {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The status of a base backup that was taken.
pub fn completed_backup(backup: &Backup) -> Value {
    let started = backup
        .status
        .as_ref()
        .and_then(|status| status.started_at.clone());
    json!({
        "phase": "completed",
        "backupId": "20260102T030405",
        "beginWal": "000000010000000000000002",
        "endWal": "000000010000000000000002",
        "startedAt": started,
        "stoppedAt": started,
    })
}

/// The status of a base backup that was not, as when the object store refuses.
pub fn failed_backup(_: &Backup) -> Value {
    json!({"phase": "failed", "error": "rpc error: code = Unknown desc = exit status 4"})
}

/// The status of a Cluster whose instances all run what its spec says.
pub fn healthy_status(cluster: &Cluster) -> Value {
    let instances = cluster.spec.instances.unwrap_or(1);
    let names = cluster
        .spec
        .certificates
        .as_ref()
        .and_then(|certificates| certificates.server_alt_dns_names.clone());
    json!({
        "phase": "Cluster in healthy state",
        "instances": instances,
        "readyInstances": instances,
        "currentPrimary": format!("{}-1", cluster.name_any()),
        "targetPrimary": format!("{}-1", cluster.name_any()),
        "image": cluster.spec.image_name,
        "certificates": {"serverAltDNSNames": names.unwrap_or_default()},
        "conditions": [
            {
                "type": "Ready", "status": "True", "reason": "ClusterIsReady", "message": "Cluster is Ready",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            },
            archiving(None),
        ],
    })
}

/// The condition that tells whether write-ahead log is archived; with what CloudNativePG says when it is not.
pub fn archiving(failure: Option<&str>) -> Value {
    let (status, reason) = match failure {
        None => ("True", "ContinuousArchivingSuccess"),
        Some(_) => ("False", "ContinuousArchivingFailing"),
    };
    json!({
        "type": "ContinuousArchiving", "status": status, "reason": reason,
        "message": failure.unwrap_or("Continuous archiving is working"),
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

async fn play_clusters(client: Client, script: Arc<Script>, has_volumes: bool) -> Result<()> {
    let clusters: Api<Cluster> = Api::all(client.clone());
    let mut changes = watcher(clusters, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    while let Some(cluster) = changes.next().await {
        // A watch that breaks, as when the API server restarts, is taken up again by the watcher.
        let Ok(cluster) = cluster else { continue };
        if has_volumes {
            scripted_volumes::create(&client, &cluster).await?;
        }
        if let Some(status) = script(&cluster) {
            answer_cluster(&client, &cluster, status).await?;
        }
    }
    Ok(())
}

async fn answer_cluster(client: &Client, cluster: &Cluster, status: Value) -> Result<()> {
    let namespace = cluster.namespace().context("a Cluster has a namespace")?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let authority = Secret {
        metadata: kube::api::ObjectMeta {
            name: Some(format!("{}-ca", cluster.name_any())),
            ..Default::default()
        },
        string_data: Some([("ca.crt".to_owned(), "a certificate".to_owned())].into()),
        ..Secret::default()
    };
    tolerate_existing(secrets.create(&PostParams::default(), &authority).await)?;
    let current = serde_json::to_value(&cluster.status)?;
    if !includes(&current, &status) {
        let clusters: Api<Cluster> = Api::namespaced(client.clone(), &namespace);
        let patch = Patch::Merge(json!({"status": status}));
        clusters
            .patch_status(&cluster.name_any(), &PatchParams::default(), &patch)
            .await
            .map(drop)
            .or_else(gone)?;
    }
    Ok(())
}

async fn play_poolers(client: Client) -> Result<()> {
    let poolers: Api<Pooler> = Api::all(client.clone());
    let mut changes = watcher(poolers, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    while let Some(pooler) = changes.next().await {
        let Ok(pooler) = pooler else { continue };
        answer_pooler(&client, &pooler).await?;
    }
    Ok(())
}

async fn answer_pooler(client: &Client, pooler: &Pooler) -> Result<()> {
    let namespace = pooler.namespace().context("a Pooler has a namespace")?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let instances = pooler.spec.instances.unwrap_or(1);
    let labels = json!({"cnpg.io/poolerName": pooler.name_any()});
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": pooler.name_any()},
        "spec": {
            "replicas": instances,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "pgbouncer", "image": "none"}]}},
        },
    }))?;
    if tolerate_existing(
        deployments
            .create(&PostParams::default(), &deployment)
            .await,
    )? {
        let patch = Patch::Merge(json!({"status": {
            "replicas": instances, "readyReplicas": instances, "availableReplicas": instances,
        }}));
        deployments
            .patch_status(&pooler.name_any(), &PatchParams::default(), &patch)
            .await?;
        let poolers: Api<Pooler> = Api::namespaced(client.clone(), &namespace);
        let patch = Patch::Merge(json!({"status": {"instances": instances, "phase": "active"}}));
        poolers
            .patch_status(&pooler.name_any(), &PatchParams::default(), &patch)
            .await?;
    }
    Ok(())
}

async fn play_backups(client: Client, script: Arc<BackupScript>) -> Result<()> {
    let backups: Api<Backup> = Api::all(client.clone());
    let mut changes = watcher(backups, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    while let Some(backup) = changes.next().await {
        let Ok(backup) = backup else { continue };
        answer_backup(&client, &backup, &*script).await?;
    }
    Ok(())
}

/// First it is begun, and when that is seen it ends.
async fn answer_backup(client: &Client, backup: &Backup, script: &BackupScript) -> Result<()> {
    let status = backup.status.clone().unwrap_or_default();
    let status = match status.phase.as_deref() {
        None => json!({"phase": "started", "startedAt": backup.metadata.creation_timestamp}),
        Some("started") => script(backup),
        Some(_) => return Ok(()),
    };
    let namespace = backup.namespace().context("a Backup has a namespace")?;
    let backups: Api<Backup> = Api::namespaced(client.clone(), &namespace);
    let patch = Patch::Merge(json!({"status": status}));
    backups
        .patch_status(&backup.name_any(), &PatchParams::default(), &patch)
        .await
        .map(drop)
        .or_else(gone)?;
    Ok(())
}

/// Whether it was created; a namesake from an earlier round is left as it is.
fn tolerate_existing<K>(result: Result<K, kube::Error>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Something that was deleted in the meantime needs no answer.
fn gone(error: kube::Error) -> Result<(), kube::Error> {
    match error {
        kube::Error::Api(status) if status.code == 404 => Ok(()),
        other => Err(other),
    }
}

/// Whether `whole` says everything that `part` says; nulls and absent fields are the same.
fn includes(whole: &Value, part: &Value) -> bool {
    match part {
        Value::Object(fields) => fields
            .iter()
            .all(|(name, part)| includes(&whole[name.as_str()], part)),
        Value::Array(items) => {
            let whole = whole.as_array().map(Vec::as_slice).unwrap_or_default();
            whole.len() == items.len()
                && whole
                    .iter()
                    .zip(items)
                    .all(|(whole, part)| includes(whole, part))
        }
        part => whole == part,
    }
}
