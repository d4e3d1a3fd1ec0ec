//! The record of the cluster in PostgreSQL: whoever changes a database and whichever replica answers, what is answered
//! is what the cluster holds, or says how old it is.

use anyhow::{Result, ensure};
use daap_crds::DaapQuota;
use daap_tests::{cluster::wait, scripted_cnpg::ScriptedCnpg};
use http::{Method, StatusCode, header};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{
    Facade, Scene, await_tier, create,
    destruction::{AT, Played, operation},
    problem,
    restore::{Stage, backed_up},
};
use crate::world::{SOON, World};

impl Facade {
    /// Waits until a condition holds for the answer to a GET.
    pub async fn await_answer(
        &self,
        path: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        wait::until(what, SOON, async || -> Result<Value> {
            let body = self.platform.get(path).await?.expect(StatusCode::OK)?;
            ensure!(holds(&body), "{body}");
            Ok(body)
        })
        .await
        .unwrap()
    }

    async fn names(&self, query: &str) -> Vec<String> {
        let answer = self.platform.get(&format!("/databases{query}")).await;
        let body = answer.unwrap().expect(StatusCode::OK).unwrap();
        let items = body["items"].as_array().unwrap().iter();
        items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Removes a resource as nobody should: without letting the controller finish.
async fn tear_out(world: &World, name: &str) {
    let databases = world.databases();
    let unbind = json!({"metadata": {"finalizers": null}});
    databases
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    let patched = databases
        .patch(name, &PatchParams::default(), &Patch::Merge(&unbind))
        .await;
    if let Err(error) = patched {
        assert!(matches!(error, kube::Error::Api(status) if status.is_not_found()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_tell_one_story() {
    let scene = Scene::with_tier("mirror", "dev", |_| ()).await;
    let _cnpg = ScriptedCnpg::healthy(&scene.world.client);
    let (world, first) = (&scene.world, &scene.facade);
    let second = Facade::start_on(world, first.store.clone()).await;
    await_tier(&second.shop, "dev").await;

    // What one replica did, the other one knows at once.
    let answer = create(&first.shop, json!({"name": "orders", "tier": "dev"})).await;
    let id = answer.expect(StatusCode::CREATED).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/databases/{id}");
    let seen = second.shop.get(&path).await.unwrap();
    assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
    assert!(!seen.headers.contains_key("daap-stale-seconds"));

    // What is changed with kubectl is told, with who the API server says it was.
    first
        .await_answer(&path, "the database being ready", |body| {
            body["status"] == "ready"
        })
        .await;
    let purpose = json!({"spec": {"purpose": "Orders\u{0} of the shop"}});
    let by_kubectl = PatchParams {
        field_manager: Some("kubectl-edit".to_owned()),
        ..PatchParams::default()
    };
    let databases = world.databases();
    databases
        .patch("orders", &by_kubectl, &Patch::Merge(&purpose))
        .await
        .unwrap();
    let history = second
        .await_answer(
            &format!("{path}/history"),
            "the change being told",
            |body| {
                body["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|change| change["change"] == "purpose")
            },
        )
        .await;
    let told: Vec<_> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            [
                text(&change["change"]),
                text(&change["author"]["manager"]),
                text(&change["author"]["team"]),
            ]
        })
        .collect();
    let has = |wanted: [&str; 3]| told.iter().any(|change| *change == wanted);
    assert!(has(["created", "daap-facade", "shop"]), "{told:?}");
    assert!(has(["purpose", "kubectl-edit", "-"]), "{told:?}");
    assert!(has(["tier_revision", "daap-controller", "-"]), "{told:?}");
    assert_eq!(
        told.iter().filter(|change| change[0] == "created").count(),
        1,
        "told once, whoever saw it: {told:?}"
    );

    // History, too, belongs to its owner alone.
    let foreign = first.billing.get(&format!("{path}/history")).await.unwrap();
    let unknown = "/databases/00000000-0000-4000-8000-000000000000/history";
    let unknown = first.billing.get(unknown).await.unwrap();
    assert_eq!(problem(&foreign), problem(&unknown));

    // The replica that mirrors ends; the other one goes on, and learns what was made and lost meanwhile.
    let Scene {
        world,
        facade,
        controller,
        postgres: _postgres,
    } = scene;
    facade.stop().await;
    world.create_database("invoices", "dev").await;
    tear_out(&world, "orders").await;
    let gone = second
        .await_answer(&path, "the database being told gone", |body| {
            body["status"] == "deleted"
        })
        .await;
    assert!(gone["deleted_at"].is_string(), "{gone}");
    assert_eq!(gone["connection"], Value::Null);
    second
        .await_answer("/databases", "the new one being listed", |body| {
            body["items"][0]["name"] == "invoices"
        })
        .await;
    assert_eq!(second.names("").await, ["invoices"]);
    assert_eq!(second.names("?status=deleted").await, ["orders"]);

    // With nobody running, what is torn out is noticed at the next start.
    let store = second.store.clone();
    second.stop().await;
    tear_out(&world, "invoices").await;
    let third = Facade::start_on(&world, store).await;
    third
        .await_answer(
            "/databases?status=deleted",
            "both being told gone",
            |body| body["items"].as_array().unwrap().len() == 2,
        )
        .await;
    third.stop().await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_walked() {
    let scene = Scene::with_tier("lists", "dev", |_| ()).await;
    let facade = &scene.facade;
    for (name, purpose) in [
        ("orders", "Everything about ORDERS"),
        ("invoices", "Money"),
        ("order-archive", "100% old"),
    ] {
        let asked = json!({"name": name, "tier": "dev", "purpose": purpose});
        let made = create(&facade.shop, asked).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    }
    let asked = json!({"name": "bills", "tier": "dev"});
    create(&facade.billing, asked).await;
    let sorted = async |query: &str| {
        let mut names = facade.names(query).await;
        names.sort();
        names
    };
    assert_eq!(sorted("?q=oRDER").await, ["order-archive", "orders"]);
    assert_eq!(sorted("?q=100%25").await, ["order-archive"]);
    assert_eq!(sorted("?owner_team=billing").await, ["bills"]);
    assert_eq!(sorted("?tier=gold").await, [""; 0]);
    assert_eq!(
        sorted("?created_before=2020-01-01T00:00:00Z").await,
        [""; 0]
    );
    assert_eq!(sorted("?created_from=2020-01-01T00:00:00Z").await.len(), 4);
    for bad in ["q=", "created_from=yesterday", "status=gone"] {
        let answer = facade.shop.get(&format!("/databases?{bad}")).await.unwrap();
        assert_eq!(problem(&answer).0, 400, "{bad}");
    }

    // A walk in steps of one shows each once, and a cursor belongs to its filters and its team.
    let mut seen = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let answer = facade
            .shop
            .get(&format!("/databases{query}"))
            .await
            .unwrap();
        let body = answer.expect(StatusCode::OK).unwrap();
        seen.push(body["items"][0]["name"].as_str().unwrap().to_owned());
        let Some(cursor) = body["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=1&cursor={cursor}");
        let foreign = facade.billing.get(&format!("/databases{query}")).await;
        assert_eq!(problem(&foreign.unwrap()).0, 400);
    }
    seen.sort();
    assert_eq!(seen, ["invoices", "order-archive", "orders"]);
    scene.stop().await;
}

/// Lets nothing be mirrored any more, as when the metadata database belonged to another cluster, and waits until that
/// is so.
async fn stop_mirroring(pool: &PgPool) {
    for statement in [
        "update mirror set cluster = gen_random_uuid()",
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'",
    ] {
        sqlx::raw_sql(statement).execute(pool).await.unwrap();
    }
    let age = "select extract(epoch from clock_timestamp() - heard_at) > 8 from mirror";
    wait::until("the mirror standing still", SOON, async || -> Result<()> {
        let old: bool = sqlx::query_scalar(age).fetch_one(pool).await?;
        ensure!(old, "still heard");
        Ok(())
    })
    .await
    .unwrap();
}

/// Quotas are read from the record, too: what the cluster has, and what this client did before anything else.
#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_told_as_the_cluster_has_them() {
    const PATH: &str = "/tiers/dev/quota";
    let scene = Scene::with_tier("mirror-quotas", "dev", |_| ()).await;
    let Scene {
        world,
        facade: first,
        controller,
        postgres: _postgres,
    } = scene;
    let second = Facade::start_on(&world, first.store.clone()).await;
    let counted = |body: &Value| body["allocated"]["max_databases"] == 0;
    second
        .await_answer(PATH, "the quota being counted", counted)
        .await;
    let pool = daap_facade::pool(&first.store).unwrap();

    // With kubectl: changed, and removed, after which the controller makes one without limits.
    let quotas: Api<DaapQuota> = Api::all(world.client.clone());
    let limit = async |databases: i64| {
        let limit = Patch::Merge(json!({"spec": {"databases": databases}}));
        let patched = quotas.patch("dev", &PatchParams::default(), &limit).await;
        patched.unwrap();
    };
    limit(7).await;
    let changed = |body: &Value| body["additional_databases"] == 7;
    second
        .await_answer(PATH, "the change being told", changed)
        .await;
    quotas.delete("dev", &Default::default()).await.unwrap();
    let unlimited = |body: &Value| counted(body) && body["limits"] == json!({});
    second
        .await_answer(PATH, "the limits being gone", unlimited)
        .await;

    // A record that is wrong is built anew.
    let wrong = "update resource_record set resource = jsonb_set(resource, '{spec,databases}', '99') \
                 where kind = 'DaapQuota'";
    sqlx::raw_sql(wrong).execute(&pool).await.unwrap();
    assert_eq!(
        second.platform.get(PATH).await.unwrap().body["limits"]["max_databases"],
        99
    );
    daap_facade::rebuild(pool.clone()).await.unwrap();
    second
        .await_answer(PATH, "the limits being right again", unlimited)
        .await;

    // The other replica goes on, and one that starts learns what went while nobody ran.
    let store = first.store.clone();
    first.stop().await;
    limit(5).await;
    let changed = |body: &Value| body["limits"]["max_databases"] == 5;
    second
        .await_answer(PATH, "the other replica telling a change", changed)
        .await;
    second.stop().await;
    controller.stop().await;
    quotas.delete("dev", &Default::default()).await.unwrap();
    let third = Facade::start_on(&world, store).await;
    let gone = |body: &Value| body["allocated"] == Value::Null;
    third.await_answer(PATH, "the quota being gone", gone).await;
    third.stop().await;
}

/// Whoever changed something finds it changed at once, on every replica, also while nothing is mirrored.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_did_does_not_wait_for_the_mirror() {
    const PATH: &str = "/tiers/dev/quota";
    let scene = Scene::with_tier("write-through", "dev", |_| ()).await;
    let (world, first) = (&scene.world, &scene.facade);
    let second = Facade::start_on(world, first.store.clone()).await;
    let pool = daap_facade::pool(&first.store).unwrap();
    stop_mirroring(&pool).await;
    let quota = async || second.shop.get(PATH).await.unwrap();

    let limits = json!({"max_databases": 1});
    let set = first
        .platform
        .send(Method::PUT, PATH, &limits)
        .await
        .unwrap();
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
    let told = quota().await;
    assert_eq!(told.headers[header::ETAG], set.headers[header::ETAG]);
    assert_eq!(told.body, set.body);
    assert_eq!(told.body["additional_databases"], 1);

    let created = create(&first.shop, json!({"name": "orders", "tier": "dev"})).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let told = quota().await.body;
    assert_eq!(told["allocated"]["max_databases"], 1, "{told}");
    assert_eq!(told["additional_databases"], 0, "{told}");
    let path = format!("/databases/{}", created.body["id"].as_str().unwrap());
    let seen = second.shop.get(&path).await.unwrap();
    assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
    let change = json!({"purpose": "Orders"});
    let changed = first.shop.patch(&path, &change).await.unwrap();
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    let seen = second.shop.get(&path).await.unwrap().body;
    assert_eq!(seen["purpose"], "Orders");

    // Who is refused finds the numbers of the refusal, here of a limit that was lowered with kubectl.
    let quotas: Api<DaapQuota> = Api::all(world.client.clone());
    let none = Patch::Merge(json!({"spec": {"databases": 0}}));
    let patched = quotas.patch("dev", &PatchParams::default(), &none).await;
    patched.unwrap();
    let refused = create(&first.shop, json!({"name": "more", "tier": "dev"})).await;
    assert_eq!(problem(&refused), (422, "quota-exceeded".to_owned()));
    assert_eq!(quota().await.body["limits"], json!({"max_databases": 0}));

    let change = json!({"description": "Changed."});
    let changed = first.platform.patch("/tiers/dev", &change).await.unwrap();
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    let seen = second.shop.get("/tiers/dev").await.unwrap().body;
    assert_eq!(seen["description"], "Changed.");
    second.stop().await;
    scene.stop().await;
}

/// The record is of the cluster, so it can be had again: by command, and after its tables were lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_can_be_built_anew() {
    let scene = Scene::with_tier("rebuild", "dev", |_| ()).await;
    let facade = &scene.facade;
    create(&facade.shop, json!({"name": "orders", "tier": "dev"})).await;
    let pool = daap_facade::pool(&facade.store).unwrap();
    let run = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    };

    // What the cluster says of its creation may still be on its way, and set the record right.
    wait::until("a record that is wrong", SOON, async || {
        run(
            "update database_record set owner_team = 'billing', status = 'frozen', \
             resource = jsonb_set(resource, '{spec,ownerTeam}', '\"billing\"')",
        )
        .await;
        let found = facade.names("?owner_team=billing").await;
        ensure!(found == ["orders"], "{found:?}");
        Ok(())
    })
    .await
    .unwrap();
    daap_facade::rebuild(pool.clone()).await.unwrap();
    assert_eq!(facade.names("?owner_team=shop").await, ["orders"]);

    // Another cluster under the same metadata database would make every record look gone.
    stop_mirroring(&pool).await;
    assert_eq!(facade.names("").await, ["orders"]);
    daap_facade::rebuild(pool.clone()).await.unwrap();

    run("drop schema public cascade; create schema public").await;
    let platform = facade.platform.clone();
    let found = wait::until(
        "the record being there again",
        SOON,
        async || -> Result<()> {
            let platform = platform.with_key(&super::key(&facade.store, None).await);
            let body = platform.get("/databases").await?.expect(StatusCode::OK)?;
            ensure!(body["items"][0]["name"] == "orders", "{body}");
            Ok(())
        },
    );
    found.await.unwrap();
    scene.stop().await;
}

const OPERATION: &str = "0c0e7c1e-2d1f-4d0a-9c6e-0a6f1c2d3e4f";

/// The paths of everything in the contract that tells what is in the cluster: of this database, its tier, and an operation.
fn reads(database: &str) -> Vec<String> {
    let contract: Value = serde_json::from_str(&daap_facade::contract().unwrap()).unwrap();
    let paths = contract["paths"].as_object().unwrap();
    let reads = paths.iter().filter(|(_, item)| item["get"].is_object());
    let reads: Vec<_> = reads
        .filter_map(|(path, _)| match path.split('/').nth(1)? {
            "databases" => Some(path.replace("/databases/{id}", database)),
            "operations" => Some(path.replace("{id}", OPERATION)),
            "tiers" => Some(path.replace("{id}", "dev")),
            _ => None,
        })
        .collect();
    assert!(reads.len() >= 9, "{reads:?}");
    reads
}

/// Without the Kubernetes API, reads are answered and say how old they are; changes are not. When it is back, so is
/// everything.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_cluster_reads_are_answered() {
    let played = Played::in_scene(Stage::scene("outage").await).await;
    let mut status = backed_up("ready");
    let ended = json!({"result": "Succeeded", "finishedAt": AT});
    status["operation"] = operation(OPERATION, "Unfreeze", ended);
    played.report(status).await;
    let known = format!("/operations/{OPERATION}");
    let facade = &played.scene.facade;
    facade
        .await_answer(&known, "the operation being known", |_| true)
        .await;
    let Played { mut scene, path } = played;
    scene.world.control_plane.stop_apiserver();
    let facade = &scene.facade;
    wait::until("answers being marked old", SOON, async || -> Result<()> {
        let answer = facade.shop.get("/databases").await?;
        ensure!(
            answer.headers.contains_key("daap-stale-seconds"),
            "{answer:?}"
        );
        ensure!(answer.body["items"][0]["name"] == "orders", "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
    for read in reads(&path) {
        let answer = facade.shop.get(&read).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{read}: {answer:?}");
        let stale = answer.headers.get("daap-stale-seconds");
        let stale: u64 = stale.expect(&read).to_str().unwrap().parse().unwrap();
        assert!(stale >= 15, "{read}: {stale}");
    }
    let refused = create(&facade.shop, json!({"name": "more", "tier": "dev"})).await;
    assert_eq!(problem(&refused).0, 503);
    let ready = facade.shop.get("/ready").await.unwrap();
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.body["status"], "degraded");

    // The watches broke off. What changed meanwhile is found by listing anew.
    scene.world.control_plane.start_apiserver().await.unwrap();
    let by_kubectl = Patch::Merge(json!({"spec": {"purpose": "Changed meanwhile"}}));
    wait::until("the cluster answering", SOON, async || {
        let databases = scene.world.databases();
        let params = PatchParams::default();
        Ok(databases.patch("orders", &params, &by_kubectl).await?)
    })
    .await
    .unwrap();
    wait::until(
        "the record following again",
        SOON,
        async || -> Result<()> {
            let answer = scene.facade.shop.get("/databases").await?;
            ensure!(
                !answer.headers.contains_key("daap-stale-seconds"),
                "{answer:?}"
            );
            ensure!(
                answer.body["items"][0]["purpose"] == "Changed meanwhile",
                "{answer:?}"
            );
            Ok(())
        },
    )
    .await
    .unwrap();
    scene.stop().await;
}
