//! Base backups: asked for, told of, bounded. CloudNativePG's part is scripted, the object store is a real one.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use daap_controller::{
    Surroundings,
    archive::{ArchiveError, Archives, Catalogue, Purged, S3, Segment, Store},
};
use daap_crds::{
    DaapDatabase, Phase,
    cnpg::{Backup, Cluster},
    database::{BackupState, BackupStatus},
};
use daap_tests::{
    cluster::wait,
    faults::Side,
    s3_server::{BUCKET, S3Server},
    scripted_cnpg::{ScriptedCnpg, archiving, completed_backup, failed_backup, healthy_status},
};
use http::Method;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    mortal::{Doom, Mortal, Writes},
    world::{SHOP, SOON, World},
};

/// What CloudNativePG says when the object store refuses.
const REFUSED: &str = "rpc error: code = Unknown desc = unexpected failure invoking barman-cloud-wal-archive: exit status 4";
/// What CloudNativePG says when there are foreign files in the archive.
const FOREIGN: &str = "rpc error: code = Unknown desc = unexpected failure invoking barman-cloud-wal-archive: exit status 1";

/// A database with backups, in a world with a real object store.
struct Scene {
    world: World,
    server: S3Server,
    asked: Arc<AtomicUsize>,
    /// What CloudNativePG says of archiving, while it fails.
    failure: Arc<Mutex<Option<&'static str>>>,
    _cnpg: ScriptedCnpg,
}

impl Scene {
    async fn start(
        name: &str,
        backups: impl Fn(&Backup) -> serde_json::Value + Send + Sync + 'static,
    ) -> Self {
        let world = World::start(name).await;
        let server = S3Server::start(name).await.unwrap();
        world.create_object_store(&server).await;
        world.create_tier_with("standard", World::backed_up).await;
        let failure: Arc<Mutex<Option<&'static str>>> = Arc::default();
        let told = Arc::clone(&failure);
        let cnpg = ScriptedCnpg::start(&world.client, move |cluster| {
            let mut status = healthy_status(cluster);
            status["conditions"][1] = archiving(*told.lock().unwrap());
            Some(status)
        });
        let scene = Self {
            _cnpg: cnpg.with_backups(&world.client, backups),
            world,
            server,
            asked: Arc::default(),
            failure,
        };
        let controller = scene.controller(None);
        scene.world.create_database("orders", "standard").await;
        scene.world.await_phase("orders", Phase::Ready).await;
        controller.end().await;
        scene
    }

    /// A controller that counts what it asks the object store for.
    fn controller(&self, doom: Option<Doom>) -> Mortal {
        let archives = Counted {
            archives: S3::new(SOON),
            asked: Arc::clone(&self.asked),
        };
        let surroundings = Surroundings {
            archives: Arc::new(archives),
            ..Surroundings::default()
        };
        let controller = Mortal::start(&self.world, surroundings, |_| ());
        controller.doom(doom);
        controller
    }

    fn backups(&self) -> Api<Backup> {
        Api::namespaced(self.world.client.clone(), SHOP)
    }

    async fn listed(&self) -> Vec<Backup> {
        let listed = self.backups().list(&ListParams::default()).await;
        listed.unwrap().items
    }

    async fn ask(&self, request: &str) {
        let changes = Patch::Merge(json!({"spec": {"backupRequest": request}}));
        let databases = self.world.databases();
        databases
            .patch("orders", &PatchParams::default(), &changes)
            .await
            .unwrap();
    }

    /// Makes CloudNativePG say something else of archiving.
    async fn let_archiving(&self, failure: Option<&'static str>) {
        *self.failure.lock().unwrap() = failure;
        self.touch().await;
    }

    /// Changes something that does not matter, which has everybody look again.
    async fn touch(&self) {
        let clusters: Api<Cluster> = Api::namespaced(self.world.client.clone(), SHOP);
        let touched = format!("{:?}", Instant::now());
        let changes =
            Patch::Merge(json!({"metadata": {"annotations": {"example/touched": touched}}}));
        clusters
            .patch("orders", &PatchParams::default(), &changes)
            .await
            .unwrap();
    }

