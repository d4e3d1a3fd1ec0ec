//! Destroying a database over REST: what is asked of the controller, what is answered, and what is refused. The
//! controller's part is played here, by writing statuses.

use daap_crds::{Phase, database::State, label, tier::Strategy};
use daap_tests::rest::Answer;
use http::{Method, StatusCode, header};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{Scene, problem};
use crate::world::{SHOP, World};

/// When everything that is played happened.
pub const AT: &str = "2026-01-02T03:04:05Z";

/// A facade and a database whose controller is played: the real one admitted it, and ended.
pub struct Played {
    pub scene: Scene,
    pub path: String,
}

impl Played {
    /// A ready database `orders` of a tier that is changed by `change`.
    pub async fn with_tier(name: &str, change: impl FnOnce(&mut Value)) -> Self {
        Self::in_scene(Scene::with_tier(name, "dev", change).await).await
    }

    /// The same, of the tier `dev` of a scene.
    pub async fn in_scene(mut scene: Scene) -> Self {
        let body = json!({"name": "orders", "tier": "dev"});
        let created = super::create(&scene.facade.shop, body).await;
        let id = created.body["id"].as_str().unwrap().to_owned();
        scene.controller.end().await;
        let played = Self {
            path: format!("/databases/{id}"),
            scene,
        };
        played.report(json!({"phase": "ready"})).await;
        played
    }

    pub fn world(&self) -> &World {
        &self.scene.world
    }

    /// Writes what the controller would, and waits until the facade knows.
    pub async fn report(&self, status: Value) {
        report(self.world(), "orders", status.clone()).await;
        if let Some(phase) = status["phase"].as_str() {
            let what = format!("orders being {phase}");
            let facade = &self.scene.facade;
            facade
                .await_answer(&self.path, &what, |body| body["status"] == phase)
                .await;
        }
    }

    pub async fn shop(&self, method: Method, path: &str) -> Answer {
        let path = format!("{}{path}", self.path);
        self.scene
            .facade
            .shop
            .send(method, &path, &Value::Null)
            .await
            .unwrap()
    }

    pub async fn force(&self, strategy: &str) -> Answer {
        let body = json!({"strategy": strategy, "reason": "Nobody needs it."});
        let path = format!("{}/destroy", self.path);
        self.scene.facade.platform.post(&path, &body).await.unwrap()
    }
}

/// Writes a part of a status, of the database as it is now.
async fn report(world: &World, name: &str, mut status: Value) {
    let databases = world.databases();
    let seen = databases.get(name).await.unwrap().metadata.generation;
    status["observedGeneration"] = json!(seen);
    let status = Patch::Merge(json!({"status": status}));
    databases
        .patch_status(name, &PatchParams::default(), &status)
        .await
        .unwrap();
}

