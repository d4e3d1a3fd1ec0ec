//! The record of the cluster in PostgreSQL: whoever changes a database and whichever replica answers, what is answered
//! is what the cluster holds, or says how old it is.

use anyhow::{Result, ensure};
use daap_tests::{cluster::wait, scripted_cnpg::ScriptedCnpg};
use http::StatusCode;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Facade, Scene, await_tier, create, problem};
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

    run(
        "update database_record set owner_team = 'billing', status = 'frozen', \
         resource = jsonb_set(resource, '{spec,ownerTeam}', '\"billing\"')",
    )
    .await;
    assert_eq!(facade.names("?owner_team=billing").await, ["orders"]);
    daap_facade::rebuild(pool.clone()).await.unwrap();
    assert_eq!(facade.names("?owner_team=shop").await, ["orders"]);

    // Another cluster under the same metadata database would make every record look gone.
    run("update mirror set cluster = gen_random_uuid()").await;
    run("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'").await;
    let age = "select extract(epoch from clock_timestamp() - heard_at) > 8 from mirror";
    wait::until("the mirror standing still", SOON, async || -> Result<()> {
        let old: bool = sqlx::query_scalar(age).fetch_one(&pool).await?;
        ensure!(old, "still heard");
        Ok(())
    })
    .await
    .unwrap();
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

/// Without the Kubernetes API, reads are answered and say how old they are; changes are not.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_cluster_reads_are_answered() {
    let mut scene = Scene::with_tier("outage", "dev", |_| ()).await;
    let answer = create(&scene.facade.shop, json!({"name": "orders", "tier": "dev"})).await;
    assert_eq!(answer.status, StatusCode::CREATED);
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
    let refused = create(&facade.shop, json!({"name": "more", "tier": "dev"})).await;
    assert_eq!(problem(&refused).0, 503);
    let ready = facade.shop.get("/ready").await.unwrap();
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.body["status"], "degraded");
}
