//! A POST that is repeated under a key has one effect, and one answer.

use daap_tests::rest::{Answer, RestClient};
use http::{HeaderName, Method, StatusCode};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    Scene, create,
    destruction::{AT, operation},
    problem,
    restore::{Stage, backed_up},
};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

fn id(answer: &Answer) -> &str {
    answer.body["id"].as_str().unwrap()
}

fn replayed(answer: &Answer) -> bool {
    answer.headers.contains_key("idempotency-replayed")
}

async fn count(client: &RestClient) -> usize {
    let list = client.get("/databases").await.unwrap();
    list.body["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_post_has_one_effect() {
    let scene = Scene::with_tier("idempotency", "dev", |_| ()).await;
    let facade = &scene.facade;
    let once = facade.shop.with_header(HEADER, "order-1");
    let asked = json!({"name": "orders", "tier": "dev"});

    let first = create(&once, asked.clone()).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert!(!replayed(&first));
    let again = create(&once, asked.clone()).await;
    assert_eq!((again.status, id(&again)), (first.status, id(&first)));
    assert_eq!(again.headers["location"], first.headers["location"]);
    assert_eq!(again.headers["etag"], first.headers["etag"]);
    assert!(replayed(&again));

    // The same key for something else, and for another team.
    let other = create(&once, json!({"name": "invoices", "tier": "dev"})).await;
    assert_eq!(problem(&other), (422, "idempotency-key-reused".to_owned()));
    let foreign = create(
        &facade.billing.with_header(HEADER, "order-1"),
        asked.clone(),
    )
    .await;
    assert_eq!(foreign.status, StatusCode::CREATED, "{foreign:?}");
    assert!(!replayed(&foreign));
    let no_key = create(
        &facade.shop.with_header(HEADER, "not one key"),
        asked.clone(),
    )
    .await;
    assert_eq!(problem(&no_key).0, 400);

    // What was refused for good is refused again; the names are told the same.
    let refused = facade.shop.with_header(HEADER, "order-2");
    let bad = json!({"name": "more", "tier": "gold"});
    let (one, two) = (
        create(&refused, bad.clone()).await,
        create(&refused, bad).await,
    );
    assert_eq!((problem(&one).0, two.status.as_u16()), (422, 422));
    assert!(replayed(&two));

    // Many at the same moment: one is worked on, the others wait for its answer or are given it.
    let key = facade.shop.with_header(HEADER, "order-3");
    let asked = json!({"name": "parallel", "tier": "dev"});
    let tries = (0..8).map(|_| create(&key, asked.clone()));
    let answers = futures::future::join_all(tries).await;
    let fresh = |answer: &&Answer| answer.status == StatusCode::CREATED && !replayed(answer);
    assert_eq!(answers.iter().filter(fresh).count(), 1, "{answers:?}");
    for answer in &answers {
        match answer.status {
            StatusCode::CREATED => {}
            _ => assert_eq!(problem(answer), (409, "request-running".to_owned())),
        }
    }
    assert_eq!(count(&facade.shop).await, 2);
    scene.stop().await;
}

/// A facade that died after the effect and before the answer: the next try finds what the first one made.
#[tokio::test(flavor = "multi_thread")]
async fn an_effect_without_an_answer_is_found() {
    let scene = Scene::with_tier("found", "dev", |_| ()).await;
    let facade = &scene.facade;
    let once = facade.shop.with_header(HEADER, "order-1");
    let asked = json!({"name": "orders", "tier": "dev"});
    let first = create(&once, asked.clone()).await;
    let pool = daap_facade::pool(&facade.store).unwrap();
    let run = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    };
    run("update idempotency set status = null, headers = null, body = null, attempt = gen_random_uuid(), \
         held_until = clock_timestamp() + interval '1 hour'")
    .await;
    let running = create(&once, asked.clone()).await;
    assert_eq!(problem(&running), (409, "request-running".to_owned()));
    assert!(running.headers.contains_key("retry-after"));
    run("update idempotency set held_until = clock_timestamp() - interval '1 second'").await;
    let found = create(&once, asked.clone()).await;
    assert_eq!(found.status, StatusCode::CREATED, "{found:?}");
    assert_eq!(id(&found), id(&first));

    // Without the key, the name is taken.
    assert_eq!(problem(&create(&facade.shop, asked.clone()).await).0, 409);

    // After a day, the key means nothing any more.
    run("update idempotency set expires_at = clock_timestamp() - interval '1 second'").await;
    assert_eq!(problem(&create(&once, asked).await).1, "name-taken");
    scene.stop().await;
}

