//! Quotas over REST: what is told, what is left behind, and who may change them.

use std::time::{Duration, Instant};

use anyhow::ensure;
use daap_tests::cluster::wait;
use http::{Method, StatusCode};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::stage::{Facades, Stage};
use crate::world::SOON;

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_over_rest() {
    let stage = Stage::start("quota-rest").await;
    let controller = stage.controller("daap-controller");
    let facades = Facades::start(&stage, 1, Duration::from_secs(2)).await;
    let (shop, platform) = (&facades.clients[0], &facades.platform);
    stage
        .create_tier("dev", |tier| {
            tier["spec"]["availability"] = json!({"instances": 2});
            tier["spec"]["pooling"] =
                json!({"mode": "Session", "maxClientConnections": 100, "defaultPoolSize": 10, "instances": 3});
        })
        .await;
    wait::until("the tier being offered", SOON, async || {
        let body = shop.get("/tiers/dev/quota").await?.expect(StatusCode::OK)?;
        ensure!(!body["allocated"].is_null(), "{body}");
        let tier = shop.get("/tiers/dev").await?.body;
        ensure!(tier["available"] == true, "{tier}");
        Ok(())
    })
    .await
    .unwrap();

    let limits = json!({"max_databases": 5, "cpu_cores": 1, "memory_gib": 3.5, "storage_gib": 100});
    let refused = shop
        .send(Method::PUT, "/tiers/dev/quota", &limits)
        .await
        .unwrap();
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let set = platform
        .send(Method::PUT, "/tiers/dev/quota", &limits)
        .await
        .unwrap();
    let set = set.expect(StatusCode::OK).unwrap();
    assert_eq!(set["limits"], limits);
    // 2 × 100m + 3 × 100m of one core; 2 × 256Mi + 3 × 64Mi of 3.5 GiB.
    assert_eq!(set["additional_databases"], 2, "{set}");

    let create = async |name: &str| {
        let body = json!({"name": name, "tier": "dev"});
        shop.post("/databases", &body).await.unwrap()
    };
    for name in ["one", "two"] {
        let created = create(name).await;
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    }
    let refused = create("three").await;
    assert_eq!(
        refused.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{refused:?}"
    );
    assert_eq!(refused.body["code"], "quota-exceeded");
    assert_eq!(
        refused.body["exceeded"],
        json!([{"resource": "cpu_cores", "limit": 1, "used": 1, "requested": 0.5, "remaining": 0}])
    );
    let names: Vec<_> = stage
        .listed("dev")
        .await
        .iter()
        .map(|one| one.name_any())
        .collect();
    assert_eq!(names, ["one", "two"], "a refusal leaves nothing");
    let rehearsed = json!({"name": "three", "tier": "dev"});
    let rehearsed = shop.post("/databases?dry_run=true", &rehearsed).await;
    assert_eq!(
        rehearsed.unwrap().body["exceeded"],
        refused.body["exceeded"]
    );

    let answer = shop.get("/tiers/dev/quota").await.unwrap();
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    let quota = answer.expect(StatusCode::OK).unwrap();
    assert_eq!(
        quota["allocated"],
        json!({"max_databases": 2, "cpu_cores": 1, "memory_gib": 1.375, "storage_gib": 4})
    );
    assert_eq!(
        quota["remaining"],
        json!({"max_databases": 3, "cpu_cores": 0, "memory_gib": 2.125, "storage_gib": 96})
    );
    assert_eq!(quota["additional_databases"], 0);

    for (limits, pointer) in [
        (json!({"cpu_cores": 0.0005}), "/cpu_cores"),
        (json!({"memory_gib": 0.1}), "/memory_gib"),
        (json!({"storage_gib": 0.0001}), "/storage_gib"),
    ] {
        let refused = platform
            .send(Method::PUT, "/tiers/dev/quota", &limits)
            .await;
        let refused = refused.unwrap();
        assert_eq!(
            refused.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{refused:?}"
        );
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{refused:?}");
    }
    let narrow = json!({"max_databases": 2, "cpu_cores": 1.005, "memory_gib": 1.376953125, "storage_gib": 6});
    let set = platform
        .send(Method::PUT, "/tiers/dev/quota", &narrow)
        .await;
    let set = set.unwrap().expect(StatusCode::OK).unwrap();
    assert_eq!(set["limits"], narrow, "nothing is rounded");
    assert_eq!(
        set["remaining"],
        json!({"max_databases": 0, "cpu_cores": 0.005, "memory_gib": 0.001953125, "storage_gib": 2})
    );
    let refused = create("three").await;
    assert_eq!(
        refused.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{refused:?}"
    );
    assert_eq!(refused.body["tier"], "dev");
    assert_eq!(
        refused.body["exceeded"],
        json!([
            {"resource": "max_databases", "limit": 2, "used": 2, "requested": 1, "remaining": 0},
            {"resource": "cpu_cores", "limit": 1.005, "used": 1, "requested": 0.5, "remaining": 0.005},
            {"resource": "memory_gib", "limit": 1.376953125, "used": 1.375, "requested": 0.6875, "remaining": 0.001953125},
        ]),
        "every limit that it would exceed, and no other"
    );

    let lower = json!({"max_databases": 1});
    let lowered = platform
        .send(Method::PUT, "/tiers/dev/quota", &lower)
        .await
        .unwrap();
    let lowered = lowered.expect(StatusCode::OK).unwrap();
    assert_eq!(lowered["remaining"], json!({"max_databases": 0}));
    let message = lowered["message"].as_str().unwrap();
    assert!(message.contains("max_databases 2 of 1"), "{message}");
    assert_eq!(
        create("four").await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );

    let stale = platform
        .with_header(http::header::IF_MATCH, &tag)
        .send(Method::PUT, "/tiers/dev/quota", &json!({}))
        .await
        .unwrap();
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED, "{stale:?}");
    let unlimited = platform
        .send(Method::PUT, "/tiers/dev/quota", &json!({}))
        .await
        .unwrap();
    assert_eq!(
        unlimited.expect(StatusCode::OK).unwrap()["limits"],
        json!({})
    );
    assert_eq!(create("five").await.status, StatusCode::CREATED);
    for missing in ["/tiers/gold/quota", "/tiers/No/quota"] {
        assert_eq!(
            shop.get(missing).await.unwrap().status,
            StatusCode::NOT_FOUND
        );
    }
    facades.stop().await;
    controller.stop().await;
}

