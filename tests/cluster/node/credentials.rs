//! The node's certificates, keys, kubeconfigs and configuration files. Writes below the cluster's directory.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::layout::{API_SERVER_PORT, Layout, NODE_ADDRESS};
use crate::cluster::{
    artifacts::{Image, image_name},
    certificates::{self, Authority, CertifiedKey},
    components::{KUBERNETES_NAMES, KUBERNETES_SERVICE, pki},
    kubeconfig,
};

/// File name of the kubelet's own server certificate.
const KUBELET: &str = "kubelet.crt";
const KUBELET_KEY: &str = "kubelet.key";

/// Writes configuration and, once, credentials.
pub fn write(layout: &Layout) -> Result<()> {
    let directory = layout.kubernetes();
    fs::create_dir_all(directory.join("pki")).context("making the directory for credentials")?;
    fs::create_dir_all(directory.join("cni"))
        .context("making the directory for the pods' network")?;
    for (name, text) in [
        ("containerd.toml", containerd_configuration().as_str()),
        ("kubelet.yaml", include_str!("../config/kubelet.yaml")),
        ("kube-proxy.yaml", include_str!("../config/kube-proxy.yaml")),
        ("cni/pods.conflist", include_str!("../config/pods.conflist")),
    ] {
        write_file(&directory.join(name), text)?;
    }
    // The administrator's kubeconfig is written last: where it is, the rest is complete.
    if layout.kubeconfig().exists() {
        Ok(())
    } else {
        write_credentials(layout, &directory)
    }
}

/// The configuration of the container runtime.
pub fn containerd_configuration() -> String {
    include_str!("../config/containerd.toml").replace("SANDBOX_IMAGE", &image_name(Image::Pause))
}

fn write_credentials(layout: &Layout, directory: &Path) -> Result<()> {
    let authority = Authority::new(&format!("daap cluster {}", layout.name()))?;
    let node = NODE_ADDRESS.to_string();
    let loopback = layout.loopback().to_string();
    let mut names: Vec<_> = [
        &node,
        &loopback,
        KUBERNETES_SERVICE,
        "127.0.0.1",
        "localhost",
    ]
    .map(str::to_owned)
    .into();
    names.extend(KUBERNETES_NAMES.map(str::to_owned));

    let keys = directory.join("pki");
    write_file(&keys.join(pki::AUTHORITY), authority.certificate())?;
    let pair = |certificate: &str, key: &str, certified: &CertifiedKey| {
        write_file(&keys.join(certificate), &certified.certificate)?;
        write_file(&keys.join(key), &certified.private_key)
    };
    pair(
        pki::API_SERVER,
        pki::API_SERVER_KEY,
        &authority.server("kube-apiserver", &names)?,
    )?;
    pair(
        KUBELET,
        KUBELET_KEY,
        &authority.server("kubelet", &[node.clone(), layout.name().to_owned()])?,
    )?;
    let kubelet_client = authority.client("kube-apiserver-kubelet-client", None)?;
    pair(
        pki::KUBELET_CLIENT,
        pki::KUBELET_CLIENT_KEY,
        &kubelet_client,
    )?;
    let tokens = certificates::signing_key()?;
    write_file(&keys.join(pki::TOKEN_PUBLIC_KEY), &tokens.public_key)?;
    write_file(&keys.join(pki::TOKEN_KEY), &tokens.private_key)?;

    let inside = format!("https://{NODE_ADDRESS}:{API_SERVER_PORT}");
    let write_kubeconfig = |path: &Path, server: &str, user: &str, group: Option<&str>| {
        let client = authority.client(user, group)?;
        write_file(
            path,
            &kubeconfig::text(layout.name(), server, authority.certificate(), &client)?,
        )
    };
    for (file, user, group) in [
        (
            "kube-controller-manager.kubeconfig",
            "system:kube-controller-manager",
            None,
        ),
        ("kube-scheduler.kubeconfig", "system:kube-scheduler", None),
        ("kube-proxy.kubeconfig", "system:kube-proxy", None),
        (
            "kubelet.kubeconfig",
            &format!("system:node:{}", layout.name()),
            Some("system:nodes"),
        ),
        // With which the node's first process sees that the API server is ready.
        (
            "node.kubeconfig",
            "system:node-supervisor",
            Some("system:masters"),
        ),
    ] {
        write_kubeconfig(&directory.join(file), &inside, user, group)?;
    }
    let outside = format!("https://{}", layout.api_server());
    write_kubeconfig(
        &layout.kubeconfig(),
        &outside,
        "admin",
        Some("system:masters"),
    )
}

/// A file comes into being complete or not at all.
fn write_file(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("writing {}", path.display()))
}
