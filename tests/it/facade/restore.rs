//! Restoring a database over REST. The controller's part is played here: admission, and what it tells of the source.

use std::time::Duration;

use daap_crds::{DaapDatabase, label};
use daap_tests::rest::Answer;
use http::{HeaderName, StatusCode};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    Scene, create,
    destruction::{AT, Played},
    problem,
    tiers::create_object_store,
};
use crate::world::{SHOP, World};

pub const FROM: &str = "2026-01-02T03:00:00Z";
pub const FENCE: &str = "2026-01-02T04:00:00.5Z";

/// What a controller would tell of a database with backups.
pub fn backed_up(phase: &str) -> Value {
    json!({
        "phase": phase,
        "conditions": [{"type": "Archiving", "status": "False", "reason": "Test", "message": "", "lastTransitionTime": AT}],
        "backup": {"configured": true, "restorableFrom": FROM, "restorableUntil": FENCE},
    })
}

/// A database `orders` with backups, in the hands of a played controller.
pub struct Stage {
    pub played: Played,
    admission: JoinHandle<()>,
}

impl Stage {
    /// Where the quota has room for two more.
    async fn set(name: &str) -> Self {
        Self::in_scene(Self::scene(name).await, 3).await
    }

    /// A scene with a tier that has a backup.
    pub async fn scene(name: &str) -> Scene {
        let world = World::without_teams(name).await;
        create_object_store(&world, "main").await;
        Scene::in_world(world, "dev", |tier| {
            tier["spec"]["backup"] =
                json!({"schedule": "0 3 * * *", "retention": "7d", "objectStore": "main"});
        })
        .await
    }

    /// In such a scene, where the quota has room for `most` databases.
    pub async fn in_scene(scene: Scene, most: usize) -> Self {
        let played = Played::in_scene(scene).await;
        let admission = tokio::spawn(admit(played.world().databases(), most));
        Self { played, admission }
    }

    async fn restore(&self, body: Value) -> Answer {
        let path = format!("{}/restore", self.played.path);
        self.played
            .scene
            .facade
            .shop
            .post(&path, &body)
            .await
            .unwrap()
    }

    pub async fn stop(self) {
        self.admission.abort();
        self.played.scene.stop().await;
    }
}

