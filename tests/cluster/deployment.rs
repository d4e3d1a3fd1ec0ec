//! Waiting for what the cluster does with what was applied. Reads the cluster.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::wait;

/// Returns when a Deployment has all its replicas available, in its newest form.
pub async fn await_available(
    client: &Client,
    namespace: &str,
    name: &str,
    limit: Duration,
) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    wait::until(
        &format!("the deployment {namespace}/{name} being available"),
        limit,
        async || {
            let deployment = api.get(name).await?;
            ensure!(is_available(&deployment), "{}", state(&deployment));
            Ok(())
        },
    )
    .await
}

/// Returns when the cluster's one node takes pods.
pub async fn await_node(client: &Client, name: &str, limit: Duration) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    wait::until(&format!("the node {name} being ready"), limit, async || {
        let node = api.get(name).await.context("the node has not registered")?;
        let conditions = node
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let ready = conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
            .context("no condition yet")?;
        ensure!(
            ready.status == "True",
            "{}",
            ready.message.as_deref().unwrap_or_default()
        );
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        ensure!(
            taints.is_empty(),
            "the node still carries the taint {}",
            taints[0].key
        );
        Ok(())
    })
    .await
}

/// Returns when every pod of a namespace is ready by containers that were started after `since`.
///
/// After a node was started again, the API server still tells of pods as they were before.
pub async fn await_pods_since(
    client: &Client,
    namespace: &str,
    since: Timestamp,
    limit: Duration,
) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    wait::until(
        &format!("the pods of {namespace} being ready"),
        limit,
        async || {
            let pods = api.list(&ListParams::default()).await?;
            ensure!(!pods.items.is_empty(), "there are none yet");
            let late = pods.iter().find(|pod| !is_ready_since(pod, since));
            ensure!(
                late.is_none(),
                "{} is not",
                late.map(ResourceExt::name_any).unwrap_or_default()
            );
            Ok(())
        },
    )
    .await
}

fn is_ready_since(pod: &Pod, since: Timestamp) -> bool {
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    containers.is_some_and(|containers| {
        containers.iter().all(|container| {
            let running = container
                .state
                .as_ref()
                .and_then(|state| state.running.as_ref());
            let started = running.and_then(|running| running.started_at.as_ref());
            // The API server keeps whole seconds.
            container.ready && started.is_some_and(|time| time.0.as_second() >= since.as_second())
        })
    })
}

fn is_available(deployment: &Deployment) -> bool {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) == wanted
            && status.replicas.unwrap_or(0) == wanted
            && status.available_replicas.unwrap_or(0) == wanted
    })
}

fn state(deployment: &Deployment) -> String {
    let conditions = deployment
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let messages = conditions
        .into_iter()
        .flatten()
        .filter_map(|condition| condition.message.clone());
    let text = messages.collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        "nothing known of it yet".into()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(generation: i64, observed: i64, updated: i32, total: i32) -> Deployment {
        serde_json::from_value(serde_json::json!({
            "metadata": { "generation": generation },
            "spec": { "replicas": 1, "selector": {}, "template": {} },
            "status": {
                "observedGeneration": observed, "updatedReplicas": updated,
                "replicas": total, "availableReplicas": 1,
            },
        }))
        .unwrap()
    }

    #[test]
    fn pods_of_an_older_form_do_not_count() {
        assert!(is_available(&deployment(2, 2, 1, 1)));
        assert!(
            !is_available(&deployment(2, 1, 1, 1)),
            "the change was not seen yet"
        );
        assert!(
            !is_available(&deployment(2, 2, 0, 1)),
            "the pod is of the old form"
        );
        assert!(
            !is_available(&deployment(2, 2, 1, 2)),
            "an old pod still serves"
        );
    }

    #[test]
    fn pods_from_before_a_restart_are_not_ready() {
        let began: Timestamp = "2026-01-01T00:00:10.5Z".parse().unwrap();
        let pod = |ready: bool, started: &str| -> Pod {
            serde_json::from_value(serde_json::json!({ "status": { "containerStatuses": [{
                "name": "a", "image": "", "imageID": "", "restartCount": 0,
                "ready": ready, "state": { "running": { "startedAt": started } },
            }] } }))
            .unwrap()
        };
        assert!(is_ready_since(&pod(true, "2026-01-01T00:00:10Z"), began));
        assert!(!is_ready_since(&pod(true, "2026-01-01T00:00:09Z"), began));
        assert!(!is_ready_since(&pod(false, "2026-01-01T00:00:10Z"), began));
        assert!(
            !is_ready_since(&Pod::default(), began),
            "nothing is known of it"
        );
    }
}
