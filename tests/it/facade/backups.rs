//! Backups over REST: which there are, one more, and what can be restored. The controller's part is played here, by
//! writing statuses.

use daap_tests::rest::Answer;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    destruction::Played,
    problem,
    restore::{FENCE, FROM, Stage, backed_up},
};

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_listed_and_taken() {
    let stage = Stage::in_scene(Stage::scene("backups").await, 1).await;
    let played = &stage.played;
    let list = async || {
        played
            .shop(Method::GET, "/backups")
            .await
            .expect(StatusCode::OK)
            .unwrap()["items"]
            .clone()
    };
    assert_eq!(list().await, json!([]), "nothing is known yet");
    let mut status = backed_up("ready");
    status["backup"]["recent"] = json!([
        {"name": "orders.2", "state": "Failed", "startedAt": "2026-01-02T03:30:00Z", "message": "No bucket."},
        {"name": "orders.1", "state": "Completed", "startedAt": FROM, "stoppedAt": "2026-01-02T03:10:00Z", "size": 4711},
    ]);
    played.report(status.clone()).await;
    let told = json!([
        {"name": "orders.2", "state": "failed", "started_at": "2026-01-02T03:30:00Z", "message": "No bucket."},
        {"name": "orders.1", "state": "completed", "started_at": FROM, "stopped_at": "2026-01-02T03:10:00Z",
            "size_bytes": 4711, "restorable_from": "2026-01-02T03:10:00Z"},
    ]);
    let path = format!("{}/backups", played.path);
    let facade = &played.scene.facade;
    facade
        .await_answer(&path, "both being listed", |body| body["items"] == told)
        .await;

    let take = async || -> Answer { played.shop(Method::POST, "/backups").await };
    let first = take().await.expect(StatusCode::ACCEPTED).unwrap();
    assert_eq!(first["state"], "requested");
    let again = take().await.expect(StatusCode::ACCEPTED).unwrap();
    assert_eq!(again, first, "one that has not begun stands for both");
    assert_eq!(list().await[0], first);
    let stored = played.world().databases().get("orders").await.unwrap();
    let request = stored.spec.backup_request.unwrap();
    assert!(
        first["name"].as_str().unwrap().ends_with(&request),
        "{first}"
    );
    status["backup"]["carriedOutRequest"] = json!(request);
    status["backup"]["recent"] = json!([{"name": first["name"], "state": "Running"}]);
    played.report(status).await;
    facade
        .await_answer(&path, "it running", |body| {
            body["items"][0]["state"] == "running"
        })
        .await;
    assert_eq!(list().await.as_array().unwrap().len(), 1);
    let second = take().await.expect(StatusCode::ACCEPTED).unwrap();
    assert_ne!(second["name"], first["name"]);

    played.report(backed_up("frozen")).await;
    assert_eq!(problem(&take().await), (409, "wrong-state".to_owned()));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_is_what_can_be_kept() {
    let stage = Stage::in_scene(Stage::scene("windows").await, 1).await;
    let played = &stage.played;
    let path = format!("{}/restore-window", played.path);
    let facade = &played.scene.facade;
    let window = async || {
        facade
            .shop
            .get(&path)
            .await
            .unwrap()
            .expect(StatusCode::OK)
            .unwrap()
    };
    let unknown = window().await;
    assert!(
        unknown["message"].is_string() && unknown["from"].is_null(),
        "{unknown}"
    );
    played.report(backed_up("ready")).await;
    let until_fence = json!({"from": FROM, "until": FENCE});
    facade
        .await_answer(&path, "the fence being told", |body| *body == until_fence)
        .await;

    let mut status = backed_up("ready");
    status["conditions"][0]["status"] = json!("True");
    let before = Timestamp::now();
    played.report(status).await;
    let is_now = |body: &Value| {
        let until: Timestamp = body["until"].as_str().unwrap().parse().unwrap();
        until >= before
    };
    facade
        .await_answer(&path, "the window being open up to now", is_now)
        .await;
    played.report(backed_up("archived")).await;
    assert_eq!(window().await, until_fence);
    played.report(backed_up("deleted")).await;
    let gone = facade.shop.get(&path).await.unwrap();
    assert_eq!(problem(&gone), (409, "wrong-state".to_owned()));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_without_a_backup_says_so_everywhere() {
    let played = Played::with_tier("without-backups", |_| ()).await;
    played
        .report(json!({"phase": "ready", "backup": {"configured": false}}))
        .await;
    let facade = &played.scene.facade;
    let known = |body: &Value| body["backup"]["configured"] == false;
    facade
        .await_answer(&played.path, "that being told", known)
        .await;
    for (method, path) in [
        (Method::GET, "/backups"),
        (Method::POST, "/backups"),
        (Method::GET, "/restore-window"),
    ] {
        let refused = played.shop(method, path).await;
        assert_eq!(problem(&refused), (409, "no-backup".to_owned()), "{path}");
    }
    played.scene.stop().await;
}
