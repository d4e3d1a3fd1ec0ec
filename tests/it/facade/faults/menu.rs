//! Changes of tiers and quotas that are cut short.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use anyhow::{Result, ensure};
use daap_crds::{DaapQuota, DaapTier};
use daap_tests::cluster::wait;
use http::{Method, StatusCode};
use kube::{Api, Resource as _};
use serde_json::{Value, json};

use super::{Call, at_every_request, changes, pool, scene};
use crate::{
    facade::{Scene, await_tier},
    world::SOON,
};

fn tiers(scene: &Scene) -> Api<DaapTier> {
    Api::all(scene.world.client.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_of_a_tier_that_is_cut_short() {
    let scene = scene("fault-tiers").await;
    let call = async |name: &str| Call {
        method: Method::POST,
        path: "/tiers".to_owned(),
        body: json!({
            "name": format!("tier-{name}"), "description": "For trying things out.",
            "definition": {
                "postgres": {"major": 17, "image": "registry.example/postgresql:17.6"},
                "compute": {"cpu": "100m", "memory": "256Mi"}, "storage": {"size": "1Gi"},
                "destruction": {"strategy": "hard"},
            },
        }),
        key: name.to_owned(),
    };
    at_every_request(&scene, "createTier", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::CREATED, "{name}: {retry:?}");
        let tier = tiers(&scene).get(&format!("tier-{name}")).await.unwrap();
        assert_eq!(changes(&scene, "createTier", &tier).await, 1, "{name}");
    })
    .await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_tier_that_is_cut_short() {
    let scene = scene("fault-tier-changes").await;
    let before = AtomicI64::new(0);
    let call = async |name: &str| {
        let now = tiers(&scene).get("dev").await.unwrap();
        before.store(now.meta().generation.unwrap(), SeqCst);
        Call {
            method: Method::PATCH,
            path: "/tiers/dev".to_owned(),
            body: json!({"description": name}),
            key: name.to_owned(),
        }
    };
    at_every_request(&scene, "changeTier", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::OK, "{name}: {retry:?}");
        let tier = tiers(&scene).get("dev").await.unwrap();
        assert_eq!(tier.spec.description, name);
        let changes = changes(&scene, "changeTier", &tier).await;
        assert_eq!(changes, before.load(SeqCst) + 1, "{name}: one effect");
    })
    .await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_a_tier_that_is_cut_short() {
    let scene = scene("fault-tier-deletions").await;
    let call = async |name: &str| {
        let tier = format!("tier-{name}");
        scene.world.create_tier(&tier).await;
        await_tier(&scene.facade.shop, &tier).await;
        Call {
            method: Method::DELETE,
            path: format!("/tiers/{tier}"),
            body: Value::Null,
            key: name.to_owned(),
        }
    };
    at_every_request(&scene, "deleteTier", call, async |name, retry| {
        let tier = format!("tier-{name}");
        // Who finds it gone was preceded by the try, which then has an intent on record, too.
        let least = match retry.status {
            StatusCode::NOT_FOUND => 2,
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => 1,
            _ => panic!("{name}: {retry:?}"),
        };
        let intents: i64 = sqlx::query_scalar(
            "select count(*) from audit where stage = 'intent' and action = 'deleteTier' and resource_id = $1",
        )
        .bind(&tier)
        .fetch_one(&pool(&scene.facade))
        .await
        .unwrap();
        assert!(intents >= least, "{name}: {intents} intents");
        wait::until("the tier being gone", SOON, async || -> Result<()> {
            ensure!(tiers(&scene).get_opt(&tier).await?.is_none(), "it is there");
            let told = scene.facade.shop.get(&format!("/tiers/{tier}")).await?;
            ensure!(told.status == StatusCode::NOT_FOUND, "{told:?}");
            Ok(())
        })
        .await
        .unwrap();
    })
    .await;
    scene.stop().await;
}

/// A PUT is repeated without a key, and has the same effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_quota_that_is_cut_short() {
    let scene = scene("fault-quotas").await;
    let quotas: Api<DaapQuota> = Api::all(scene.world.client.clone());
    let (before, limit) = (AtomicI64::new(0), AtomicI64::new(0));
    wait::until("the quota being there", SOON, async || {
        Ok(quotas.get("dev").await?)
    })
    .await
    .unwrap();
    let call = async |name: &str| {
        let now = quotas.get("dev").await.unwrap();
        before.store(now.meta().generation.unwrap(), SeqCst);
        let limit = limit.fetch_add(1, SeqCst) + 1;
        Call {
            method: Method::PUT,
            path: "/tiers/dev/quota".to_owned(),
            body: json!({"max_databases": limit}),
            key: name.to_owned(),
        }
    };
    at_every_request(&scene, "setQuota", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::OK, "{name}: {retry:?}");
        let quota = quotas.get("dev").await.unwrap();
        assert_eq!(quota.spec.databases, Some(limit.load(SeqCst)));
        let changes = changes(&scene, "setQuota", &quota).await;
        assert_eq!(changes, before.load(SeqCst) + 1, "{name}: one effect");
    })
    .await;
    scene.stop().await;
}