/// Nobody decides: the answer comes in time, and nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_controller_nothing_is_left_behind() {
    let mut stage = Stage::start("no-controller").await;
    stage.fail_fast_deadline = Duration::from_secs(3);
    let controller = stage.controller("daap-controller");
    let facades = Facades::start(&stage, 1, Duration::from_secs(2)).await;
    let shop = &facades.clients[0];
    stage.create_tier("dev", |_| ()).await;
    facades.await_offer("dev").await;
    controller.stop().await;

    let begin = Instant::now();
    let answer = shop
        .post("/databases", &json!({"name": "orders", "tier": "dev"}))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert!(stage.listed("dev").await.is_empty());

    // As a facade leaves it that dies between asking and hearing the verdict.
    let orphan = stage
        .ask_with("orphan", "dev", |database: &mut Value| {
            database["spec"]["admission"] = json!("FailFast");
        })
        .await;
    let created = orphan.creation_timestamp().unwrap().0;
    wait::until("its time being over", SOON, async || {
        ensure!(Timestamp::now() > created.checked_add(stage.fail_fast_deadline)?);
        Ok(())
    })
    .await
    .unwrap();
    let controller = stage.controller("daap-controller");
    wait::until("the leftover being removed", SOON, async || {
        ensure!(stage.listed("dev").await.is_empty());
        Ok(())
    })
    .await
    .unwrap();
    let bound = stage.history.broken_rules("dev").await;
    assert!(bound.is_empty(), "{bound:?}");
    assert_eq!(stage.history.recount("dev").await, [0; 4]);
    facades.stop().await;
    controller.stop().await;
}
