//! Changes of API keys that are cut short.

use anyhow::Context as _;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Call, at_every_request, is_intended, pool, scene};

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_of_a_key_that_is_cut_short() {
    let scene = scene("fault-keys").await;
    let call = async |name: &str| Call {
        method: Method::POST,
        path: "/api-keys".to_owned(),
        body: json!({"name": name, "team": "shop", "role": "product-team"}),
        key: name.to_owned(),
    };
    at_every_request(&scene, "createApiKey", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::CREATED, "{name}: {retry:?}");
        let made: Vec<String> =
            sqlx::query_scalar("select intent::text from api_key where name = $1")
                .bind(name)
                .fetch_all(&pool(&scene.facade))
                .await
                .unwrap();
        assert_eq!(made.len(), 1, "{name}: one effect");
        assert!(
            is_intended(&scene, "createApiKey", &made[0]).await,
            "{name}"
        );
        // It is shown unless it was shown before, or could have been: then the answer says which one to revoke.
        match retry.body["key"].as_str() {
            Some(key) => {
                let made = scene.facade.platform.with_key(key);
                assert_eq!(
                    made.get("/me").await.unwrap().status,
                    StatusCode::OK,
                    "{name}"
                );
            }
            None => assert!(retry.body["id"].is_string(), "{name}: {retry:?}"),
        }
    })
    .await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_of_a_key_that_is_cut_short() {
    let scene = scene("fault-revocations").await;
    let facade = &scene.facade;
    let call = async |name: &str| {
        let body = json!({"name": name, "team": "shop", "role": "product-team"});
        let made = facade.platform.post("/api-keys", &body).await.unwrap();
        let id = made.body["id"].as_str().context(made.body.clone()).unwrap();
        Call {
            method: Method::DELETE,
            path: format!("/api-keys/{id}"),
            body: Value::Null,
            key: name.to_owned(),
        }
    };
    at_every_request(&scene, "revokeApiKey", call, async |name, retry| {
        assert_eq!(retry.status, StatusCode::NO_CONTENT, "{name}: {retry:?}");
        // When it was revoked, an intent was on record already.
        let told: bool = sqlx::query_scalar(
            "select revoked_at > (select min(at) from audit where stage = 'intent' and action = 'revokeApiKey' \
             and resource_id = api_key.id::text) from api_key where name = $1",
        )
        .bind(name)
        .fetch_one(&pool(facade))
        .await
        .unwrap();
        assert!(told, "{name}");
    })
    .await;
    scene.stop().await;
}