pub fn operation(id: &str, kind: &str, more: Value) -> Value {
    let mut operation =
        json!({"id": id, "kind": kind, "step": "Lockout", "since": AT, "startedAt": AT});
    operation
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    operation
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_deleted_by_the_strategy_of_its_tier() {
    let played = Played::with_tier("deletion", |tier| {
        tier["spec"]["destruction"] = json!({"strategy": "Freeze"});
    })
    .await;
    let facade = &played.scene.facade;
    let stored = async || played.world().databases().get("orders").await.unwrap();

    // Told first, and nothing done.
    let told = played.shop(Method::DELETE, "?dry_run=true").await;
    let told = told.expect(StatusCode::OK).unwrap();
    assert_eq!(told["strategy"], "freeze");
    assert!(told["kept"].to_string().contains("the data"), "{told}");
    assert_eq!(stored().await.spec.state, State::Active);

    // A protected one is not deleted, and not by a stranger either.
    let protect = async |on: bool| {
        let body = json!({"deletion_protection": on});
        let changed = facade.shop.patch(&played.path, &body).await.unwrap();
        changed.expect(StatusCode::OK).unwrap();
    };
    protect(true).await;
    for query in ["", "?dry_run=true"] {
        let refused = played.shop(Method::DELETE, query).await;
        assert_eq!(problem(&refused), (409, "deletion-protected".to_owned()));
    }
    protect(false).await;
    let foreign = facade.billing.delete(&played.path).await.unwrap();
    assert_eq!(problem(&foreign), (404, "not-found".to_owned()));
    let old = facade.shop.with_header(header::IF_MATCH, "\"1-1\"");
    let late = old.delete(&played.path).await.unwrap();
    assert_eq!(problem(&late), (412, "precondition-failed".to_owned()));
    assert_eq!(stored().await.spec.state, State::Active);

    // The answer names the operation before anybody has begun it, and a repetition the same one.
    let deleted = played.shop(Method::DELETE, "").await;
    assert_eq!(deleted.status, StatusCode::ACCEPTED, "{deleted:?}");
    assert_eq!(deleted.body["status"], "ready");
    let going = deleted.body["operation"].clone();
    assert_eq!(
        (&going["kind"], &going["status"]),
        (&json!("freeze"), &json!("requested"))
    );
    let id = going["id"].as_str().unwrap().to_owned();
    assert_eq!(
        deleted.headers["operation-location"],
        format!("/operations/{id}")
    );
    assert_eq!(stored().await.annotations()[label::OPERATION], id);
    assert_eq!(stored().await.spec.state, State::Destroyed);
    let version = stored().await.resource_version();
    let again = played.shop(Method::DELETE, "").await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
    assert_eq!(again.body["operation"]["id"], id);
    assert_eq!(
        stored().await.resource_version(),
        version,
        "nothing is written again"
    );

    // It is told as it goes on, and afterwards as what became of it.
    let status = json!({"operation": operation(&id, "Freeze", json!({"attempts": 2}))});
    played.report(status).await;
    let going = facade
        .await_answer(&played.path, "the step being told", |body| {
            body["operation"]["step"] == "Lockout"
        })
        .await;
    assert_eq!(
        (
            &going["operation"]["status"],
            &going["operation"]["attempts"]
        ),
        (&json!("running"), &json!(2))
    );
    let unfrozen = played.shop(Method::POST, "/unfreeze").await;
    assert_eq!(problem(&unfrozen), (409, "wrong-state".to_owned()));
    assert!(
        unfrozen.body["detail"]
            .as_str()
            .unwrap()
            .contains("is ready and is being frozen (step 'Lockout')"),
        "{unfrozen:?}"
    );
    let done = operation(
        &id,
        "Freeze",
        json!({"result": "Succeeded", "finishedAt": AT}),
    );
    played
        .report(json!({"phase": "frozen", "operation": done}))
        .await;
    let frozen = played
        .shop(Method::DELETE, "")
        .await
        .expect(StatusCode::ACCEPTED)
        .unwrap();
    assert_eq!(
        (&frozen["status"], &frozen["operation"]),
        (&json!("frozen"), &Value::Null)
    );

    let protect = json!({"deletion_protection": true});
    let late = facade.shop.patch(&played.path, &protect).await.unwrap();
    assert_eq!(problem(&late), (409, "wrong-state".to_owned()));

    // And back.
    let unfrozen = played.shop(Method::POST, "/unfreeze").await;
    assert_eq!(unfrozen.status, StatusCode::ACCEPTED, "{unfrozen:?}");
    assert_eq!(unfrozen.body["operation"]["kind"], "unfreeze");
    assert_eq!(stored().await.spec.state, State::Active);
    let again = played.shop(Method::POST, "/unfreeze").await;
    assert_eq!(
        again.body["operation"]["id"], unfrozen.body["operation"]["id"],
        "{again:?}"
    );
    let busy = played.shop(Method::DELETE, "").await;
    assert_eq!(problem(&busy), (409, "wrong-state".to_owned()));
    played.report(json!({"phase": "ready"})).await;
    let awake = played.shop(Method::POST, "/unfreeze").await;
    assert_eq!(problem(&awake), (409, "wrong-state".to_owned()));
    played.scene.stop().await;
}

/// Nothing is left of what could not be restored, so nothing is kept of it, whatever its tier keeps.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_restored_is_only_removed() {
    let played = Played::with_tier("abandoned", |tier| {
        tier["spec"]["destruction"] = json!({"strategy": "Freeze"});
    })
    .await;
    let told = played.shop(Method::DELETE, "?dry_run=true").await;
    assert_eq!(told.body["strategy"], "freeze");
    let abandoned = json!({"phase": "error", "abandonedAt": AT});
    played.report(abandoned).await;
    let told = played.shop(Method::DELETE, "?dry_run=true").await;
    assert_eq!(told.body["strategy"], "hard");
    assert_eq!(told.body["kept"], json!([]));
    let deleted = played.shop(Method::DELETE, "").await;
    assert_eq!(deleted.body["operation"]["kind"], "hard", "{deleted:?}");
    played.scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_is_forced_by_the_platform_alone() {
    let played = Played::with_tier("forced", |tier| {
        tier["spec"]["destruction"] = json!({"strategy": "Freeze"});
    })
    .await;
    let facade = &played.scene.facade;
    let stored = async || played.world().databases().get("orders").await.unwrap();
    let path = format!("{}/destroy", played.path);
    let body = json!({"strategy": "freeze", "reason": "Nobody needs it."});
    let by_team = facade.shop.post(&path, &body).await.unwrap();
    assert_eq!(problem(&by_team), (403, "forbidden".to_owned()));
    for (body, pointer) in [
        (json!({"strategy": "freeze"}), "/reason"),
        (json!({"strategy": "freeze", "reason": ""}), "/reason"),
        (
            json!({"strategy": "burn", "reason": "Why not?"}),
            "/strategy",
        ),
    ] {
        let refused = facade.platform.post(&path, &body).await.unwrap();
        assert!(matches!(problem(&refused).0, 400 | 422), "{refused:?}");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer);
    }
    let without = played.force("archive").await;
    assert_eq!(problem(&without), (409, "no-backup".to_owned()));

    // Protection is against mistakes, and this is none.
    let protected = json!({"deletion_protection": true});
    facade
        .shop
        .patch(&played.path, &protected)
        .await
        .unwrap()
        .expect(StatusCode::OK)
        .unwrap();
    let forced = played.force("freeze").await;
    assert_eq!(forced.status, StatusCode::ACCEPTED, "{forced:?}");
    let destruction = stored().await.spec.destruction.unwrap();
    assert_eq!(
        (destruction.strategy, destruction.reason.as_str()),
        (Strategy::Freeze, "Nobody needs it.")
    );
    let again = played.force("freeze").await;
    assert_eq!(
        again.body["operation"]["id"],
        forced.body["operation"]["id"]
    );

    // What the platform forced, the team does not take back.
    let id = forced.body["operation"]["id"].as_str().unwrap();
    let done = operation(
        id,
        "Freeze",
        json!({"result": "Succeeded", "finishedAt": AT}),
    );
    played
        .report(json!({"phase": "frozen", "operation": done}))
        .await;
    let by_team = played.shop(Method::POST, "/unfreeze").await;
    assert_eq!(problem(&by_team), (403, "forbidden".to_owned()));
    let farther = played.force("hard").await;
    assert_eq!(farther.body["operation"]["kind"], "hard", "{farther:?}");
    assert_ne!(
        farther.body["operation"]["id"],
        forced.body["operation"]["id"]
    );
    let back = played.force("freeze").await;
    assert_eq!(problem(&back), (409, "wrong-state".to_owned()));
    let unfreeze = facade
        .platform
        .post(&format!("{}/unfreeze", played.path), &Value::Null)
        .await
        .unwrap();
    assert_eq!(problem(&unfreeze), (409, "wrong-state".to_owned()));
    assert_eq!(stored().await.namespace().as_deref(), Some(SHOP));
    played.scene.stop().await;
}

