//! Databases that are archived and destroyed, and one whose primary dies, all while somebody writes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use aws_sdk_s3::Client;
use daap_tests::{
    cluster::{progress::Progress, wait},
    installation::{Installation, SYSTEM_NAMESPACE, database::Database},
    s3_server,
};

use super::{
    PATIENCE,
    recovery::{await_recoverable, make_recoverable, make_tier, open},
    refused,
    scribe::Scribe,
};

const NAMESPACE: &str = "--namespace=daap-team-shop";
/// Where the S3 server of the node can be reached from outside of it.
const STORE_PORT: u16 = 5552;

/// Nothing is deleted while the archive is broken; after it is repaired, every acknowledged row is in a copy.
pub async fn an_archive_keeps_every_commit(
    installation: &Installation,
    progress: Progress,
) -> Result<()> {
    make_tier(installation, "vaulted", "archive").await?;
    let mut source = make_recoverable(installation, "vaulted", "vaulted", progress).await?;
    let door = open(installation, &source, 5531).await?;
    door.make_table().await?;
    let scribe = Scribe::start(door, 1);
    let broken = BrokenStore::new(installation).await?;
    source.destroy(installation).await?;
    wait::until("the archive being waited for", PATIENCE, async || {
        source.look(installation).await?;
        let operation = &source.record["operation"];
        ensure!(
            operation["kind"] == "archive" && operation["message"].is_string(),
            "{operation}"
        );
        ensure!(operation["step"] != "DeleteCluster", "{operation}");
        Ok(())
    })
    .await?;
    let written = scribe.count();
    wait::until("writes going on", PATIENCE, async || {
        ensure!(scribe.count() > written);
        Ok(())
    })
    .await?;
    broken.repair(installation).await?;
    source
        .await_status(installation, "archived", progress)
        .await?;
    let acknowledged = scribe.stop().await?;
    let gone = ["get", "clusters.postgresql.cnpg.io", "vaulted", NAMESPACE];
    refused(installation.kubectl.run(&gone).await, "not found")?;

    let mut copy = source.restore(installation, "unvaulted", None).await?;
    copy.await_ready(installation, progress).await?;
    let door = open(installation, &copy, 5532).await?;
    let rows = door.rows().await?;
    let kept: Vec<&str> = rows.split(',').collect();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|n| !kept.contains(&&*n.to_string()))
        .collect();
    ensure!(
        lost.is_empty() && acknowledged.len() > 5,
        "of {} rows, lost: {lost:?}",
        acknowledged.len()
    );
    Ok(())
}

/// The credentials of the object store, replaced by wrong ones.
struct BrokenStore {
    secret: String,
    key: String,
    right: String,
}

impl BrokenStore {
    async fn new(installation: &Installation) -> Result<Self> {
        let namespace = format!("--namespace={SYSTEM_NAMESPACE}");
        let read = |path: &'static str| {
            let output = format!("--output=jsonpath={{{path}}}");
            async move {
                installation
                    .kubectl
                    .run(&["get", "daapobjectstore/backups", &output])
                    .await
            }
        };
        let secret = read(".spec.credentials.secret.name").await?;
        let key = read(".spec.credentials.secret.secretAccessKeyKey").await?;
        let output = format!("--output=jsonpath={{.data.{key}}}");
        let right = ["get", "secret", &secret, &namespace, &output];
        let right = installation.kubectl.run(&right).await?;
        let store = Self { secret, key, right };
        // "wrong", in base64.
        store.set(installation, "d3Jvbmc=").await?;
        Ok(store)
    }

    async fn repair(self, installation: &Installation) -> Result<()> {
        self.set(installation, &self.right).await
    }

    async fn set(&self, installation: &Installation, value: &str) -> Result<()> {
        let namespace = format!("--namespace={SYSTEM_NAMESPACE}");
        let patch = format!("--patch={{\"data\":{{\"{}\":\"{value}\"}}}}", self.key);
        let patch = [
            "patch",
            "secret",
            &self.secret,
            &namespace,
            "--type=merge",
            &patch,
        ];
        installation.kubectl.run(&patch).await.map(drop)
    }
}

