//! Tiers over REST: made, changed and deleted beside those that people apply with kubectl.

use anyhow::{Result, ensure};
use daap_crds::{DaapObjectStore, DaapTier};
use daap_tests::{cluster::wait, rest::Answer};
use http::{StatusCode, header};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::{Value, json};

use super::{Scene, await_tier, create, problem};
use crate::world::{SOON, World};

/// A tier of which nothing is left out.
fn everything(name: &str) -> Value {
    json!({
        "name": name,
        "description": "Everything.",
        "definition": {
            "postgres": {
                "major": 17, "image": "registry.example/postgresql:17.6",
                "parameters": {"work_mem": "16MB"}, "extensions": ["vector"],
            },
            "compute": {"cpu": "1500m", "memory": "4Gi"},
            "storage": {"size": "50Gi", "class": "fast", "wal_size": "10Gi"},
            "availability": {"instances": 3, "synchronous": {"number": 1, "durability": "preferred"}},
            "backup": {"schedule": "0 * * * *", "retention": "30d", "object_store": "vault", "archive_timeout": "2min"},
            "pooling": {
                "mode": "session", "max_client_connections": 777, "default_pool_size": 33, "instances": 2,
                "compute": {"cpu": "2", "memory": "96Mi"},
            },
            "destruction": {"strategy": "archive", "archive_retention": "3m"},
        },
    })
}

/// The same as a person would write it for kubectl.
const EVERYTHING: &str = r#"
    description: Everything.
    postgres: {major: 17, image: "registry.example/postgresql:17.6", parameters: {work_mem: 16MB}, extensions: [vector]}
    compute: {cpu: 1500m, memory: 4Gi}
    storage: {size: 50Gi, class: fast, walSize: 10Gi}
    availability: {instances: 3, synchronous: {number: 1, durability: Preferred}}
    backup: {schedule: "0 * * * *", retention: 30d, objectStore: vault, archiveTimeout: 2min}
    pooling: {mode: Session, maxClientConnections: 777, defaultPoolSize: 33, instances: 2, compute: {cpu: "2", memory: 96Mi}}
    destruction: {strategy: Archive, archiveRetention: 3m}
"#;

/// A tier of which everything is left out that can be.
fn least(name: &str) -> Value {
    json!({
        "name": name,
        "description": "The least.",
        "definition": {
            "postgres": {"major": 17, "catalog": "blessed"},
            "compute": {"cpu": "1", "memory": "1Gi"}, "storage": {"size": "3Gi"},
            "backup": {"schedule": "0 3 * * *", "retention": "7d", "object_store": "vault"},
            "pooling": {"mode": "transaction", "max_client_connections": 100, "default_pool_size": 10},
            "destruction": {"strategy": "hard"},
        },
    })
}

const LEAST: &str = r#"
    description: The least.
    postgres: {major: 17, catalog: {name: blessed}}
    compute: {cpu: "1", memory: 1Gi}
    storage: {size: 3Gi}
    backup: {schedule: "0 3 * * *", retention: 7d, objectStore: vault}
    pooling: {mode: Transaction, maxClientConnections: 100, defaultPoolSize: 10}
    destruction: {strategy: Hard}
"#;

pub async fn create_object_store(world: &World, name: &str) {
    let secret = json!({
        "metadata": {"name": "vault-key"},
        "stringData": {"accessKeyId": "an-id", "secretAccessKey": "a-key"},
    });
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "daap-system");
    let secret = serde_json::from_value(secret).unwrap();
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let store = json!({
        "apiVersion": "daap.dev/v1alpha1", "kind": "DaapObjectStore", "metadata": {"name": name},
        "spec": {
            "url": "s3://backups/tenants", "endpoint": "https://s3.example", "region": "eu-north-1",
            "credentials": {"secret": {"name": "vault-key"}},
        },
    });
    let stores: Api<DaapObjectStore> = Api::all(world.client.clone());
    let store = serde_json::from_value(store).unwrap();
    stores.create(&PostParams::default(), &store).await.unwrap();
}

/// Tiers as the API server stores them, field by field.
fn stored(world: &World) -> Api<DynamicObject> {
    Api::all_with(world.client.clone(), &ApiResource::erase::<DaapTier>(&()))
}

async fn apply(world: &World, name: &str, spec: &str) {
    let spec: Value = serde_yaml::from_str(spec).unwrap();
    let tier = json!({"apiVersion": "daap.dev/v1alpha1", "kind": "DaapTier", "metadata": {"name": name}, "spec": spec});
    let tier = serde_json::from_value(tier).unwrap();
    stored(world)
        .create(&PostParams::default(), &tier)
        .await
        .unwrap();
}