/// An archive that waits can be called off; an archived database cannot be had back, only restored.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_called_off_or_stays() {
    let played = Played::with_tier("calling-off", |_| ()).await;
    let stored = async || played.world().databases().get("orders").await.unwrap();
    let deleted = played.shop(Method::DELETE, "").await;
    let id = deleted.body["operation"]["id"].as_str().unwrap().to_owned();
    let going = |cancellable| operation(&id, "Archive", json!({"cancellable": cancellable}));
    for cancellable in [false, true] {
        played
            .report(json!({"phase": "ready", "operation": going(cancellable)}))
            .await;
        let called_off = played.shop(Method::POST, "/unfreeze").await;
        let expected = if cancellable {
            StatusCode::ACCEPTED
        } else {
            StatusCode::CONFLICT
        };
        assert_eq!(called_off.status, expected, "{called_off:?}");
    }
    assert_eq!(stored().await.spec.state, State::Active);
    let done = operation(
        &id,
        "Archive",
        json!({"result": "Cancelled", "finishedAt": AT}),
    );
    played.report(json!({"operation": done})).await;
    played
        .shop(Method::DELETE, "")
        .await
        .expect(StatusCode::ACCEPTED)
        .unwrap();
    played
        .report(json!({"phase": Phase::Archived, "archivedUntil": "2027-01-01T00:00:00Z"}))
        .await;
    let archived = played
        .shop(Method::DELETE, "")
        .await
        .expect(StatusCode::ACCEPTED)
        .unwrap();
    assert_eq!(
        (&archived["status"], &archived["archived_until"]),
        (&json!("archived"), &json!("2027-01-01T00:00:00Z"))
    );
    let back = played.shop(Method::POST, "/unfreeze").await;
    assert_eq!(problem(&back), (409, "wrong-state".to_owned()));
    assert_eq!(
        problem(&played.force("freeze").await),
        (409, "wrong-state".to_owned())
    );
    played
        .force("hard")
        .await
        .expect(StatusCode::ACCEPTED)
        .unwrap();
    played.scene.stop().await;
}
