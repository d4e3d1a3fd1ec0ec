//! API keys over REST: made, shown once, seen, revoked at once on every replica; and what happens to those without one.

use std::time::Duration;

use anyhow::{Result, ensure};
use daap_facade::Bootstrap;
use daap_tests::cluster::{postgres::Postgres, wait};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Facade, problem, store};
use crate::world::{SOON, World};

async fn make(facade: &Facade, role: &str, team: &str) -> (String, String) {
    let body = json!({"name": "test", "team": team, "role": role});
    let answer = facade.platform.post("/api-keys", &body).await.unwrap();
    assert_eq!(answer.headers["cache-control"], "no-store");
    let body = answer.expect(StatusCode::CREATED).unwrap();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

async fn revoke(facade: &Facade, id: &str) -> daap_tests::rest::Answer {
    let path = format!("/api-keys/{id}");
    facade
        .platform
        .send(Method::DELETE, &path, &Value::Null)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_used_and_revoked() {
    let world = World::without_teams("keys").await;
    let postgres = Postgres::start().await.unwrap();
    let facade = Facade::start(&world, &postgres).await;
    let second = Facade::start_on(&world, facade.store.clone()).await;

    let (id, key) = make(&facade, "product-team", "fresh").await;
    let path = format!("/api-keys/{id}");
    let seen = facade
        .platform
        .get(&path)
        .await
        .unwrap()
        .expect(StatusCode::OK)
        .unwrap();
    assert_eq!(
        (&seen["team"], &seen["status"]),
        (&json!("fresh"), &json!("active"))
    );
    assert!(!seen.to_string().contains(&key), "it is shown once");
    let fresh = facade.shop.with_key(&key);
    let me = fresh
        .get("/me")
        .await
        .unwrap()
        .expect(StatusCode::OK)
        .unwrap();
    assert_eq!((&me["key_id"], &me["team"]), (&json!(id), &json!("fresh")));
    let actions = me["actions"].as_array().unwrap();
    assert!(
        actions.contains(&json!("createDatabase")) && !actions.contains(&json!("createApiKey"))
    );

    // Only platform teams.
    for (method, path) in [
        (Method::GET, "/api-keys"),
        (Method::GET, path.as_str()),
        (Method::DELETE, path.as_str()),
    ] {
        let answer = fresh.send(method, path, &Value::Null).await.unwrap();
        assert_eq!(problem(&answer).0, 403);
    }
    let body = json!({"name": "x", "team": "fresh", "role": "platform-team"});
    assert_eq!(
        problem(&fresh.post("/api-keys", &body).await.unwrap()).0,
        403
    );

    // Its use is noted, and no more than once.
    let used = async || -> Result<String> {
        let seen = facade.platform.get(&path).await?.expect(StatusCode::OK)?;
        seen["last_used_at"]
            .as_str()
            .map(str::to_owned)
            .ok_or(anyhow::anyhow!("{seen}"))
    };
    let first = wait::until("the use being noted", SOON, used)
        .await
        .unwrap();
    fresh.get("/tiers").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(used().await.unwrap(), first);

    // Revoked on every replica at once, for ever, and again without an effect.
    let elsewhere = second.shop.with_key(&key);
    assert_eq!(elsewhere.get("/me").await.unwrap().status, StatusCode::OK);
    assert_eq!(revoke(&facade, &id).await.status, StatusCode::NO_CONTENT);
    assert_eq!(problem(&elsewhere.get("/me").await.unwrap()).0, 401);
    let revoked = facade.platform.get(&path).await.unwrap().body;
    assert_eq!(revoked["status"], "revoked");
    assert_eq!(revoke(&facade, &id).await.status, StatusCode::NO_CONTENT);
    assert_eq!(facade.platform.get(&path).await.unwrap().body, revoked);
    for unknown in ["00000000-0000-4000-8000-000000000000", "no-id"] {
        assert_eq!(problem(&revoke(&facade, unknown).await).0, 404);
    }

    let list = facade
        .platform
        .get("/api-keys?team=fresh&role=product-team")
        .await
        .unwrap();
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1, "{list:?}");
    let (mut seen, mut query) = (0, "limit=2".to_owned());
    loop {
        let body = facade
            .platform
            .get(&format!("/api-keys?{query}"))
            .await
            .unwrap()
            .body;
        seen += body["items"].as_array().unwrap().len();
        let Some(cursor) = body["next_cursor"].as_str() else {
            break;
        };
        query = format!("limit=2&cursor={cursor}");
    }
    let kept: i64 = sqlx::query_scalar("select count(*) from api_key")
        .fetch_one(&daap_facade::pool(&facade.store).unwrap())
        .await
        .unwrap();
    assert_eq!(seen as i64, kept);
    facade.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_about_keys_are_told_by_field() {
    let world = World::without_teams("key-fields").await;
    let postgres = Postgres::start().await.unwrap();
    let facade = Facade::start(&world, &postgres).await;
    let refused = async |change: Value| {
        let mut body = json!({"name": "ci", "team": "shop", "role": "product-team"});
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = facade.platform.post("/api-keys", &body).await.unwrap();
        let status = problem(&answer).0;
        (
            status,
            answer.body["errors"][0]["pointer"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    };
    for (change, pointer) in [
        (json!({"team": "Shop"}), "/team"),
        (json!({"name": ""}), "/name"),
        (json!({"role": "root"}), "/role"),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), "/expires_at"),
    ] {
        assert_eq!(refused(change).await, (422, pointer.to_owned()));
    }
    assert_eq!(
        refused(json!({"key": "mine"})).await,
        (400, "/key".to_owned())
    );
    let (_, key) = {
        let end = jiff::Timestamp::now() + Duration::from_secs(2);
        let body = json!({"name": "ci", "team": "shop", "role": "product-team", "expires_at": end});
        let answer = facade.platform.post("/api-keys", &body).await.unwrap();
        let body = answer.expect(StatusCode::CREATED).unwrap();
        (body["id"].clone(), body["key"].as_str().unwrap().to_owned())
    };
    let brief = facade.shop.with_key(&key);
    wait::until("the key expiring", SOON, async || -> Result<()> {
        let status = brief.get("/me").await?.status;
        ensure!(status == StatusCode::UNAUTHORIZED, "{status}");
        Ok(())
    })
    .await
    .unwrap();
    facade.stop().await;
}

/// However many are revoked at once, a platform key that works is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_platform_key_stays() {
    let world = World::without_teams("last-key").await;
    let postgres = Postgres::start().await.unwrap();
    let facade = Facade::start(&world, &postgres).await;
    let own = facade.platform.get("/me").await.unwrap().body["key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        problem(&revoke(&facade, &own).await),
        (409, "last-platform-key".to_owned())
    );
    // Each key ends itself, all at once: the last one may not.
    let mut survivor = (own, facade.platform.clone());
    for _ in 0..4 {
        let mut keys = vec![survivor];
        for _ in 0..7 {
            let body = json!({"name": "test", "team": "platform", "role": "platform-team"});
            let made = keys[0].1.post("/api-keys", &body).await.unwrap();
            let made = made.expect(StatusCode::CREATED).unwrap();
            let text = |name: &str| made[name].as_str().unwrap().to_owned();
            let client = facade.platform.with_key(&text("key"));
            keys.push((text("id"), client));
        }
        let ends = keys.iter().map(async |(id, client)| {
            let path = format!("/api-keys/{id}");
            let answer = client.send(Method::DELETE, &path, &Value::Null).await;
            answer.unwrap().status
        });
        let ends = futures::future::join_all(ends).await;
        let kept: Vec<_> = (0..ends.len())
            .filter(|index| ends[*index] == StatusCode::CONFLICT)
            .collect();
        assert_eq!(kept.len(), 1, "{ends:?}");
        survivor = keys.swap_remove(kept[0]);
        let alive = survivor.1.get("/me").await.unwrap();
        assert_eq!(alive.status, StatusCode::OK, "{alive:?}");
    }
    let usable: i64 = sqlx::query_scalar(
        "select count(*) from api_key where role = 'platform-team' and revoked_at is null",
    )
    .fetch_one(&daap_facade::pool(&facade.store).unwrap())
    .await
    .unwrap();
    assert_eq!(usable, 1);
    facade.stop().await;
}

/// Of many who ask at once for the first key of an empty installation, one gets it.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_made_once() {
    let postgres = Postgres::start().await.unwrap();
    let store = store(&postgres).await;
    let asked = Bootstrap {
        name: "first".to_owned(),
        team: None,
        force: false,
    };
    let many = (0..6).map(|_| daap_facade::bootstrap(daap_facade::pool(&store).unwrap(), &asked));
    let made = futures::future::join_all(many).await;
    assert_eq!(made.iter().filter(|one| one.is_ok()).count(), 1, "{made:?}");
    let rows: Vec<(String, String)> = sqlx::query_as("select stage, action from audit order by id")
        .fetch_all(&daap_facade::pool(&store).unwrap())
        .await
        .unwrap();
    let row = |stage: &str| (stage.to_owned(), "bootstrapKey".to_owned());
    assert_eq!(rows, [row("intent"), row("outcome")]);
}