/// The quota's part: as many databases as there may be are bound to the revision of the first, and others are refused.
async fn admit(databases: Api<DaapDatabase>, most: usize) {
    loop {
        let all = databases.list(&Default::default()).await.unwrap().items;
        let (bound, waiting): (Vec<_>, Vec<_>) = all
            .iter()
            .partition(|database| database.spec.tier_revision.is_some());
        for (database, place) in waiting.iter().zip(bound.len()..) {
            let (name, params) = (database.name_any(), PatchParams::default());
            if place < most {
                let bind = json!({"spec": {"tierRevision": bound[0].spec.tier_revision}});
                databases
                    .patch(&name, &params, &Patch::Merge(bind))
                    .await
                    .unwrap();
            } else {
                let refuse = json!({"status": {"admission": {"verdict": "Refused"}}});
                databases
                    .patch_status(&name, &params, &Patch::Merge(refuse))
                    .await
                    .unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_restored_to_a_new_one() {
    let stage = Stage::set("restore").await;
    let (played, facade) = (&stage.played, &stage.played.scene.facade);
    let count = async || {
        played
            .world()
            .databases()
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .len()
    };
    let nothing = stage.restore(json!({"target_time": null})).await;
    assert_eq!(problem(&nothing), (409, "nothing-restorable".to_owned()));

    played.report(backed_up("ready")).await;
    for (target, code) in [
        ("2026-01-02T02:59:59Z", "outside-restore-window"),
        ("2026-01-02T04:00:00.500001Z", "outside-restore-window"),
        ("2126-01-02T04:00:00Z", "outside-restore-window"),
        ("2026-01-02T03:30:00", "invalid-fields"),
        ("yesterday", "invalid-fields"),
    ] {
        let refused = stage.restore(json!({"target_time": target})).await;
        assert_eq!(
            problem(&refused),
            (422, code.to_owned()),
            "{target}: {refused:?}"
        );
        assert_eq!(refused.body["errors"][0]["pointer"], "/target_time");
        if code == "outside-restore-window" {
            assert_eq!(
                refused.body["window"],
                json!({"from": FROM, "until": FENCE})
            );
        }
    }
    let path = format!("{}/restore", played.path);
    let foreign = facade.billing.post(&path, &json!({})).await.unwrap();
    assert_eq!(problem(&foreign), (404, "not-found".to_owned()));
    let taken = stage.restore(json!({"name": "orders"})).await;
    assert_eq!(problem(&taken), (409, "name-taken".to_owned()));
    assert_eq!(count().await, 1, "a refusal leaves nothing");

    let target = "2026-01-02T04:30:00.25+01:00";
    let restored = stage
        .restore(json!({"target_time": target, "name": "before-the-mistake"}))
        .await;
    assert_eq!(restored.status, StatusCode::CREATED, "{restored:?}");
    let body = &restored.body;
    let source = body["source_database_id"].as_str().unwrap();
    assert_eq!(format!("/databases/{source}"), played.path);
    assert_eq!(body["restore"]["target_time"], "2026-01-02T03:30:00.25Z");
    assert_eq!(
        (&body["tier"], &body["owner_team"]),
        (&json!("dev"), &json!("shop"))
    );
    assert_eq!(
        (&body["operation"]["kind"], &body["operation"]["status"]),
        (&json!("restore"), &json!("requested"))
    );
    let location = format!("/databases/{}", body["id"].as_str().unwrap());
    assert_eq!(restored.headers["location"], location);
    let stored = played
        .world()
        .databases()
        .get("before-the-mistake")
        .await
        .unwrap();
    assert_eq!(
        body["operation"]["id"],
        stored.annotations()[label::OPERATION]
    );
    let restore = stored.spec.restore.unwrap();
    assert_eq!(
        (
            restore.source.namespace.as_deref(),
            restore.source.uid.as_str()
        ),
        (Some(SHOP), source)
    );
    assert_eq!(
        restore.target_time.unwrap().0.to_string(),
        "2026-01-02T03:30:00.25Z"
    );

    // From what is frozen or archived as well, and from nothing that is deleted.
    played.report(backed_up("archived")).await;
    stage
        .restore(json!({"target_time": FENCE}))
        .await
        .expect(StatusCode::CREATED)
        .unwrap();
    let list = format!("/databases?source_database_id={source}");
    let restored = facade
        .shop
        .get(&list)
        .await
        .unwrap()
        .expect(StatusCode::OK)
        .unwrap();
    assert_eq!(restored["items"].as_array().unwrap().len(), 2, "{restored}");
    played.report(backed_up("deleted")).await;
    assert_eq!(
        problem(&stage.restore(json!({})).await),
        (409, "wrong-state".to_owned())
    );
    stage.stop().await;
}

/// Names count up by themselves, a repetition is the same one, and a full quota refuses.
#[tokio::test(flavor = "multi_thread")]
async fn restores_count_and_are_counted() {
    let stage = Stage::set("restore-names").await;
    stage.played.report(backed_up("frozen")).await;
    let path = format!("{}/restore", stage.played.path);
    let shop = &stage.played.scene.facade.shop;
    let restore = async |key: &str| {
        let key_header = HeaderName::from_static("idempotency-key");
        shop.with_header(key_header, key)
            .post(&path, &json!({}))
            .await
            .unwrap()
    };
    let names = ["orders-restored-1", "orders-restored-2"];
    for (key, name) in ["first", "second"].into_iter().zip(names) {
        let restored = restore(key).await.expect(StatusCode::CREATED).unwrap();
        assert_eq!(restored["name"], name);
        assert_eq!(restored["restore"], json!({}), "the latest");
    }
    let again = restore("first").await;
    assert_eq!(
        (again.status, &again.body["name"]),
        (StatusCode::CREATED, &json!(names[0]))
    );
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(
        problem(&restore("third").await),
        (422, "quota-exceeded".to_owned())
    );
    let left = stage
        .played
        .world()
        .databases()
        .list(&Default::default())
        .await
        .unwrap();
    assert_eq!(left.items.len(), 3, "what is refused leaves nothing");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_without_a_backup_restores_nothing() {
    let scene = Scene::with_tier("no-backup", "dev", |_| ()).await;
    let created = create(&scene.facade.shop, json!({"name": "orders", "tier": "dev"})).await;
    let path = format!(
        "/databases/{}/restore",
        created.body["id"].as_str().unwrap()
    );
    let refused = scene.facade.shop.post(&path, &json!({})).await.unwrap();
    assert_eq!(problem(&refused), (409, "no-backup".to_owned()));
    scene.stop().await;
}
