//! What the cluster is made of: programs built from Go modules, images, upstream manifests.
//!
//! Everything is built once into the cache ([`cache_dir`]) and keyed by what it is built from.

mod cache;
mod command;
mod contract_tools;
pub mod debian;
mod go;
mod images;
mod manifests;
pub mod oci;
mod progress;
mod rootfs;
mod workspace;

use std::{path::PathBuf, thread};

use anyhow::anyhow;

pub use self::{
    cache::cache_dir,
    contract_tools::{ContractTools, contract_tools, input as contract_input},
    images::{image, image_name},
    manifests::manifest,
};

/// A program that runs on the host side of the node, built from a checked-in Go tool module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// The API server.
    KubeApiserver,
    /// The controller manager.
    KubeControllerManager,
    /// The scheduler.
    KubeScheduler,
    /// The node agent.
    Kubelet,
    /// The service proxy.
    KubeProxy,
    /// The command-line client, of the cluster's own version.
    Kubectl,
    /// The API server's store.
    Etcd,
    /// The S3 server.
    Versitygw,
    /// k3d, for machines with a Docker engine.
    K3d,
}

/// An OCI image archive that the node imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Image {
    /// The sandbox image.
    Pause,
    /// Cluster DNS.
    Coredns,
    /// The CloudNativePG operator.
    CnpgOperator,
    /// The Barman Cloud plugin (operator side).
    BarmanPlugin,
    /// The Barman Cloud plugin's sidecar.
    BarmanSidecar,
    /// PostgreSQL 17 with pgaudit.
    Postgresql,
    /// PgBouncer.
    Pgbouncer,
    /// The dynamic volume provisioner.
    LocalPathProvisioner,
    /// The DAAP controller, from this workspace's dev-profile binary.
    DaapController,
    /// The DAAP facade, from this workspace's dev-profile binary.
    DaapFacade,
}

impl Image {
    /// Whether it stands on the Debian root file system, and so shares an archive with the others that do.
    fn is_on_debian(self) -> bool {
        matches!(
            self,
            Self::BarmanSidecar | Self::Postgresql | Self::Pgbouncer | Self::LocalPathProvisioner
        )
    }
}

/// A manifest that an upstream publishes inside its Go module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Manifest {
    /// CloudNativePG's release manifest (CRDs, RBAC, webhooks, Deployment).
    Cnpg,
    /// The Barman Cloud plugin's manifest.
    BarmanPlugin,
}

/// The absolute path of a program, building it when the cache lacks it.
pub fn program(program: Program) -> anyhow::Result<PathBuf> {
    let (build, name) = match program {
        Program::KubeApiserver => (go::KUBERNETES, "kube-apiserver"),
        Program::KubeControllerManager => (go::KUBERNETES, "kube-controller-manager"),
        Program::KubeScheduler => (go::KUBERNETES, "kube-scheduler"),
        Program::Kubelet => (go::KUBERNETES, "kubelet"),
        Program::KubeProxy => (go::KUBERNETES, "kube-proxy"),
        Program::Kubectl => (go::KUBERNETES, "kubectl"),
        Program::Etcd => (go::ETCD, "etcd"),
        Program::Versitygw => (go::VERSITYGW, "versitygw"),
        Program::K3d => (go::K3D, "k3d"),
    };
    build.program(name)
}

/// Builds all that the cache lacks of the given programs and images, and prints a line for each step.
///
/// The root file system waits for the network and the Go builds for the processor, so they are made side by side.
pub fn ensure(programs: &[Program], images: &[Image]) -> anyhow::Result<()> {
    let (on_debian, others): (Vec<Image>, Vec<Image>) =
        images.iter().partition(|image| image.is_on_debian());
    thread::scope(|scope| {
        let root = scope.spawn(|| match on_debian.is_empty() {
            true => Ok(()),
            false => rootfs::tar().map(drop),
        });
        for wanted in programs {
            program(*wanted)?;
        }
        for wanted in others {
            image(wanted)?;
        }
        root.join()
            .map_err(|_panic| anyhow!("making the root file system was cut short"))??;
        for wanted in &on_debian {
            image(*wanted)?;
        }
        Ok(())
    })
}
