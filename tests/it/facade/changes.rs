//! Changing a database over REST.

use daap_tests::rest::{Answer, RestClient};
use http::{Method, StatusCode, header};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{Scene, create, problem};

async fn patch(client: &RestClient, path: &str, body: Value) -> Answer {
    client.send(Method::PATCH, path, &body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_changed_by_its_owner_as_it_is_now() {
    let scene = Scene::with_tier("changes", "dev", |_| ()).await;
    let facade = &scene.facade;
    let asked = json!({"name": "orders", "tier": "dev", "purpose": "Orders"});
    let created = create(&facade.shop, asked).await;
    let path = format!("/databases/{}", created.body["id"].as_str().unwrap());

    let changed = patch(
        &facade.shop,
        &path,
        json!({"purpose": "All orders", "deletion_protection": true}),
    )
    .await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    assert_eq!(changed.body["purpose"], "All orders");
    assert_eq!(changed.body["deletion_protection"], true);
    let read = facade.shop.get(&path).await.unwrap();
    assert_eq!(read.body["purpose"], "All orders");

    // A tag tells which state was seen. What others changed meanwhile is not overwritten.
    let tag = read.headers[header::ETAG].to_str().unwrap().to_owned();
    let same = facade.shop.with_header(header::IF_NONE_MATCH, &tag);
    let unchanged = same.get(&path).await.unwrap();
    let nothing_new = unchanged.status == StatusCode::NOT_MODIFIED;
    assert!(nothing_new || unchanged.headers[header::ETAG] != tag.as_str());
    let careful = facade.shop.with_header(header::IF_MATCH, &tag);
    let by_others = json!({"spec": {"purpose": "Changed with kubectl"}});
    scene
        .world
        .databases()
        .patch("orders", &PatchParams::default(), &Patch::Merge(&by_others))
        .await
        .unwrap();
    let late = patch(&careful, &path, json!({"purpose": "Late"})).await;
    assert_eq!(problem(&late), (412, "precondition-failed".to_owned()));

    // Null removes; a rehearsal changes nothing; what cannot be changed is named.
    let rehearsed = patch(
        &facade.shop,
        &format!("{path}?dry_run=true"),
        json!({"purpose": null}),
    )
    .await;
    assert_eq!(rehearsed.status, StatusCode::OK, "{rehearsed:?}");
    assert_eq!(rehearsed.body["purpose"], Value::Null);
    let live = scene.world.databases().get("orders").await.unwrap();
    assert_eq!(live.spec.purpose.as_deref(), Some("Changed with kubectl"));
    let removed = patch(&facade.platform, &path, json!({"purpose": null})).await;
    assert_eq!(removed.body["purpose"], Value::Null, "{removed:?}");
    for (body, pointer) in [
        (json!({"tier": "gold"}), "/tier"),
        (json!({"purpose": "x".repeat(501)}), "/purpose"),
        (
            json!({"deletion_protection": "yes"}),
            "/deletion_protection",
        ),
    ] {
        let refused = patch(&facade.shop, &path, body).await;
        assert!(matches!(problem(&refused).0, 400 | 422), "{refused:?}");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer);
    }

    let foreign = patch(&facade.billing, &path, json!({"purpose": "Mine"})).await;
    let unknown = "/databases/00000000-0000-4000-8000-000000000000";
    let unknown = patch(&facade.billing, unknown, json!({"purpose": "Mine"})).await;
    assert_eq!(problem(&foreign), problem(&unknown));
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    scene.stop().await;
}