/// The same where what the first try asked for has been done meanwhile: nothing is asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_meanwhile_is_found() {
    let stage = Stage::in_scene(Stage::scene("done-meanwhile").await, 1).await;
    let played = &stage.played;
    let facade = &played.scene.facade;
    let pool = daap_facade::pool(&facade.store).unwrap();
    let lose_the_answer = async || {
        let statement = "update idempotency set status = null, headers = null, body = null, \
                         attempt = gen_random_uuid(), held_until = clock_timestamp() - interval '1 second'";
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    };
    let stored = async || played.world().databases().get("orders").await.unwrap();
    let send = async |what: &str| {
        // A key means something for one operation only.
        let once = facade.shop.with_header(HEADER, "order-1");
        let path = format!("{}/{what}", played.path);
        let answer = once.post(&path, &Value::Null).await.unwrap();
        answer.expect(StatusCode::ACCEPTED).unwrap()
    };

    played.report(backed_up("ready")).await;
    let first = send("backups").await;
    lose_the_answer().await;
    let asked = stored().await;
    let mut status = backed_up("ready");
    status["backup"]["carriedOutRequest"] = json!(asked.spec.backup_request);
    played.report(status).await;
    assert_eq!(send("backups").await["name"], first["name"]);
    assert_eq!(stored().await.spec, asked.spec);

    let destroyed = Patch::Merge(json!({"spec": {"state": "Destroyed"}}));
    let databases = played.world().databases();
    let params = PatchParams::default();
    databases
        .patch("orders", &params, &destroyed)
        .await
        .unwrap();
    played.report(backed_up("frozen")).await;
    let first = send("unfreeze").await;
    lose_the_answer().await;
    let asked = stored().await;
    let id = first["operation"]["id"].as_str().unwrap();
    let mut status = backed_up("ready");
    let ended = json!({"result": "Succeeded", "finishedAt": AT});
    status["operation"] = operation(id, "Unfreeze", ended);
    played.report(status).await;
    assert_eq!(send("unfreeze").await["status"], "ready");
    assert_eq!(
        stored().await.metadata.generation,
        asked.metadata.generation
    );
    // Without the key, it is another request, for which it is too late.
    let late = played.shop(Method::POST, "/unfreeze").await;
    assert_eq!(problem(&late), (409, "wrong-state".to_owned()));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_checks_everything_and_changes_nothing() {
    let scene = Scene::with_tier("rehearsal", "dev", |_| ()).await;
    let client = &scene.facade.shop;
    let rehearse = async |body: Value| client.post("/databases?dry_run=true", &body).await.unwrap();
    let asked = json!({"name": "orders", "tier": "dev", "purpose": "Orders"});

    for _ in 0..2 {
        let answer = rehearse(asked.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.body["name"], "orders");
        assert_eq!(answer.body["status"], "provisioning");
    }
    assert_eq!(count(client).await, 0);
    let made = scene.world.databases().list(&Default::default()).await;
    assert!(made.unwrap().items.is_empty());

    assert_eq!(
        create(client, asked.clone()).await.status,
        StatusCode::CREATED
    );
    assert_eq!(problem(&rehearse(asked).await).1, "name-taken");
    let bad = rehearse(json!({"name": "more", "tier": "gold"})).await;
    assert_eq!(problem(&bad).0, 422);
    let another = rehearse(json!({"name": "more", "tier": "dev"})).await;
    assert_eq!(another.status, StatusCode::OK, "{another:?}");
    scene.stop().await;
}
