//! The programs of the system, started anew as a platform team would. Writes to the cluster.

use anyhow::{Context as _, Result, ensure};
use daap_tests::{
    cluster::wait,
    installation::{Installation, SYSTEM_NAMESPACE},
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::PATIENCE;

/// The Deployment of the controller, and its Lease.
const CONTROLLER: &str = "daap-controller";

/// Replaces the pods of a Deployment, and returns when the new ones run.
pub async fn restart(installation: &Installation, namespace: &str, name: &str) -> Result<()> {
    let (in_namespace, deployment) = (
        format!("--namespace={namespace}"),
        format!("deployment/{name}"),
    );
    let restart = ["rollout", "restart", &in_namespace, &deployment];
    installation.kubectl.run(&restart).await?;
    await_rollout(installation, namespace, name).await
}

/// Gives the controller a setting, as `NAME=value`, or takes it away, as `NAME-`. Returns when a controller leads that has
/// it: what is asked for before that waits for the end of its predecessor's lease.
pub async fn set_controller(installation: &Installation, setting: &str) -> Result<()> {
    let (namespace, deployment) = (
        format!("--namespace={SYSTEM_NAMESPACE}"),
        format!("deployment/{CONTROLLER}"),
    );
    let set = ["set", "env", &namespace, &deployment, setting];
    installation.kubectl.run(&set).await?;
    await_rollout(installation, SYSTEM_NAMESPACE, CONTROLLER).await?;
    await_leader(installation).await
}

/// Returns when the newest pods of a Deployment run, and no others.
async fn await_rollout(installation: &Installation, namespace: &str, name: &str) -> Result<()> {
    let (in_namespace, deployment) = (
        format!("--namespace={namespace}"),
        format!("deployment/{name}"),
    );
    let status = [
        "rollout",
        "status",
        &in_namespace,
        &deployment,
        "--timeout=5m",
    ];
    installation.kubectl.run(&status).await.map(drop)
}

/// Returns when a pod leads that is not about to end.
async fn await_leader(installation: &Installation) -> Result<()> {
    let client = installation.site.client();
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let of_controller =
        ListParams::default().labels(&format!("app.kubernetes.io/name={CONTROLLER}"));
    wait::until("the new controller leading", PATIENCE, async || {
        let spec = leases.get(CONTROLLER).await?.spec;
        let holder = spec
            .and_then(|spec| spec.holder_identity)
            .context("nobody leads")?;
        let stays = pods
            .list(&of_controller)
            .await?
            .into_iter()
            .any(|pod| pod.name_any() == holder && pod.metadata.deletion_timestamp.is_none());
        ensure!(stays, "{holder} leads");
        Ok(())
    })
    .await
}
