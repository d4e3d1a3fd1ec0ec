//! Waiting for what the cluster does with what was applied. Reads the cluster.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kube::{Api, Client};

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
}