    /// Waits until what is said of the backups is as `condition` wants it. The database is ready all the time.
    async fn await_backup(
        &self,
        what: &str,
        condition: impl Fn(&BackupStatus) -> bool,
    ) -> BackupStatus {
        let is_so = |database: &DaapDatabase| {
            let status = database.status.as_ref();
            assert_eq!(status.unwrap().phase, Some(Phase::Ready));
            status.unwrap().backup.as_ref().is_some_and(&condition)
        };
        let database = self.world.await_database("orders", what, is_so).await;
        database.status.unwrap().backup.unwrap()
    }

    async fn await_failure(&self, words: &str) {
        let what = format!("telling '{words}'");
        let says = |backup: &BackupStatus| {
            let message = backup.message.as_deref();
            backup.healthy == Some(false) && message.is_some_and(|message| message.contains(words))
        };
        self.await_backup(&what, says).await;
    }

    async fn set_secret_key(&self, key: &str) {
        let secrets: Api<Secret> = Api::namespaced(self.world.client.clone(), "daap-system");
        let changes = Patch::Merge(json!({"stringData": {"secretAccessKey": key}}));
        secrets
            .patch("vault-keys", &PatchParams::default(), &changes)
            .await
            .unwrap();
    }
}

/// Object stores as they are, and how often they were asked.
struct Counted {
    archives: S3,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Archives for Counted {
    async fn probe(&self, store: &Store) -> Result<(), ArchiveError> {
        self.archives.probe(store).await
    }

    async fn has_segment(
        &self,
        store: &Store,
        server_name: &str,
        segment: &Segment,
    ) -> Result<bool, ArchiveError> {
        self.archives.has_segment(store, server_name, segment).await
    }

    async fn catalogue(&self, store: &Store, server_name: &str) -> Result<Catalogue, ArchiveError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.archives.catalogue(store, server_name).await
    }

    async fn purge(&self, store: &Store, budget: usize) -> Result<Purged, ArchiveError> {
        self.archives.purge(store, budget).await
    }
}