fn tag(answer: &Answer) -> String {
    answer.headers[header::ETAG].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_by_rest_is_a_tier_by_kubectl() {
    let scene = Scene::with_tier("tiers-alike", "dev", |_| ()).await;
    let (world, facade) = (&scene.world, &scene.facade);
    create_object_store(world, "vault").await;
    for (request, by_kubectl, spec) in [
        (everything("everything-r"), "everything-k", EVERYTHING),
        (least("least-r"), "least-k", LEAST),
    ] {
        let by_rest = request["name"].as_str().unwrap();
        let created = facade.platform.post("/tiers", &request).await.unwrap();
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
        assert_eq!(
            created.headers[header::LOCATION],
            format!("/tiers/{by_rest}")
        );
        apply(world, by_kubectl, spec).await;
        await_tier(&facade.shop, by_rest).await;
        await_tier(&facade.shop, by_kubectl).await;

        let tiers = stored(world);
        let (mut one, other) = (
            tiers.get(by_rest).await.unwrap(),
            tiers.get(by_kubectl).await.unwrap(),
        );
        assert_eq!(one.data["spec"].to_string(), other.data["spec"].to_string());
        // Which call made it may be told, and nothing else.
        let intent = one.annotations_mut().remove(daap_crds::label::INTENT);
        assert!(intent.is_some());
        assert_eq!(one.annotations(), other.annotations());
        assert_eq!(one.labels(), other.labels());
        assert_eq!(one.finalizers(), other.finalizers());
        let hash = |tier: &DynamicObject| {
            let revision = tier.data["status"]["currentRevision"]
                .as_str()
                .unwrap()
                .to_owned();
            revision.strip_prefix(&tier.name_any()).unwrap().to_owned()
        };
        assert_eq!(hash(&one), hash(&other), "both have the same revision");

        // And both are shown alike.
        let shown = async |name: &str| {
            let answer = facade
                .platform
                .get(&format!("/tiers/{name}"))
                .await
                .unwrap();
            answer.body["definition"].clone()
        };
        assert_eq!(shown(by_rest).await, shown(by_kubectl).await);
        for (name, given) in request["definition"].as_object().unwrap() {
            let now = &created.body["definition"][name];
            let kept = given
                .as_object()
                .unwrap()
                .iter()
                .all(|(field, value)| now[field] == *value);
            assert!(kept, "{name}: {given} became {now}");
        }
    }
    let again = facade
        .platform
        .post("/tiers", &least("everything-k"))
        .await
        .unwrap();
    assert_eq!(problem(&again), (409, "name-taken".to_owned()));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_is_changed_and_nobodys_change_is_lost() {
    let scene = Scene::with_tier("tiers-change", "dev", |_| ()).await;
    let (world, platform) = (&scene.world, &scene.facade.platform);
    let before = platform.get("/tiers/dev").await.unwrap();
    let revision = before.body["state"]["current_revision"].clone();

    let forbidden = scene
        .facade
        .shop
        .patch("/tiers/dev", &json!({}))
        .await
        .unwrap();
    assert_eq!(problem(&forbidden), (403, "forbidden".to_owned()));
    let first_tag = tag(&before);
    let meant_for = platform.with_header(header::IF_MATCH, &first_tag);
    let patch =
        json!({"definition": {"compute": {"memory": "512Mi"}, "storage": {"wal_size": "2Gi"}}});
    let changed = meant_for.patch("/tiers/dev", &patch).await.unwrap();
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    assert_eq!(
        changed.body["definition"]["compute"],
        json!({"cpu": "100m", "memory": "512Mi"})
    );
    assert_ne!(tag(&changed), first_tag);
    let stale = meant_for.patch("/tiers/dev", &patch).await.unwrap();
    assert_eq!(problem(&stale), (412, "precondition-failed".to_owned()));

    // A tag is good for its definition, however often the controller reported meanwhile.
    wait::until(
        "the new revision being current",
        SOON,
        async || -> Result<()> {
            let now = platform.get("/tiers/dev").await?;
            ensure!(now.body["state"]["current_revision"] != revision, "{now:?}");
            ensure!(tag(&now) != tag(&changed), "nothing was reported");
            Ok(())
        },
    )
    .await
    .unwrap();
    let reported = platform.with_header(header::IF_MATCH, &tag(&changed));
    let patch = json!({"definition": {"storage": {"wal_size": null}}});
    let removed = reported.patch("/tiers/dev", &patch).await.unwrap();
    assert_eq!(
        removed.body["definition"]["storage"],
        json!({"size": "1Gi"}),
        "{removed:?}"
    );

    let polled = platform.get("/tiers/dev").await.unwrap();
    let polling = platform.with_header(header::IF_NONE_MATCH, &tag(&polled));
    // The controller may just be reporting; then there is a newer state to be polled.
    let again = polling.get("/tiers/dev").await.unwrap();
    assert!(
        again.status == StatusCode::NOT_MODIFIED || tag(&again) != tag(&polled),
        "{again:?}"
    );

    // Four at once, each something else, while the controller reports.
    let settings = [
        "work_mem",
        "temp_buffers",
        "random_page_cost",
        "statement_timeout",
    ];
    let changes = settings.map(|name| {
        let patch = json!({"definition": {"postgres": {"parameters": {name: "1"}}}});
        async move {
            wait::until("the change", SOON, async || {
                platform
                    .patch("/tiers/dev", &patch)
                    .await?
                    .expect(StatusCode::OK)
            })
            .await
        }
    });
    for outcome in futures::future::join_all(changes).await {
        outcome.unwrap();
    }
    let parameters =
        stored(world).get("dev").await.unwrap().data["spec"]["postgres"]["parameters"].clone();
    assert_eq!(
        parameters.as_object().unwrap().len(),
        settings.len(),
        "{parameters}"
    );

    // A change of nothing writes nothing.
    let state = stored(world).get("dev").await.unwrap();
    let same = json!({"description": state.data["spec"]["description"]});
    let unchanged = platform.patch("/tiers/dev", &same).await.unwrap();
    assert_eq!(unchanged.status, StatusCode::OK);
    assert_eq!(
        stored(world).get("dev").await.unwrap().metadata.generation,
        state.metadata.generation
    );
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_in_use_stays() {
    let scene = Scene::with_tier("tiers-delete", "dev", |_| ()).await;
    let (world, facade) = (&scene.world, &scene.facade);
    for name in ["orders", "stock"] {
        let made = create(&facade.shop, json!({"name": name, "tier": "dev"})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    }
    for path in ["/tiers/dev", "/tiers/dev?dry_run=true"] {
        let refused = facade.platform.delete(path).await.unwrap();
        assert_eq!(problem(&refused), (409, "tier-in-use".to_owned()));
        let total: i64 = refused.body["databases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["count"].as_i64().unwrap())
            .sum();
        assert_eq!(total, 2, "{refused:?}");
        assert!(
            refused.body["detail"]
                .as_str()
                .unwrap()
                .contains("2 databases"),
            "{refused:?}"
        );
    }
    let forbidden = facade.shop.delete("/tiers/dev").await.unwrap();
    assert_eq!(problem(&forbidden), (403, "forbidden".to_owned()));
    assert!(
        stored(world)
            .get("dev")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_none()
    );

    world.create_tier("spare").await;
    await_tier(&facade.shop, "spare").await;
    let stale = facade.platform.with_header(header::IF_MATCH, "\"77-1\"");
    let stale = stale.delete("/tiers/spare").await.unwrap();
    assert_eq!(problem(&stale), (412, "precondition-failed".to_owned()));
    let tried = facade
        .platform
        .delete("/tiers/spare?dry_run=true")
        .await
        .unwrap();
    assert!(tried.status.is_success(), "{tried:?}");
    let spare = stored(world).get("spare").await.unwrap();
    assert!(spare.metadata.deletion_timestamp.is_none());

    // The controller clears up after it first, and the answer says so.
    let deleted = facade.platform.delete("/tiers/spare").await.unwrap();
    assert_eq!(deleted.status, StatusCode::ACCEPTED, "{deleted:?}");
    assert!(
        deleted.body["detail"]
            .as_str()
            .unwrap()
            .contains("revisions"),
        "{deleted:?}"
    );
    wait::until("the tier being gone", SOON, async || -> Result<()> {
        let answer = facade.platform.get("/tiers/spare").await?;
        ensure!(answer.status == StatusCode::NOT_FOUND, "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
    let again = facade.platform.delete("/tiers/spare").await.unwrap();
    assert_eq!(problem(&again), (404, "not-found".to_owned()));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_tried_out_has_no_effect() {
    let scene = Scene::with_tier("tiers-dry-run", "dev", |_| ()).await;
    let (world, platform) = (&scene.world, &scene.facade.platform);
    create_object_store(world, "vault").await;
    let tried = platform
        .post("/tiers?dry_run=true", &least("tried"))
        .await
        .unwrap();
    assert_eq!(tried.status, StatusCode::OK, "{tried:?}");
    assert_eq!(
        tried.body["definition"]["availability"],
        json!({"instances": 1})
    );
    assert!(stored(world).get_opt("tried").await.unwrap().is_none());
    let taken = platform
        .post("/tiers?dry_run=true", &least("dev"))
        .await
        .unwrap();
    assert_eq!(problem(&taken), (409, "name-taken".to_owned()));

    let before = stored(world).get("dev").await.unwrap();
    let patch = json!({"definition": {"storage": {"size": "9Gi"}}});
    let tried = platform
        .patch("/tiers/dev?dry_run=true", &patch)
        .await
        .unwrap();
    assert_eq!(
        tried.body["definition"]["storage"]["size"], "9Gi",
        "{tried:?}"
    );
    let after = stored(world).get("dev").await.unwrap();
    assert_eq!(
        (before.metadata.generation, before.data["spec"].clone()),
        (after.metadata.generation, after.data["spec"].clone())
    );
    let bad = json!({"definition": {"storage": {"size": "9"}}});
    let refused = platform
        .patch("/tiers/dev?dry_run=true", &bad)
        .await
        .unwrap();
    assert_eq!(problem(&refused), (422, "invalid-fields".to_owned()));
    assert_eq!(
        refused.body["errors"][0]["pointer"],
        "/definition/storage/size"
    );
    scene.stop().await;
}
