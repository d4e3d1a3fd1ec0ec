//! Base backups, and three ways of breaking an archive, on a real database of the tier `standard`.
//!
//! The tier is copied, with an object store and a bucket of its own, so that what is broken is broken for one database
//! only. The bucket is a directory of the node.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use daap_crds::{DaapDatabase, cnpg::Backup};
use daap_tests::{
    cluster::wait,
    installation::{
        Installation, SYSTEM_NAMESPACE,
        database::{Database, Wish},
    },
};
use http::StatusCode;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;

use super::objects::{apply_object, copy_object};

/// How long something may take that takes a minute on an idle machine: PostgreSQL rests for one after three failures.
const PATIENCE: Duration = Duration::from_secs(420);
/// How often a segment is closed while an archive is to fail.
const SEGMENT_PAUSE: Duration = Duration::from_secs(20);
/// The namespace of the product team.
const NAMESPACE: &str = "daap-team-shop";
/// Where the node's S3 server keeps its buckets.
const BUCKETS: &str = "/var/lib/s3";
/// The name of everything here: object store, tier, database, and the end of the bucket's.
const FRAGILE: &str = "fragile";
const BUCKET: &str = "daap-fragile";

/// Three ways of breaking an archive, each told with its cause while the database serves, and each repaired. What was
/// broken and is whole again is returned with its database.
pub async fn a_broken_archive_is_told_and_repaired(
    installation: &Installation,
) -> Result<(Fragile<'_>, Database)> {
    let archive = Fragile::make(installation).await?;
    let wish = Wish {
        name: FRAGILE,
        tier: FRAGILE,
        purpose: "Has its archive broken",
    };
    let mut database = Database::ask(installation, wish).await?;

    let foreign = archive.put_foreign_file().await?;
    archive.await_broken(&mut database, "not its own").await?;
    archive.node(&["rm", "-r", &foreign])?;
    archive.await_healthy(&mut database).await?;

    archive.set_secret_key("not the key").await?;
    archive.await_broken(&mut database, "credentials").await?;
    archive.repair().await?;
    archive.await_healthy(&mut database).await?;

    // A bucket that is gone and cannot be made again, as where the access key may not make any: Barman makes one where
    // it can.
    let (bucket, away) = (format!("{BUCKETS}/{BUCKET}"), format!("{BUCKETS}-away"));
    archive.node(&["mv", &bucket, &away])?;
    archive.node(&["ln", "-s", "/nowhere", &bucket])?;
    archive.await_broken(&mut database, "bucket").await?;
    archive.node(&["rm", &bucket])?;
    archive.node(&["mv", &away, &bucket])?;
    archive.await_healthy(&mut database).await?;
    Ok((archive, database))
}

/// `POST …/backups` makes one base backup, which is listed with its size when it is taken.
pub async fn a_backup_is_made_on_demand(
    installation: &Installation,
    database: &mut Database,
) -> Result<()> {
    let backups: Api<Backup> = Api::namespaced(installation.site.client().clone(), NAMESPACE);
    let name = database.name();
    let of_database = ListParams::default().labels(&format!("cnpg.io/cluster={name}"));
    let before = backups.list(&of_database).await?.items.len();

    let path = format!("/databases/{}/backups", database.id()?);
    let answer = installation.team.post(&path, &json!({})).await?;
    ensure!(
        answer.status.is_success(),
        "{} {}",
        answer.status,
        answer.body
    );
    wait::until("the base backup that was asked for", PATIENCE, async || {
        let list = installation.team.get(&path).await?.expect(StatusCode::OK)?;
        let items = list["items"].as_array().context("no items")?;
        ensure!(items.len() == before + 1, "{list}");
        let newest = &items[0];
        ensure!(newest["state"] == "completed", "{newest}");
        ensure!(
            newest["size_bytes"].as_i64().is_some_and(|size| size > 0),
            "{newest}"
        );
        Ok(())
    })
    .await?;
    let after = backups.list(&of_database).await?.items;
    ensure!(after.len() == before + 1, "{} base backups", after.len());
    let asked_for = after
        .iter()
        .filter(|backup| backup.name_any().starts_with(&format!("{name}.")));
    ensure!(asked_for.count() == 1, "one is named after the request");
    Ok(())
}

/// An object store and a tier that can be broken.
pub struct Fragile<'a> {
    installation: &'a Installation,
}

