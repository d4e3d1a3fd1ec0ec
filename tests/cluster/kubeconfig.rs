//! Kubeconfig files and the clients made from them. Reads and writes files, speaks to no cluster by itself.

use std::{path::Path, sync::Once};

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use super::certificates::CertifiedKey;

/// The text of a kubeconfig with one user and everything inside, so that the file can be copied.
pub fn text(cluster: &str, server: &str, authority: &str, client: &CertifiedKey) -> Result<String> {
    let base64 = |pem: &str| ByteString(pem.as_bytes().to_vec());
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "contexts": [{ "name": cluster, "context": { "cluster": cluster, "user": cluster } }],
        "clusters": [{ "name": cluster, "cluster": {
            "server": server,
            "certificate-authority-data": base64(authority),
        }}],
        "users": [{ "name": cluster, "user": {
            "client-certificate-data": base64(&client.certificate),
            "client-key-data": base64(&client.private_key),
        }}],
    });
    serde_yaml::to_string(&kubeconfig).context("writing a kubeconfig as YAML")
}

/// The client configuration that a kubeconfig file describes.
pub async fn config(path: &Path) -> Result<Config> {
    install_crypto_provider();
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("understanding {}", path.display()))
}

/// A client for the cluster that a kubeconfig file names.
pub async fn client(path: &Path) -> Result<Client> {
    Client::try_from(config(path).await?)
        .with_context(|| format!("a client from {}", path.display()))
}

/// Chooses the TLS implementation of this process.
///
/// Two of them may be linked into one program, and then rustls refuses to guess. Tests have no `main` in which to choose.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    // An error means that somebody chose before, which is as good.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
