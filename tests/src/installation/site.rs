//! The cluster that DAAP is installed in, and how it is reached from this machine. Writes to the cluster's list of
//! forwarded ports and to its container runtime.
//!
//! Everything else of the installation is the same on every cluster.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};

use crate::cluster::{
    artifacts::Image,
    kubeconfig,
    node::{Layout, Node, ObjectStore},
};

/// The images of DAAP and of the databases that it makes.
const IMAGES: [Image; 5] = [
    Image::Postgresql,
    Image::Pgbouncer,
    Image::BarmanSidecar,
    Image::DaapController,
    Image::DaapFacade,
];

/// A running cluster with CloudNativePG in it.
#[derive(Clone)]
pub struct Site {
    node: Node,
    client: Client,
    kubeconfig: PathBuf,
}

impl Site {
    /// The running cluster with this name.
    pub async fn find(name: &str) -> Result<Self> {
        let layout = Layout::new(name)?;
        let node =
            Node::find(&layout).with_context(|| format!("the cluster {name} does not run"))?;
        let kubeconfig = layout.kubeconfig();
        Ok(Self {
            node,
            client: kubeconfig::client(&kubeconfig).await?,
            kubeconfig,
        })
    }

    /// A client that may do everything.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The overlay of `manifests/overlays` that fits the cluster.
    pub fn overlay(&self) -> &'static str {
        "node"
    }

    /// The S3 server.
    pub fn object_store(&self) -> Result<ObjectStore> {
        self.node.object_store()
    }

    /// The address on this machine at which the cluster's ports are.
    pub fn address(&self) -> IpAddr {
        self.node.layout.loopback().into()
    }

    /// Makes the images known to the cluster.
    pub async fn import_images(&self) -> Result<()> {
        self.node.import(&IMAGES).await
    }

    /// Lets a port of this machine lead to a Service, and returns where.
    pub async fn forward(
        &self,
        port: u16,
        namespace: &str,
        service: &str,
        target: u16,
    ) -> Result<SocketAddr> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let service = api
            .get(service)
            .await
            .with_context(|| format!("reading the Service {namespace}/{service}"))?;
        let address = service
            .spec
            .and_then(|spec| spec.cluster_ip)
            .context("a Service without an address")?;
        let address: IpAddr = address
            .parse()
            .with_context(|| format!("a Service with the address {address:?}"))?;
        self.node.forward(port, (address, target).into()).await
    }
}
