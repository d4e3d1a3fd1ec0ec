//! What a node is made of, settled on the host and carried out inside. Data only.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    image_store, images,
    layout::{CACHE_INSIDE, Layout},
};
use crate::cluster::{
    artifacts::{self, Program},
    object_store::ObjectStore,
};

/// The programs that run in a node.
const PROGRAMS: [(&str, Program); 7] = [
    ("etcd", Program::Etcd),
    ("kube-apiserver", Program::KubeApiserver),
    ("kube-controller-manager", Program::KubeControllerManager),
    ("kube-scheduler", Program::KubeScheduler),
    ("kubelet", Program::Kubelet),
    ("kube-proxy", Program::KubeProxy),
    ("versitygw", Program::Versitygw),
];

/// The Debian packages whose programs a node needs.
pub const PACKAGES: [&str; 6] = [
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "nftables",
    "runc",
    "util-linux",
];

/// The programs that run in a node.
pub fn programs() -> [Program; 7] {
    PROGRAMS.map(|(_, program)| program)
}

/// Everything that the node's first process has to know.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The cluster's name.
    pub name: String,
    /// The cluster's directory on the host.
    pub state: PathBuf,
    /// The cache on the host.
    pub cache: PathBuf,
    /// The directory of unpacked images on the host.
    pub image_store: PathBuf,
    /// Programs by name, as the node sees them.
    pub programs: BTreeMap<String, PathBuf>,
    /// The keys of the S3 server.
    pub object_store: ObjectStore,
}

impl Plan {
    /// Provides every program, building what the cache lacks, and plans the node.
    pub fn make(layout: &Layout, object_store: ObjectStore) -> Result<Self> {
        artifacts::debian::ensure(&PACKAGES)?;
        artifacts::ensure(&programs(), image_store::images())?;
        let cache = artifacts::cache_dir()?;
        let inside = |path: PathBuf| {
            let below = path
                .strip_prefix(&cache)
                .context("a program outside of the cache")?;
            anyhow::Ok(Path::new(CACHE_INSIDE).join(below))
        };
        let mut programs = BTreeMap::new();
        for (name, program) in PROGRAMS {
            let path = artifacts::program(program).with_context(|| format!("providing {name}"))?;
            programs.insert(name.to_owned(), inside(path)?);
        }
        let store = image_store::provide(&layout.kubernetes().join("containerd.toml"))?;
        image_store::adopt(&store.path, &layout.lib().join("containerd"))?;
        images::remember(layout, &store.archives)?;
        Ok(Self {
            name: layout.name().to_owned(),
            state: layout.state().to_owned(),
            image_store: store.path,
            programs,
            object_store,
            cache,
        })
    }

    /// Reads a plan.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("understanding {}", path.display()))
    }

    /// Writes the plan where only root may read it, since it holds keys.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("writing {}", path.display()))
    }
}