/// Who has no key is told to wait after a while, and told of in bulk, and whoever has one does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn failed_authentications_are_limited_and_told_in_bulk() {
    let world = World::without_teams("noise").await;
    let postgres = Postgres::start().await.unwrap();
    let store = store(&postgres).await;
    let facade = Facade::start_with(&world, store, |settings| {
        settings.listen.limits.failure_burst = 20;
    })
    .await;
    let wrong = "daap_t_mistyped_and_secret";
    let nobody = facade.shop.with_key(wrong);
    let mut statuses = Vec::new();
    for _ in 0..40 {
        let answer = nobody.get("/tiers").await.unwrap();
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.headers.contains_key("retry-after"));
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses[..20], [401; 20]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(
        facade.shop.get("/tiers").await.unwrap().status,
        StatusCode::OK
    );

    let pool = daap_facade::pool(&facade.store).unwrap();
    let rows = wait::until("the noise being told", SOON, async || {
        let rows: Vec<(String, i32)> = sqlx::query_as(
            "select source, calls from audit where action = 'authenticate' order by id",
        )
        .fetch_all(&pool)
        .await?;
        let calls: i32 = rows.iter().map(|(_, calls)| calls).sum();
        ensure!(calls == 40, "{rows:?}");
        Ok(rows)
    })
    .await
    .unwrap();
    assert!(rows.len() < 40, "{rows:?}");
    assert!(rows.iter().all(|(source, _)| source == "127.0.0.1"));
    let all: String = sqlx::query_scalar("select string_agg(audit::text, ' ') from audit")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(!all.contains("mistyped"), "never the key");
    facade.stop().await;
}