impl<'a> Fragile<'a> {
    async fn make(installation: &'a Installation) -> Result<Self> {
        let this = Self { installation };
        this.node(&["mkdir", &format!("{BUCKETS}/{BUCKET}")])?;
        let keys = installation.site.object_store()?;
        let mut store = copy_object(installation, "daapobjectstore/backups", FRAGILE).await?;
        store["spec"]["url"] = format!("s3://{BUCKET}/tenants").into();
        store["spec"]["credentials"] = json!({"secret": {"name": FRAGILE}});
        let mut tier = copy_object(installation, "daaptier/standard", FRAGILE).await?;
        tier["spec"]["backup"]["objectStore"] = FRAGILE.into();
        tier["spec"]["postgres"]["parameters"]["max_connections"] = "40".into();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": FRAGILE, "namespace": SYSTEM_NAMESPACE},
            "stringData": {"accessKeyId": keys.access_key, "secretAccessKey": keys.secret_key},
        });
        for object in [secret, store, tier] {
            apply_object(installation, &object).await?;
        }
        let accepted = [
            "wait",
            "daaptier/fragile",
            "--for=condition=Accepted",
            "--timeout=2m",
        ];
        installation.kubectl.run(&accepted).await?;
        Ok(this)
    }

    /// Runs a program in the node.
    fn node(&self, command: &[&str]) -> Result<()> {
        let [program, arguments @ ..] = command else {
            return Ok(());
        };
        let mut run = self.installation.site.cluster().node()?.command(program)?;
        let output = run.args(arguments).output()?;
        ensure!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Puts a segment where the database is going to archive to, before it does, and returns its directory.
    async fn put_foreign_file(&self) -> Result<String> {
        let databases: Api<DaapDatabase> =
            Api::namespaced(self.installation.site.client().clone(), NAMESPACE);
        let server_name = wait::until("the name under which it archives", PATIENCE, async || {
            let status = databases.get(FRAGILE).await?.status.unwrap_or_default();
            let incarnation = status.incarnations.last().context("none yet")?;
            Ok(incarnation.server_name.clone())
        })
        .await?;
        let uid = databases.get(FRAGILE).await?.uid().context("a uid")?;
        let directory = format!(
            "{BUCKETS}/{BUCKET}/tenants/{NAMESPACE}/{uid}/{server_name}/wals/0000000100000000"
        );
        self.node(&["mkdir", "-p", &directory])?;
        self.node(&["touch", &format!("{directory}/000000010000000000000001.gz")])?;
        Ok(directory)
    }

    /// Replaces the secret key of the object store.
    pub async fn set_secret_key(&self, key: &str) -> Result<()> {
        let namespace = format!("--namespace={SYSTEM_NAMESPACE}");
        let patch = json!({"stringData": {"secretAccessKey": key}}).to_string();
        let patch = ["patch", "secret", FRAGILE, &namespace, "--patch", &patch];
        self.installation.kubectl.run(&patch).await?;
        // Secrets are not watched: another change of the database has them copied at once.
        let changed = format!("example/changed={}", uuid::Uuid::new_v4());
        let namespace = format!("--namespace={NAMESPACE}");
        let annotate = [
            "annotate",
            "daapdatabase",
            FRAGILE,
            &namespace,
            "--overwrite",
            &changed,
        ];
        self.installation.kubectl.run(&annotate).await?;
        Ok(())
    }

    /// Has the right secret key again.
    pub async fn repair(&self) -> Result<()> {
        let key = self.installation.site.object_store()?.secret_key;
        self.set_secret_key(&key).await
    }

    /// Closes a segment of write-ahead log, if PostgreSQL runs already.
    async fn close_segment(&self) -> Result<()> {
        let namespace = format!("--namespace={NAMESPACE}");
        let switch = [
            "exec",
            &namespace,
            "fragile-1",
            "--container=postgres",
            "--",
            "psql",
            "--username=postgres",
            "--command=SELECT pg_logical_emit_message(false, 'test', 'something')",
            "--command=SELECT pg_switch_wal()",
        ];
        self.installation.kubectl.run(&switch).await.map(drop)
    }

    /// Waits until the record tells that backups fail, and why. The database serves all the time.
    async fn await_broken(&self, database: &mut Database, cause: &str) -> Result<()> {
        // Not one segment only: it may still be archived with what was right before. Nor many: they take room.
        let mut closed: Option<Instant> = None;
        wait::until(&format!("the cause '{cause}'"), PATIENCE, async || {
            let is_due = closed.is_none_or(|closed| closed.elapsed() > SEGMENT_PAUSE);
            if is_due && database.record["status"] == "ready" {
                self.close_segment().await?;
                closed = Some(Instant::now());
            }
            let was_ready = database.record["status"] == "ready";
            database.look(self.installation).await?;
            let record = &database.record;
            ensure!(
                !was_ready || record["status"] == "ready",
                "it was ready: {record}"
            );
            ensure!(record["status"] == "ready", "{}", record["status"]);
            let backup = &record["backup"];
            ensure!(backup["healthy"] == false, "{backup}");
            let message = backup["message"].as_str().context("no cause")?;
            ensure!(message.contains(cause), "{message}");
            Ok(())
        })
        .await
    }

    /// Waits until the record tells that backups succeed again.
    async fn await_healthy(&self, database: &mut Database) -> Result<()> {
        wait::until("backups being healthy again", PATIENCE, async || {
            database.look(self.installation).await?;
            let record = &database.record;
            ensure!(record["status"] == "ready", "{}", record["status"]);
            ensure!(record["backup"]["healthy"] == true, "{}", record["backup"]);
            Ok(())
        })
        .await
    }
}
