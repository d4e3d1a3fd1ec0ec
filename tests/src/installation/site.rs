//! The cluster that DAAP is installed in, and how it is reached from this machine.
//!
//! Everything else of the installation is the same on every cluster. Writes to the cluster's images and to the list of
//! ports that lead to it.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use kube::Client;
use tokio::process::Command;

use crate::cluster::{
    artifacts::Image,
    kubeconfig,
    object_store::ObjectStore,
    provider::{Cluster, Provider},
};

/// DAAP itself.
const OWN_IMAGES: [Image; 2] = [Image::DaapController, Image::DaapFacade];

/// DAAP, and what databases are made of.
const ALL_IMAGES: [Image; 5] = [
    Image::Postgresql,
    Image::Pgbouncer,
    Image::BarmanSidecar,
    Image::DaapController,
    Image::DaapFacade,
];

/// A running cluster with CloudNativePG in it.
#[derive(Clone)]
pub struct Site {
    cluster: Cluster,
    client: Client,
    kubeconfig: PathBuf,
}

impl Site {
    /// Brings up the cluster with this name and CloudNativePG in it, or completes what is half up.
    pub async fn up(provider: Provider, name: &str) -> Result<Self> {
        let cluster = Cluster::choose(provider, name).await?;
        run(&cluster, &["up"]).await?;
        run(&cluster, &["cnpg-install"]).await?;
        let kubeconfig = cluster.kubeconfig()?;
        let client = kubeconfig::client(&kubeconfig).await?;
        Ok(Self {
            cluster,
            client,
            kubeconfig,
        })
    }

    /// Takes down the cluster with this name.
    pub async fn down(provider: Provider, name: &str) -> Result<()> {
        run(&Cluster::choose(provider, name).await?, &["down"]).await
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
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
        match self.cluster.provider() {
            Provider::Auto | Provider::Node => "node",
            Provider::K3d | Provider::Existing => "k3d",
        }
    }

    /// The S3 server.
    pub fn object_store(&self) -> Result<ObjectStore> {
        self.cluster.object_store()
    }

    /// The address on this machine at which the cluster's ports are.
    pub fn address(&self) -> IpAddr {
        self.cluster.address()
    }

    /// Whether images are built here and given to the cluster. Otherwise it fetches them.
    pub fn takes_images(&self) -> bool {
        self.cluster.provider() != Provider::Existing
    }

    /// Gives the cluster the images that it cannot fetch.
    pub async fn import_images(&self) -> Result<()> {
        match self.cluster.provider() {
            Provider::Auto | Provider::Node => self.cluster.import(&ALL_IMAGES).await,
            Provider::K3d => self.cluster.import(&OWN_IMAGES).await,
            Provider::Existing => Ok(()),
        }
    }

    /// Lets a port of this machine lead to a Service, and returns where.
    pub async fn forward(
        &self,
        port: u16,
        namespace: &str,
        service: &str,
        target: u16,
    ) -> Result<SocketAddr> {
        let target = format!("{namespace}/{service}:{target}");
        run(&self.cluster, &["forward-port", &port.to_string(), &target]).await?;
        Ok((self.address(), port).into())
    }
}

/// Runs the program that keeps clusters, as a program of its own: what it starts outlives this one.
async fn run(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    let program = cluster_program()?;
    let mut command = Command::new(&program);
    command
        .args(["--name", cluster.layout().name()])
        .args(arguments);
    let status = command.stdin(Stdio::null()).status().await;
    let status = status.with_context(|| format!("running {}", program.display()))?;
    ensure!(
        status.success(),
        "{} {}: {status}",
        program.display(),
        arguments.join(" ")
    );
    Ok(())
}

/// Cargo puts the programs of this package side by side, and its test programs one directory below.
fn cluster_program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    let mut candidates = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("cluster"));
    let found = candidates.find(|candidate| candidate.is_file());
    found.context(
        "the program `cluster` was not built: run `cargo build --package daap-tests --bins`",
    )
}
