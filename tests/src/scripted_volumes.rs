//! The volumes of Clusters, played: one for each, made before the Cluster has a status, gone a while after it. Writes the
//! cluster.
//!
//! Nobody collects garbage on an API server by itself, and nobody takes off the finalizers of volumes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use daap_crds::cnpg::{self, Cluster};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde_json::json;

/// How long a volume outlives its Cluster.
const LINGERS: Duration = Duration::from_secs(1);

/// Makes the volume of a Cluster, if it is not there.
pub(crate) async fn create(client: &Client, cluster: &Cluster) -> Result<()> {
    let inherited = cluster.spec.inherited_metadata.as_ref();
    let mut labels = inherited
        .and_then(|inherited| inherited.labels.clone())
        .unwrap_or_default();
    labels.insert(cnpg::label::CLUSTER.to_owned(), cluster.name_any());
    let claim = serde_json::from_value(json!({
        "metadata": {"name": name(cluster), "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }))?;
    let created = claims(client, cluster)?
        .create(&PostParams::default(), &claim)
        .await;
    match created {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// Removes volumes after their Clusters.
pub(crate) async fn collect(client: Client) -> Result<()> {
    let clusters: Api<Cluster> = Api::all(client.clone());
    let mut events = watcher(clusters, watcher::Config::default())
        .default_backoff()
        .boxed();
    while let Some(event) = events.next().await {
        if let Ok(Event::Delete(cluster)) = event {
            tokio::spawn(remove(client.clone(), cluster));
        }
    }
    Ok(())
}

async fn remove(client: Client, cluster: Cluster) -> Result<()> {
    tokio::time::sleep(LINGERS).await;
    let claims = claims(&client, &cluster)?;
    claims
        .delete(&name(&cluster), &DeleteParams::default())
        .await?;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    claims
        .patch(&name(&cluster), &PatchParams::default(), &free)
        .await?;
    Ok(())
}

fn name(cluster: &Cluster) -> String {
    format!("{}-1", cluster.name_any())
}

fn claims(client: &Client, cluster: &Cluster) -> Result<Api<PersistentVolumeClaim>> {
    let namespace = cluster.namespace().context("a Cluster has a namespace")?;
    Ok(Api::namespaced(client.clone(), &namespace))
}
