//! The S3 server that a cluster brings along. Reads and writes its description; installs it where the node does not run it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use kube::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{deployment, manifest};

/// How long the server gets to start, its image being fetched included.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where it is installed in clusters that are not ours.
const NAMESPACE: &str = "daap-object-store";
const NAME: &str = "versitygw";
/// Its port, in the node and in other clusters.
pub const PORT: u16 = 7070;

/// An S3 server and the keys that open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl ObjectStore {
    /// Reads a description.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("understanding {}", path.display()))
    }

    /// Reads the description of a cluster's server; a new cluster gets one, with keys made for it.
    pub fn read_or_make(path: &Path, host: &str) -> Result<Self> {
        if path.exists() {
            return Self::read(path);
        }
        let store = Self {
            endpoint: format!("http://{host}:{PORT}"),
            bucket: "daap-backups".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: Uuid::new_v4().simple().to_string(),
            secret_key: format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
        };
        let text = serde_json::to_vec_pretty(&store).context("describing the S3 server")?;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(store)
    }
}

/// The host name of a server that was installed with [`install`].
pub fn host() -> String {
    format!("{NAME}.{NAMESPACE}.svc")
}

/// Installs a server as a Deployment, and returns when it answers.
pub async fn install(client: &Client, store: &ObjectStore) -> Result<()> {
    let text = include_str!("addons/object-store.yaml")
        .replace("BUCKET", &store.bucket)
        .replace("REGION", &store.region);
    let mut objects = manifest::parse(&text)?;
    let keys = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": NAME, "namespace": NAMESPACE },
        "stringData": { "ROOT_ACCESS_KEY": store.access_key, "ROOT_SECRET_KEY": store.secret_key },
    });
    objects.push(serde_json::from_value(keys).context("the keys of the S3 server")?);
    manifest::apply(client, objects).await?;
    deployment::await_available(client, NAMESPACE, NAME, PATIENCE).await
}
