//! Changes of databases that are cut short.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use anyhow::Context as _;
use daap_crds::{DaapDatabase, label};
use daap_tests::scripted_cnpg::ScriptedCnpg;
use http::{Method, StatusCode};
use kube::{
    Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{Call, MANY, at_every_request, changes, is_intended, pool, scene, told_soon};
use crate::facade::{
    Scene,
    destruction::{AT, Played, operation},
    restore::{FENCE, Stage, backed_up},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_of_a_database_that_is_cut_short() {
    let scene = scene("fault-databases").await;
    let _cnpg = ScriptedCnpg::healthy(&scene.world.client);
    let call = async |name: &str| Call {
        method: Method::POST,
        path: "/databases".to_owned(),
        body: json!({"name": format!("db-{name}"), "tier": "dev", "owner_team": "shop"}),
        key: name.to_owned(),
    };
    at_every_request(&scene, "createDatabase", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::CREATED, "{name}: {retry:?}");
        let list = scene
            .world
            .databases()
            .list(&Default::default())
            .await
            .unwrap();
        let named = format!("db-{name}");
        let found: Vec<_> = list
            .items
            .iter()
            .filter(|one| one.name_any() == named)
            .collect();
        assert_eq!(found.len(), 1, "{name}: one effect");
        let intent = &found[0].annotations()[label::INTENT];
        assert!(
            is_intended(&scene, "createDatabase", intent).await,
            "{name}"
        );
    })
    .await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_a_database_that_is_cut_short() {
    let scene = scene("fault-deletions").await;
    let facade = &scene.facade;
    let call = async |name: &str| {
        let id = made(&scene, &format!("db-{name}")).await;
        Call {
            method: Method::DELETE,
            path: format!("/databases/{id}"),
            body: Value::Null,
            key: name.to_owned(),
        }
    };
    at_every_request(&scene, "deleteDatabase", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::ACCEPTED, "{name}: {retry:?}");
        let asked: Vec<String> = sqlx::query_scalar(
            "select intent::text from database_transition where change = 'desired_state' \
             and database_id = (select id from database_record where name = $1)",
        )
        .bind(format!("db-{name}"))
        .fetch_all(&pool(facade))
        .await
        .unwrap();
        assert_eq!(asked.len(), 1, "{name}: one effect");
        assert!(is_intended(&scene, "deleteDatabase", &asked[0]).await, "{name}");
        let operations: i64 = sqlx::query_scalar(
            "select count(*) from operation where database_id = (select id from database_record where name = $1)",
        )
        .bind(format!("db-{name}"))
        .fetch_one(&pool(facade))
        .await
        .unwrap();
        assert_eq!(operations, 1, "{name}: one operation");
    })
    .await;
    scene.stop().await;
}

/// A restore that is repeated is the same one, also where its name is drawn by the service.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_of_a_database_that_is_cut_short() {
    let scene = told_soon(Stage::scene("fault-restores").await).await;
    let stage = Stage::in_scene(scene, MANY).await;
    stage.played.report(backed_up("frozen")).await;
    let scene = &stage.played.scene;
    let databases = scene.world.databases();
    let restored = async || {
        let list = databases.list(&Default::default()).await.unwrap();
        let is_restored = |database: &DaapDatabase| database.spec.restore.is_some();
        let restored: Vec<_> = list.items.into_iter().filter(is_restored).collect();
        restored
    };
    let call = async |name: &str| {
        // The first name is free for each try, also after one that was not cut.
        for database in restored().await {
            databases
                .delete(&database.name_any(), &Default::default())
                .await
                .unwrap();
        }
        Call {
            method: Method::POST,
            path: format!("{}/restore", stage.played.path),
            body: json!({"target_time": FENCE}),
            key: name.to_owned(),
        }
    };
    at_every_request(scene, "restoreDatabase", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::CREATED, "{name}: {retry:?}");
        let restored = restored().await;
        assert_eq!(restored.len(), 1, "{name}: one effect");
        let intent = &restored[0].annotations()[label::INTENT];
        assert!(
            is_intended(scene, "restoreDatabase", intent).await,
            "{name}"
        );
    })
    .await;
    stage.stop().await;
}