/// A key that asks too often is told to wait, and for how long.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_asks_too_often_is_told_to_wait() {
    let world = World::without_teams("rates").await;
    let postgres = Postgres::start().await.unwrap();
    let store = store(&postgres).await;
    let facade = Facade::start_with(&world, store, |settings| {
        settings.listen.limits.rate_burst = 5;
        settings.listen.limits.rate_per_second = 1;
    })
    .await;
    let first = facade.shop.get("/tiers").await.unwrap();
    assert_eq!(first.headers["ratelimit-policy"], "\"key\";q=5;w=5");
    assert_eq!(first.headers["ratelimit"], "\"key\";r=4;t=1");
    let many = (0..12).map(|_| facade.shop.get("/tiers"));
    let answers = futures::future::join_all(many).await;
    let refused: Vec<_> = answers
        .iter()
        .flatten()
        .filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS)
        .collect();
    assert!(refused.len() >= 5, "{answers:?}");
    for answer in &refused {
        assert_eq!(problem(answer), (429, "rate-limited".to_owned()));
        assert_eq!(answer.headers["retry-after"], "1");
        assert!(
            answer.headers["ratelimit"]
                .to_str()
                .unwrap()
                .starts_with("\"key\";r=0;")
        );
    }
    assert_eq!(
        facade.billing.get("/tiers").await.unwrap().status,
        StatusCode::OK
    );
    let denied: i64 =
        sqlx::query_scalar("select count(*) from audit where status = 429 and outcome = 'denied'")
            .fetch_one(&daap_facade::pool(&facade.store).unwrap())
            .await
            .unwrap();
    assert_eq!(denied as usize, refused.len(), "each refusal is on record");
    facade.stop().await;
}
