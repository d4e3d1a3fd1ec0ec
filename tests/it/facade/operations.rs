//! Operations over REST: what is done with a database is told while it is, and for ever afterwards. The controller's part
//! is played here, by writing statuses.

use daap_crds::label;
use http::{Method, StatusCode};
use kube::{ResourceExt as _, api::DeleteParams};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    destruction::{AT, Played, operation},
    problem,
};

impl Played {
    async fn operation(&self, id: &str) -> Value {
        let answer = self
            .scene
            .facade
            .shop
            .get(&format!("/operations/{id}"))
            .await;
        answer.unwrap().expect(StatusCode::OK).unwrap()
    }

    async fn await_operation(&self, id: &str, status: &str) -> Value {
        let facade = &self.scene.facade;
        let what = format!("the operation being {status}");
        let path = format!("/operations/{id}");
        facade
            .await_answer(&path, &what, |body| body["status"] == status)
            .await
    }

    async fn delete(&self) -> String {
        let deleted = self.shop(Method::DELETE, "").await;
        let deleted = deleted.expect(StatusCode::ACCEPTED).unwrap();
        deleted["operation"]["id"].as_str().unwrap().to_owned()
    }
}

/// What an operation removed is told in the audit log, once and so that a later change of the receipt shows.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_told_to_its_end_and_beyond() {
    let played = Played::with_tier("operations", |_| ()).await;
    let facade = &played.scene.facade;
    let id = played.delete().await;
    let requested = played.operation(&id).await;
    assert_eq!(
        (&requested["status"], &requested["kind"]),
        (&json!("requested"), &json!("hard"))
    );
    assert_eq!(
        format!("/databases/{}", requested["database_id"].as_str().unwrap()),
        played.path
    );
    let foreign = facade
        .billing
        .get(&format!("/operations/{id}"))
        .await
        .unwrap();
    let unknown = facade
        .billing
        .get("/operations/5e2b8c1a-93d4-4f6e-8a70-1b2c3d4e5f60")
        .await
        .unwrap();
    assert_eq!(problem(&foreign), (404, "not-found".to_owned()));
    assert_eq!(foreign.body["detail"], unknown.body["detail"]);

    let steps = json!([{"name": "Lockout", "startedAt": AT}]);
    let going = operation(
        &id,
        "Hard",
        json!({"steps": steps, "attempts": 3, "message": "It waits."}),
    );
    played.report(json!({"operation": going})).await;
    let running = played.await_operation(&id, "running").await;
    assert_eq!(
        (&running["attempts"], &running["message"]),
        (&json!(3), &json!("It waits."))
    );
    assert_eq!(
        running["steps"],
        json!([{"name": "Lockout", "started_at": AT}])
    );

    let receipt = json!([
        {"kind": "Cluster", "name": "orders"},
        {"count": 1205, "kind": "Prefix", "name": "s3://backups/tenants/daap-team-shop/1/"},
    ]);
    let done = json!({"receipt": receipt, "result": "Succeeded", "finishedAt": AT});
    let done = operation(&id, "Hard", done);
    played.report(json!({"operation": done})).await;
    let ended = played.await_operation(&id, "succeeded").await;
    assert_eq!(
        (&ended["receipt"], &ended["finished_at"]),
        (&receipt, &json!(AT))
    );
    // Reported again, it is told no second time.
    played.report(json!({"phase": "deleted"})).await;
    let path = format!("/audit-log?resource_id={id}&action=finishOperation");
    let rows = facade
        .shop
        .get(&path)
        .await
        .unwrap()
        .expect(StatusCode::OK)
        .unwrap();
    assert_eq!(rows["items"].as_array().unwrap().len(), 1, "{rows}");
    let digest: String = Sha256::digest(receipt.to_string())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(rows["items"][0]["receipt_sha256"], digest);
    assert_eq!(rows["items"][0]["team"], "shop");
    let sealed = |body: &Value| body["unsealed_rows"] == 0 || body["intact"] == false;
    let verified = facade
        .await_answer("/audit-log/verify", "all being sealed", sealed)
        .await;
    assert_eq!(verified["intact"], true, "{verified}");
    played.scene.stop().await;
}

/// What was asked for and overtaken by something else never begins, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_is_overtaken_is_called_off() {
    let played = Played::with_tier("overtaken", |tier| {
        tier["spec"]["destruction"] = json!({"strategy": "Freeze"});
    })
    .await;
    let freeze = played.delete().await;
    let forced = played
        .force("hard")
        .await
        .expect(StatusCode::ACCEPTED)
        .unwrap();
    let hard = forced["operation"]["id"].as_str().unwrap();
    let overtaken = played.operation(&freeze).await;
    assert_eq!(overtaken["status"], "cancelled", "{overtaken}");
    assert_eq!(played.operation(hard).await["status"], "requested");

    // The controller had begun it all the same, and goes on to the other one.
    let done = |id: &str, kind: &str| {
        operation(id, kind, json!({"result": "Succeeded", "finishedAt": AT}))
    };
    played
        .report(json!({"operation": done(&freeze, "Freeze")}))
        .await;
    played.await_operation(&freeze, "succeeded").await;
    played
        .report(json!({"operation": done(hard, "Hard")}))
        .await;
    played.await_operation(hard, "succeeded").await;
    assert_eq!(
        played.operation(&freeze).await["status"],
        "succeeded",
        "the end of one is kept"
    );
    played.scene.stop().await;
}

/// A deleted database stays in the cluster until its record is written, and on record for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_recorded_before_the_object_goes() {
    let played = Played::with_tier("tombstones", |_| ()).await;
    let facade = &played.scene.facade;
    let id = played.delete().await;
    let done = operation(
        &id,
        "Hard",
        json!({"result": "Succeeded", "finishedAt": AT}),
    );
    let deleted = json!({"phase": "deleted", "operation": done});
    played.report(deleted).await;
    let world = played.world();
    let recorded = world.await_database("orders", "being recorded", |database| {
        database
            .annotations()
            .get(label::RECORDED)
            .is_some_and(|value| value == "true")
    });
    recorded.await;
    let record = async || {
        facade
            .shop
            .get(&played.path)
            .await
            .unwrap()
            .expect(StatusCode::OK)
            .unwrap()
    };
    let before = record().await;
    assert_eq!(
        (&before["status"], &before["deleted_at"]),
        (&json!("deleted"), &json!(AT))
    );
    assert_eq!(before["operation"], Value::Null);

    // As the controller would remove it.
    let databases = world.databases();
    databases
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    let unbind = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let _ = databases
        .patch("orders", &Default::default(), &unbind)
        .await;
    let list = async |query: &str| {
        let list = facade
            .shop
            .get(&format!("/databases{query}"))
            .await
            .unwrap();
        list.body["items"].as_array().unwrap().len()
    };
    facade
        .await_answer(
            &format!("{}/history", played.path),
            "the end being told",
            |history| history["items"].to_string().contains("deleted"),
        )
        .await;
    assert_eq!(record().await, before);
    assert_eq!((list("").await, list("?status=deleted").await), (0, 1));
    let again = played
        .shop(Method::DELETE, "")
        .await
        .expect(StatusCode::ACCEPTED)
        .unwrap();
    assert_eq!(again["status"], "deleted");
    assert_eq!(played.operation(&id).await["status"], "succeeded");
    for refused in ["/unfreeze", "/restore"] {
        let path = format!("{}{refused}", played.path);
        let answer = facade
            .shop
            .post(
                &path,
                &if refused == "/restore" {
                    json!({})
                } else {
                    Value::Null
                },
            )
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
    }
    played.scene.stop().await;
}
