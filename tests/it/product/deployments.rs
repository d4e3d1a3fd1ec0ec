//! The programs of the system, started anew as a platform team would. Writes to the cluster.

use anyhow::Result;
use daap_tests::installation::Installation;

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
