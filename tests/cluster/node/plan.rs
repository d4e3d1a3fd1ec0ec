//! What a node is made of, settled on the host and carried out inside. Data only.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    image_store,
    layout::{CACHE_INSIDE, Layout, NODE_ADDRESS, S3_PORT},
};
use crate::cluster::artifacts::{self, Program};

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
const PACKAGES: [&str; 6] = [
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "nftables",
    "runc",
    "util-linux",
];

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

/// An S3 server that the cluster brings along.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObjectStore {
    /// Its URL, as pods reach it.
    pub endpoint: String,
    /// The bucket that exists from the beginning.
    pub bucket: String,
    /// The region it claims to be in.
    pub region: String,
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
}

impl Plan {
    /// Provides every program, building what the cache lacks, and plans the node.
    pub fn make(layout: &Layout, object_store: ObjectStore) -> Result<Self> {
        artifacts::debian::ensure(&PACKAGES)?;
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
        let image_store = image_store::provide(&layout.kubernetes().join("containerd.toml"))?;
        image_store::adopt(&image_store, &layout.lib().join("containerd"))?;
        Ok(Self {
            name: layout.name().to_owned(),
            state: layout.state().to_owned(),
            image_store,
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

/// The cluster's S3 server, with keys made when the cluster is.
pub fn object_store(layout: &Layout) -> Result<ObjectStore> {
    let path = layout.object_store();
    if path.exists() {
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        return serde_json::from_slice(&text)
            .with_context(|| format!("understanding {}", path.display()));
    }
    let store = ObjectStore {
        endpoint: format!("http://{NODE_ADDRESS}:{S3_PORT}"),
        bucket: "daap-backups".to_owned(),
        region: "us-east-1".to_owned(),
        access_key: Uuid::new_v4().simple().to_string(),
        secret_key: format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
    };
    fs::write(&path, serde_json::to_vec_pretty(&store)?)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(store)
}