/// A PATCH cannot have an idempotency key, and needs none.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_database_that_is_cut_short() {
    let scene = scene("fault-changes").await;
    let path = format!("/databases/{}", made(&scene, "orders").await);
    let databases = scene.world.databases();
    let before = AtomicI64::new(0);
    let call = async |name: &str| {
        let now = databases.get("orders").await.unwrap();
        before.store(now.meta().generation.unwrap(), SeqCst);
        Call {
            method: Method::PATCH,
            path: path.clone(),
            body: json!({"purpose": name}),
            key: name.to_owned(),
        }
    };
    at_every_request(&scene, "changeDatabase", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::OK, "{name}: {retry:?}");
        let now = databases.get("orders").await.unwrap();
        assert_eq!(now.spec.purpose.as_deref(), Some(name));
        let changes = changes(&scene, "changeDatabase", &now).await;
        assert_eq!(changes, before.load(SeqCst) + 1, "{name}: one effect");
    })
    .await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_destruction_that_is_cut_short() {
    let scene = scene("fault-forced").await;
    let databases = scene.world.databases();
    let before = AtomicI64::new(0);
    let call = async |name: &str| {
        let name = format!("db-{name}");
        let id = made(&scene, &name).await;
        let now = databases.get(&name).await.unwrap();
        before.store(now.meta().generation.unwrap(), SeqCst);
        Call {
            method: Method::POST,
            path: format!("/databases/{id}/destroy"),
            body: json!({"strategy": "freeze", "reason": "It is to stay."}),
            key: name,
        }
    };
    at_every_request(&scene, "destroyDatabase", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::ACCEPTED, "{name}: {retry:?}");
        let now = databases.get(&format!("db-{name}")).await.unwrap();
        let changes = changes(&scene, "destroyDatabase", &now).await;
        assert_eq!(changes, before.load(SeqCst) + 1, "{name}: one effect");
        let operation = &now.annotations()[label::OPERATION];
        assert_eq!(retry.body["operation"]["id"], *operation, "{name}");
    })
    .await;
    scene.stop().await;
}

/// Who asks again is told the same operation, also after it ended, when nothing is left to be unfrozen.
#[tokio::test(flavor = "multi_thread")]
async fn an_unfreezing_that_is_cut_short() {
    let scene = told_soon(Scene::with_tier("fault-unfreezings", "dev", freezes).await).await;
    let played = Played::in_scene(scene).await;
    let databases = played.world().databases();
    let before = AtomicI64::new(0);
    let call = async |name: &str| {
        let destroyed = Patch::Merge(json!({"spec": {"state": "Destroyed"}}));
        let now = databases
            .patch("orders", &PatchParams::default(), &destroyed)
            .await
            .unwrap();
        before.store(now.meta().generation.unwrap(), SeqCst);
        // What was asked for before has ended.
        let last = now.annotations().get(label::OPERATION).cloned();
        let ended = json!({"result": "Succeeded", "finishedAt": AT});
        let last = last.map(|id| operation(&id, "Freeze", ended));
        let status = json!({"phase": "frozen", "operation": last});
        played.report(status).await;
        Call {
            method: Method::POST,
            path: format!("{}/unfreeze", played.path),
            body: Value::Null,
            key: name.to_owned(),
        }
    };
    let scene = &played.scene;
    at_every_request(scene, "unfreezeDatabase", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::ACCEPTED, "{name}: {retry:?}");
        let now = databases.get("orders").await.unwrap();
        let changes = changes(scene, "unfreezeDatabase", &now).await;
        assert_eq!(changes, before.load(SeqCst) + 1, "{name}: one effect");
        let operation = &now.annotations()[label::OPERATION];
        assert_eq!(retry.body["operation"]["id"], *operation, "{name}");
    })
    .await;
    played.scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_asked_for_and_cut_short() {
    let scene = told_soon(Stage::scene("fault-backups").await).await;
    let stage = Stage::in_scene(scene, 1).await;
    let scene = &stage.played.scene;
    let databases = scene.world.databases();
    let before = AtomicI64::new(0);
    let call = async |name: &str| {
        // What was asked for before is carried out.
        let now = databases.get("orders").await.unwrap();
        before.store(now.meta().generation.unwrap(), SeqCst);
        let mut status = backed_up("ready");
        status["backup"]["carriedOutRequest"] = json!(now.spec.backup_request);
        stage.played.report(status).await;
        Call {
            method: Method::POST,
            path: format!("{}/backups", stage.played.path),
            body: Value::Null,
            key: name.to_owned(),
        }
    };
    at_every_request(scene, "createBackup", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::ACCEPTED, "{name}: {retry:?}");
        let now = databases.get("orders").await.unwrap();
        let changes = changes(scene, "createBackup", &now).await;
        assert_eq!(changes, before.load(SeqCst) + 1, "{name}: one effect");
        let request = now.spec.backup_request.as_deref().unwrap();
        let told = retry.body["name"].as_str().unwrap();
        assert!(told.ends_with(request), "{name}: {told}");
    })
    .await;
    stage.stop().await;
}

/// Has a tier freeze what is deleted.
fn freezes(tier: &mut Value) {
    tier["spec"]["destruction"] = json!({"strategy": "Freeze"});
}

/// Makes a database of the shop, and tells its id.
async fn made(scene: &Scene, name: &str) -> String {
    let body = json!({"name": name, "tier": "dev", "owner_team": "shop"});
    let made = scene
        .facade
        .platform
        .post("/databases", &body)
        .await
        .unwrap();
    let id = made.body["id"].as_str().context(made.body.clone()).unwrap();
    id.to_owned()
}
