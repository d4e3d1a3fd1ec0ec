//! Where everything of one cluster is, derived from its name alone. Pure, but for reading the environment once.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

/// The node's address, which pods, services and the forwarder reach. Each cluster has a network of its own, so that
/// all may use the same one.
pub const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The API server's port, in the node and on the host.
pub const API_SERVER_PORT: u16 = 6443;

/// Where the cache is visible inside the node.
pub const CACHE_INSIDE: &str = "/run/daap/cache";
/// Keys, certificates and configuration as the node sees them.
pub const KUBERNETES_INSIDE: &str = "/var/lib/kubernetes";

/// The places of one cluster.
#[derive(Debug, Clone)]
pub struct Layout {
    name: String,
    state: PathBuf,
}

impl Layout {
    /// The layout of the cluster with this name, below `$XDG_STATE_HOME/daap` or `/var/lib/daap`.
    pub fn new(name: &str) -> Result<Self> {
        let base = std::env::var_os("XDG_STATE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        Self::below(
            &base
                .unwrap_or_else(|| PathBuf::from("/var/lib"))
                .join("daap"),
            name,
        )
    }

    fn below(base: &Path, name: &str) -> Result<Self> {
        let allowed = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
        };
        ensure!(
            (1..=40).contains(&name.len())
                && name.chars().all(allowed)
                && !name.starts_with('-')
                && !name.ends_with('-'),
            "CLUSTER_NAME {name:?} is not a DNS label of at most 40 characters"
        );
        Ok(Self {
            name: name.to_owned(),
            state: base.join(name),
        })
    }

    /// The cluster's name, which is also the node's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that holds all of the cluster's files.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What the node sees as `/var/lib`.
    pub fn lib(&self) -> PathBuf {
        self.state.join("lib")
    }

    /// What the node sees as `/var/log`; each process has its own file there.
    pub fn log(&self) -> PathBuf {
        self.state.join("log")
    }

    /// Keys, certificates and configuration of the node's programs; the node sees them in [`KUBERNETES_INSIDE`].
    pub fn kubernetes(&self) -> PathBuf {
        self.lib().join("kubernetes")
    }

    /// The administrator's kubeconfig, for use on the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Names the provider that made the cluster.
    pub fn provider_record(&self) -> PathBuf {
        self.state.join("provider")
    }

    /// Names the process that keeps the node and forwards to it.
    pub fn supervisor_record(&self) -> PathBuf {
        self.state.join("supervisor")
    }

    /// Names the node's first process.
    pub fn init_record(&self) -> PathBuf {
        self.state.join("init")
    }

    /// The ports that are forwarded.
    pub fn forwards(&self) -> PathBuf {
        self.state.join("forwards.json")
    }

    /// What the node starts.
    pub fn plan(&self) -> PathBuf {
        self.state.join("plan.json")
    }

    /// The image archives that were imported.
    pub fn imported(&self) -> PathBuf {
        self.state.join("imported")
    }

    /// Where the S3 server is and which keys open it.
    pub fn object_store(&self) -> PathBuf {
        self.state.join("s3.json")
    }

    /// The control group above all of the cluster's pods.
    pub fn control_group(&self) -> String {
        format!("daap-{}", self.name)
    }

    /// The cluster's own address on the host's loopback interface, which answers to all of 127.0.0.0/8.
    pub fn loopback(&self) -> Ipv4Addr {
        let digest = Sha256::digest(self.name.as_bytes());
        // Neither 127.0.*, where other programs live, nor a first or last address.
        Ipv4Addr::new(127, 1 + digest[0] % 254, digest[1], 1 + digest[2] % 254)
    }

    /// Where the API server answers on the host.
    pub fn api_server(&self) -> SocketAddr {
        (self.loopback(), API_SERVER_PORT).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(name: &str) -> Result<Layout> {
        Layout::below(Path::new("/base"), name)
    }

    #[test]
    fn everything_differs_between_two_names() {
        let (one, two) = (layout("daap").unwrap(), layout("daap-test").unwrap());
        assert_ne!(one.state(), two.state());
        assert_ne!(one.loopback(), two.loopback());
        assert_ne!(one.control_group(), two.control_group());
    }

    #[test]
    fn addresses_stay_the_same_between_runs() {
        assert_eq!(
            layout("daap").unwrap().loopback(),
            layout("daap").unwrap().loopback()
        );
        assert!(layout("daap").unwrap().loopback().is_loopback());
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for name in ["", "..", "a/b", "-a", "a-", "A", "a b", &"a".repeat(41)] {
            assert!(layout(name).is_err(), "{name:?}");
        }
    }
}
