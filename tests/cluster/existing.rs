//! A cluster that somebody else runs. Reads its kubeconfig; nothing is started or ended here.

use std::path::PathBuf;

use anyhow::{Context, Result};
use kube::Client;

/// The file that the current kubeconfig is in.
pub fn kubeconfig() -> Result<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    if let Some(named) = named {
        // Of several files the first is taken: what is read here is one cluster.
        let first = std::env::split_paths(&named).next();
        let first = first.context("KUBECONFIG names no file")?;
        // Programs that use it later may run in another directory.
        return std::path::absolute(first).context("the directory that KUBECONFIG is relative to");
    }
    let home = std::env::home_dir().context("neither KUBECONFIG nor a home directory is known")?;
    Ok(home.join(".kube/config"))
}

/// The cluster's version, which shows that it answers.
pub async fn version(client: &Client) -> Result<String> {
    let version = client
        .apiserver_version()
        .await
        .context("the cluster of the current kubeconfig does not answer")?;
    Ok(version.git_version)
}