/// Has a request carried out by a controller that ends at a write, and by its successor. Tells what they wrote, and
/// whether the first one ended before it was done.
async fn carry_out(scene: &Scene, request: &str, doom: Option<Doom>) -> (Writes, bool) {
    scene.ask(request).await;
    let controller = scene.controller(doom);
    let name = format!("orders.{request}");
    let is_done = |backup: &BackupStatus| {
        let record = backup.recent.iter().find(|record| record.name == name);
        backup.carried_out_request.as_deref() == Some(request)
            && record.is_some_and(|record| record.state == BackupState::Completed)
    };
    let done = async || scene.await_backup("having its base backup", is_done).await;
    tokio::select! {
        () = controller.death() => (),
        _ = done() => (),
    }
    let is_dead = controller.is_dead();
    let mut writes = controller.end().await;
    if is_dead {
        let successor = scene.controller(None);
        done().await;
        writes.extend(successor.end().await);
    }
    (writes, is_dead)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_makes_one_base_backup_wherever_the_controller_ends() {
    let scene = Scene::start("backup-request", completed_backup).await;
    let mut count = 0;
    for side in [Side::Before, Side::After] {
        for nth in 0.. {
            let request = format!("{side:?}-{nth}").to_lowercase();
            let (writes, died) = carry_out(&scene, &request, Some(Doom { nth, side })).await;
            count += 1;
            let name = format!("orders.{request}");
            let backups = scene.listed().await;
            assert_eq!(backups.len(), count, "{request}: {writes:?}");
            assert!(backups.iter().any(|backup| backup.name_any() == name));
            assert!(
                backups
                    .iter()
                    .all(|backup| backup.owner_references().is_empty())
            );
            let removals = writes.iter().filter(|(method, _)| method == Method::DELETE);
            assert_eq!(removals.count(), 0, "{request}: {writes:?}");
            if !died {
                assert!(
                    nth > 1,
                    "the base backup and what is said of it are two writes"
                );
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_base_backups_do_not_pile_up() {
    let scene = Scene::start("backup-failures", failed_backup).await;
    let backup = |name: String, labels: serde_json::Value| {
        let mut labels = labels;
        labels["cnpg.io/cluster"] = json!("orders");
        let backup = json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": {"name": name, "labels": labels},
            "spec": {"cluster": {"name": "orders"}, "method": "plugin"},
        });
        serde_json::from_value::<Backup>(backup).unwrap()
    };
    let by_hand = backup("a-by-hand".into(), json!({}));
    let scheduled = (0..25).map(|index| {
        // As CloudNativePG labels what its schedule asks for.
        backup(
            format!("orders-{index:02}"),
            json!({"cnpg.io/scheduled-backup": "orders-backup"}),
        )
    });
    for backup in [by_hand].into_iter().chain(scheduled) {
        scene
            .backups()
            .create(&PostParams::default(), &backup)
            .await
            .unwrap();
    }
    let controller = scene.controller(None);
    wait::until(
        "the failed base backups being bounded",
        SOON,
        async || -> Result<()> {
            let mut names: Vec<_> = scene
                .listed()
                .await
                .iter()
                .map(|backup| backup.name_any())
                .collect();
            names.sort();
            ensure!(names.len() == 11 && names[0] == "a-by-hand", "{names:?}");
            ensure!(names[10] == "orders-24", "{names:?}");
            Ok(())
        },
    )
    .await
    .unwrap();
    scene.await_failure("The last base backup failed").await;
    let backup = scene
        .await_backup("telling of all that are left", |backup| {
            backup.recent.len() == 11
        })
        .await;
    assert!(
        backup
            .recent
            .iter()
            .all(|record| record.state == BackupState::Failed && record.message.is_some())
    );
    let removals = controller
        .end()
        .await
        .into_iter()
        .filter(|(method, _)| method == Method::DELETE);
    assert_eq!(removals.count(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_archive_is_told_with_its_cause() {
    let scene = Scene::start("backup-causes", completed_backup).await;
    let controller = scene.controller(None);
    scene.ask("first").await;
    let is_healthy =
        |backup: &BackupStatus| backup.healthy == Some(true) && backup.message.is_none();
    scene.await_backup("being healthy", is_healthy).await;

    scene.let_archiving(Some(FOREIGN)).await;
    scene.await_failure("files that are not its own").await;

    scene.set_secret_key("not the key").await;
    scene.let_archiving(Some(REFUSED)).await;
    scene.await_failure("does not take the credentials").await;
    scene.set_secret_key(&scene.server.secret_key).await;
    scene.touch().await;
    scene.await_failure("The object store refuses").await;

    let s3 = scene.server.client();
    s3.delete_bucket().bucket(BUCKET).send().await.unwrap();
    scene.touch().await;
    scene.await_failure("The bucket does not exist").await;
    s3.create_bucket().bucket(BUCKET).send().await.unwrap();

    scene.let_archiving(None).await;
    scene.await_backup("being healthy again", is_healthy).await;
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_a_base_backup_is_asked_for_once() {
    let scene = Scene::start("backup-sizes", completed_backup).await;
    let database = scene.world.databases().get("orders").await.unwrap();
    let server_name = &database.status.as_ref().unwrap().incarnations[0].server_name;
    let uid = database.uid().unwrap();
    let base = format!("daap/{SHOP}/{uid}/{server_name}/base/20260102T030405");
    let s3 = scene.server.client();
    for (name, length) in [("data.tar.gz", 4321), ("backup.info", 10)] {
        let put = s3.put_object().bucket(BUCKET).key(format!("{base}/{name}"));
        put.body(vec![7; length].into()).send().await.unwrap();
    }
    let controller = scene.controller(None);
    scene.ask("first").await;
    let is_sized = |backup: &BackupStatus| {
        backup
            .recent
            .first()
            .is_some_and(|record| record.size.is_some())
    };
    let backup = scene.await_backup("having a size", is_sized).await;
    assert_eq!(backup.recent[0].size, Some(4321));

    let asked = scene.asked.load(Ordering::SeqCst);
    scene.let_archiving(Some(FOREIGN)).await;
    scene.await_failure("files that are not its own").await;
    scene.let_archiving(None).await;
    scene
        .await_backup("being healthy again", |backup| backup.healthy == Some(true))
        .await;
    assert_eq!(scene.asked.load(Ordering::SeqCst), asked);
    controller.end().await;
}