/// Exactly what is the database's goes, also when the controller dies half-way.
pub async fn a_hard_delete_removes_one_prefix(
    installation: &Installation,
    progress: Progress,
) -> Result<()> {
    make_tier(installation, "shredded", "hard").await?;
    let mut victim = make_recoverable(installation, "cat", "shredded", progress).await?;
    let mut neighbour = make_recoverable(installation, "cat-2", "shredded", progress).await?;
    let id = victim.id()?.to_owned();
    let bucket = installation.site.cluster().node()?.bucket()?;
    let team = bucket.join("daap-team-shop");
    let (own, longer) = (team.join(&id), team.join(format!("{id}0")));
    plant(&own.join("more"), 1100)?;
    plant(&longer, 3)?;
    plant(&team.join("cat"), 3)?;
    let neighbours = [&longer, &team.join("cat")];
    let before = neighbours.map(|directory| contents(directory));
    let store = Store::reach(installation).await?;
    let prefix = format!("daap-team-shop/{id}");
    store.interrupt_upload(&format!("{prefix}/base")).await?;
    let upload = store.interrupt_upload(&format!("{prefix}0/base")).await?;

    victim.destroy(installation).await?;
    wait::until("the purge having begun", PATIENCE, async || {
        victim.look(installation).await?;
        let step = &victim.record["operation"]["step"];
        ensure!(
            step == "RemoveChildren" || step == "Purge" || step == "Recheck",
            "{step}"
        );
        Ok(())
    })
    .await?;
    let kill = [
        "delete",
        "pod",
        "--namespace=daap-system",
        "--selector=app.kubernetes.io/name=daap-controller",
        "--grace-period=0",
        "--force",
    ];
    installation.kubectl.run(&kill).await?;
    victim
        .await_status(installation, "deleted", progress)
        .await?;
    ensure!(files(&own)?.is_empty(), "left: {:?}", files(&own)?);
    for (directory, before) in neighbours.into_iter().zip(before) {
        ensure!(
            contents(directory)? == before?,
            "{} is not what it was",
            directory.display()
        );
    }
    let uploads = store.uploads(&prefix).await?;
    ensure!(uploads == [upload], "uploads: {uploads:?}");
    for planted in [&longer, &team.join("cat")] {
        std::fs::remove_dir_all(planted)?;
    }
    neighbour.look(installation).await?;
    ensure!(
        neighbour.record["status"] == "ready",
        "{}",
        neighbour.record
    );
    let other = team.join(neighbour.id()?);
    ensure!(
        files(&other)?
            .iter()
            .any(|file| file.ends_with("backup.info")),
        "its neighbour lost its backup"
    );
    neighbour.destroy(installation).await?;
    neighbour
        .await_status(installation, "deleted", progress)
        .await
}

fn plant(directory: &Path, count: usize) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    for n in 0..count {
        std::fs::write(directory.join(format!("object-{n}")), n.to_string())?;
    }
    Ok(())
}

/// All files below a directory, with what is in them.
fn contents(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let read = |file: PathBuf| Ok((file.clone(), std::fs::read(file)?));
    files(directory)?.into_iter().map(read).collect()
}

/// The S3 server of the node, spoken to as anybody would.
struct Store {
    client: Client,
    bucket: String,
}

impl Store {
    async fn reach(installation: &Installation) -> Result<Self> {
        let node = installation.site.cluster().node()?;
        let store = node.object_store()?;
        let address = store.endpoint.trim_start_matches("http://").parse()?;
        let address = node.forward(STORE_PORT, address).await?;
        let endpoint = format!("http://{address}");
        Ok(Self {
            client: s3_server::client(&endpoint, &store.access_key, &store.secret_key),
            bucket: store.bucket,
        })
    }

    async fn interrupt_upload(&self, key: &str) -> Result<String> {
        s3_server::interrupt_upload(&self.client, &self.bucket, key).await
    }

    /// The ids of unfinished uploads whose keys begin with this.
    async fn uploads(&self, prefix: &str) -> Result<Vec<String>> {
        let list = self.client.list_multipart_uploads();
        let list = list.bucket(&self.bucket).prefix(prefix).send().await?;
        let ids = list.uploads().iter();
        Ok(ids.filter_map(|upload| upload.upload_id.clone()).collect())
    }
}

/// All files below a directory.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        if !directory.exists() {
            continue;
        }
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// A primary is killed while somebody writes: service comes back, archiving too, and nothing acknowledged is missing.
pub async fn a_killed_primary_loses_nothing(
    installation: &Installation,
    database: &mut Database,
) -> Result<()> {
    await_recoverable(installation, database).await?;
    let door = open(installation, database, 5541).await?;
    door.make_table().await?;
    let scribe = Scribe::start(door.clone(), 1);
    await_more(&scribe).await?;
    let name = database.name();
    let output = "--output=jsonpath={.status.currentPrimary}";
    let primary = [
        "get",
        "clusters.postgresql.cnpg.io",
        name,
        NAMESPACE,
        output,
    ];
    let primary = installation.kubectl.run(&primary).await?;
    let kill = [
        "delete",
        "pod",
        &primary,
        NAMESPACE,
        "--grace-period=0",
        "--force",
    ];
    installation.kubectl.run(&kill).await?;
    await_more(&scribe).await?;
    await_more(&scribe).await?;
    let acknowledged = scribe.stop().await?;
    let rows = door.rows().await?;
    let kept: Vec<&str> = rows.split(',').collect();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|n| !kept.contains(&&*n.to_string()))
        .collect();
    ensure!(lost.is_empty(), "lost: {lost:?}");
    wait::until("archiving again", PATIENCE, async || {
        database.look(installation).await?;
        ensure!(
            database.record["status"] == "ready" && database.record["backup"]["healthy"] == true,
            "{}",
            database.record
        );
        Ok(())
    })
    .await
}

async fn await_more(scribe: &Scribe) -> Result<()> {
    let before = scribe.count();
    wait::until("more rows", PATIENCE, async || {
        ensure!(scribe.count() > before + 3);
        Ok(())
    })
    .await
}
