//! The audit log: every call is in it, and nobody changes it unseen.

use std::time::Duration;

use anyhow::{Result, ensure};
use daap_tests::{cluster::postgres::Postgres, cluster::wait, recording_client::recording_client};
use http::StatusCode;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{Facade, create, key, problem, store};
use crate::world::{SOON, World};

/// A facade without a controller: what these tests ask for needs none.
struct Stage {
    world: World,
    postgres: Postgres,
    facade: Facade,
}

impl Stage {
    async fn start(name: &str) -> Self {
        let world = World::without_teams(name).await;
        let postgres = Postgres::start().await.unwrap();
        let facade = Facade::start(&world, &postgres).await;
        Self {
            world,
            postgres,
            facade,
        }
    }

    fn pool(&self) -> PgPool {
        daap_facade::pool(&self.facade.store).unwrap()
    }

    /// Changes the log behind the facade's back.
    async fn tamper(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&self.pool()).await.unwrap();
    }

    async fn verify(&self) -> Value {
        let answer = self.facade.platform.get("/audit-log/verify").await.unwrap();
        answer.expect(StatusCode::OK).unwrap()
    }

    /// Waits until everything but the row of the question itself is sealed and anchored.
    async fn sealed(&self) -> Value {
        wait::until("the log being sealed", SOON, async || {
            let found = self.verify().await;
            ensure!(found["unsealed_rows"].as_i64() <= Some(1), "{found}");
            let anchored = found["anchored_sequence"].as_i64();
            ensure!(anchored >= Some(5), "{found}");
            Ok(found)
        })
        .await
        .unwrap()
    }

    async fn entries(&self, query: &str) -> Vec<Value> {
        let answer = self
            .facade
            .platform
            .get(&format!("/audit-log?{query}"))
            .await;
        let body = answer.unwrap().expect(StatusCode::OK).unwrap();
        body["items"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_told_with_who_what_and_how_it_ended() {
    let stage = Stage::start("audited").await;
    let facade = &stage.facade;
    let body = json!({"name": "orders", "tier": "none", "purpose": "a secret purpose"});
    assert_eq!(create(&facade.shop, body).await.status, 422);
    assert_eq!(problem(&facade.shop.get("/api-keys").await.unwrap()).0, 403);
    assert_eq!(
        problem(&facade.shop.get("/databases/unknown-id").await.unwrap()).0,
        404
    );
    facade.billing.get("/tiers").await.unwrap();
    facade.billing.get("/health").await.unwrap();

    let shop = stage.entries("team=shop").await;
    let told = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        (
            text("action"),
            text("stage"),
            text("outcome"),
            entry["status"].as_i64(),
        )
    };
    let line = |action: &str, stage: &str, outcome: &str, status| {
        (
            action.to_owned(),
            stage.to_owned(),
            outcome.to_owned(),
            status,
        )
    };
    assert_eq!(
        shop.iter().map(told).collect::<Vec<_>>(),
        [
            line("getDatabase", "outcome", "failed", Some(404)),
            line("listApiKeys", "outcome", "denied", Some(403)),
            line("createDatabase", "outcome", "failed", Some(422)),
            line("createDatabase", "intent", "-", None),
        ]
    );
    assert_eq!(shop[0]["resource_id"], "unknown-id");
    assert_eq!(shop[2]["intent_id"], shop[3]["intent_id"]);
    assert_eq!(
        shop[3]["changed_fields"],
        json!(["name", "purpose", "tier"])
    );
    for entry in &shop {
        assert_eq!(entry["source"], "127.0.0.1");
        assert_eq!(entry["role"], "product-team");
        assert!(entry["key_id"].is_string() && entry["request_id"].is_string());
    }
    assert!(
        !format!("{shop:?}").contains("secret purpose"),
        "names only, never values"
    );

    // A team sees its own rows, whatever it asks for.
    let own = facade.shop.get("/audit-log").await.unwrap().body;
    let teams = own["items"].as_array().unwrap().iter();
    assert!(teams.clone().count() >= 4 && teams.clone().all(|entry| entry["team"] == "shop"));
    let foreign = facade
        .shop
        .get("/audit-log?team=billing")
        .await
        .unwrap()
        .body;
    assert_eq!(foreign, json!({"items": []}));
    assert_eq!(
        problem(&facade.shop.get("/audit-log/verify").await.unwrap()).0,
        403
    );

    // Filters.
    assert_eq!(
        stage
            .entries("team=shop&outcome=denied&action=listApiKeys")
            .await
            .len(),
        1
    );
    assert_eq!(stage.entries("resource_id=unknown-id").await.len(), 1);
    let key_id = shop[0]["key_id"].as_str().unwrap();
    assert!(stage.entries(&format!("key_id={key_id}")).await.len() >= 4);
    assert!(stage.entries("from=2099-01-01T00:00:00Z").await.is_empty());
    assert!(stage.entries("to=2020-01-01T00:00:00Z").await.is_empty());

    // A walk in slices shows each row once, and a cursor belongs to its filters.
    let (mut seen, mut query) = (Vec::new(), "team=shop&limit=3".to_owned());
    loop {
        let body = facade
            .platform
            .get(&format!("/audit-log?{query}"))
            .await
            .unwrap()
            .body;
        seen.extend(
            body["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["id"].as_i64()),
        );
        let Some(cursor) = body["next_cursor"].as_str() else {
            break;
        };
        query = format!("team=shop&limit=3&cursor={cursor}");
    }
    assert!(
        seen.len() >= 7 && seen.is_sorted_by(|one, next| one > next),
        "{seen:?}"
    );
    let elsewhere = query.replace("team=shop", "team=billing");
    assert_eq!(
        problem(
            &facade
                .platform
                .get(&format!("/audit-log?{elsewhere}"))
                .await
                .unwrap()
        )
        .0,
        400
    );
    let Stage { facade, .. } = stage;
    facade.stop().await;
}

/// Each way of changing the sealed log is found, and the row is named. What was changed is put back in between.
#[tokio::test(flavor = "multi_thread")]
async fn tampering_is_found_and_named() {
    let stage = Stage::start("tampering").await;
    for _ in 0..6 {
        stage.facade.shop.get("/tiers").await.unwrap();
    }
    assert_eq!(stage.sealed().await["intact"], true);
    // Nothing is written or sealed between looking and changing.
    let keep = "lock table audit, audit_seal in access exclusive mode; \
                drop table if exists kept, kept_seal; \
                create table kept as table audit; create table kept_seal as table audit_seal; ";
    let sealed: Vec<(i64, i64)> =
        sqlx::query_as("select sequence, audit_id from audit_seal order by sequence")
            .fetch_all(&stage.pool())
            .await
            .unwrap();
    let restore = "delete from audit where id in (select id from kept); insert into audit table kept; \
                   delete from audit_seal where sequence in (select sequence from kept_seal); \
                   insert into audit_seal table kept_seal;";
    let ((place, id), (next_place, next_id)) = (sealed[2], sealed[3]);
    let (_, last_id) = sealed[sealed.len() - 1];
    let cases = [
        (format!("update audit set team = 'billing' where id = {id}"), place, Some(id), "changed"),
        (format!("update audit set at = at - interval '1 second' where id = {id}"), place, Some(id), "changed"),
        (format!("update audit set changed_fields = '{{x}}' where id = {id}"), place, Some(id), "changed"),
        (format!("delete from audit where id = {id}"), place, Some(id), "missing"),
        (format!("delete from audit_seal where sequence = {place}"), place, None, "unsealed"),
        (
            format!("delete from audit where id = {id}; delete from audit_seal where sequence = {place}"),
            place,
            None,
            "unsealed",
        ),
        (
            format!(
                "update audit set id = -{id} where id = {id}; update audit set id = {id} where id = {next_id}; \
                 update audit set id = {next_id} where id = -{id}"
            ),
            place,
            Some(id),
            "changed",
        ),
        (
            format!(
                "update audit_seal set sequence = -1 where sequence = {place}; \
                 update audit_seal set sequence = {place} where sequence = {next_place}; \
                 update audit_seal set sequence = {next_place} where sequence = -1"
            ),
            place,
            None,
            "added",
        ),
        (
            // Only what is sealed: a row that comes back after later ones were sealed was added.
            format!("delete from audit where id >= {last_id} and id <= (select max(audit_id) from audit_seal)"),
            sealed[sealed.len() - 1].0,
            Some(last_id),
            "missing",
        ),
        (
            format!("delete from audit where id >= {id}; delete from audit_seal where sequence >= {place}"),
            place,
            None,
            "cut-off",
        ),
        (
            "update audit_chain set start_sequence = 2, start_digest = (select digest from audit_seal where sequence = 2); \
             delete from audit where id in (select audit_id from audit_seal where sequence <= 2); \
             delete from audit_seal where sequence <= 2"
                .to_owned(),
            1,
            None,
            "missing",
        ),
    ];
    for (sql, place, id, breach) in cases {
        stage.tamper(&format!("{keep}{sql}")).await;
        let found = stage.verify().await;
        assert_eq!(found["intact"], false, "{sql}: {found}");
        let broken = &found["first_broken"];
        assert_eq!(
            (broken["sequence"].as_i64(), broken["breach"].as_str()),
            (Some(place), Some(breach)),
            "{sql}: {found}"
        );
        if let Some(id) = id {
            assert_eq!(broken["id"], id, "{sql}: {found}");
        }
        // Also when time passes and more is written: the chain does not go on from another end.
        stage.facade.shop.get("/tiers").await.unwrap();
        let later = stage.verify().await;
        assert_eq!(
            later["first_broken"], found["first_broken"],
            "{sql}: {later}"
        );
        stage.tamper(restore).await;
        stage
            .tamper("update audit_chain set start_sequence = 0, start_digest = decode(repeat('00', 32), 'hex')")
            .await;
        assert_eq!(stage.verify().await["intact"], true, "put back after {sql}");
    }
    let Stage { facade, .. } = stage;
    facade.stop().await;
}

/// A quiet facade writes neither to the metadata database, but for the heartbeat of the mirror, nor to the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_facade_writes_nothing() {
    let world = World::without_teams("quiet").await;
    let postgres = Postgres::start().await.unwrap();
    let (client, record) = recording_client(world.control_plane.config()).unwrap();
    let world = World { client, ..world };
    let facade = Facade::start(&world, &postgres).await;
    facade.shop.get("/tiers").await.unwrap();
    let anchors: Api<ConfigMap> = Api::namespaced(world.client.clone(), "daap-system");
    let pool = daap_facade::pool(&facade.store).unwrap();
    let written = async || -> i64 {
        sqlx::query_scalar(
            "select sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint from pg_stat_user_tables \
             where relname <> 'mirror'",
        )
        .fetch_one(&pool)
        .await
        .unwrap()
    };
    wait::until("the log being anchored", SOON, async || -> Result<()> {
        let anchor = anchors.get("daap-audit-anchor").await?;
        let (sealed, rows): (i64, i64) = sqlx::query_as(
            "select (select max(sequence) from audit_seal), (select count(*) from audit)",
        )
        .fetch_one(&pool)
        .await?;
        let data = anchor.data.unwrap_or_default();
        ensure!(
            sealed == rows && data["head-sequence"] == rows.to_string(),
            "{data:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
    // The server tells its counts a while later.
    let settled = wait::until("the counts standing still", SOON, async || {
        let before = written().await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        ensure!(before > 0 && written().await == before);
        Ok(before)
    })
    .await
    .unwrap();
    record.clear();
    // Long enough for thirty rounds of sealing and fifteen of upkeep.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(written().await, settled);
    assert_eq!(record.writes(), []);
    facade.stop().await;
}

/// Whole months that are over go, and the rest still is a chain that holds.
#[tokio::test(flavor = "multi_thread")]
async fn months_that_are_over_are_dropped() {
    let stage = Stage::start("months").await;
    for _ in 0..4 {
        stage.facade.shop.get("/tiers").await.unwrap();
    }
    stage.sealed().await;
    let Stage {
        world,
        postgres: _postgres,
        facade,
    } = stage;
    let store = facade.store.clone();
    facade.stop().await;
    // Two years ago, everything that is there happened, but for its last row. Sealed anew, since the times are part of it.
    let pool = daap_facade::pool(&store).unwrap();
    sqlx::raw_sql(
        "create table audit_2020_01 partition of audit for values from ('2020-01-01') to ('2020-02-01'); \
         update audit set at = '2020-01-31 12:00:00+00' where id < (select max(id) from audit); \
         truncate audit_seal;",
    )
    .execute(&pool)
    .await
    .unwrap();
    let anchors: Api<ConfigMap> = Api::namespaced(world.client.clone(), "daap-system");
    anchors
        .delete("daap-audit-anchor", &Default::default())
        .await
        .unwrap();
    let facade = Facade::start_on(&world, store).await;
    wait::until("the month being gone", SOON, async || -> Result<()> {
        let left: i64 = sqlx::query_scalar("select count(*) from audit where at < '2021-01-01'")
            .fetch_one(&pool)
            .await?;
        let table: Option<String> = sqlx::query_scalar("select to_regclass('audit_2020_01')::text")
            .fetch_one(&pool)
            .await?;
        ensure!(left == 0 && table.is_none(), "{left} rows are left");
        Ok(())
    })
    .await
    .unwrap();
    let found = wait::until("the log being sealed", SOON, async || {
        let found = facade
            .platform
            .get("/audit-log/verify")
            .await?
            .expect(StatusCode::OK)?;
        ensure!(found["unsealed_rows"].as_i64() <= Some(1), "{found}");
        Ok(found)
    })
    .await
    .unwrap();
    assert_eq!(found["intact"], true, "{found}");
    facade.stop().await;
}

/// An intent whose process ended gets an outcome, once, whatever the number of replicas.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_change_gets_an_outcome() {
    let world = World::without_teams("interrupted").await;
    let postgres = Postgres::start().await.unwrap();
    let store = store(&postgres).await;
    key(&store, None).await;
    let pool = daap_facade::pool(&store).unwrap();
    sqlx::raw_sql(
        "insert into audit (at, stage, intent, action, resource_kind, source, team) values \
         (now() - interval '6 seconds', 'intent', '00000000-0000-4000-8000-000000000001', 'createDatabase', \
         'database', '::1', 'shop'), \
         (now() + interval '1 hour', 'intent', '00000000-0000-4000-8000-000000000002', 'createDatabase', \
         'database', '::1', 'shop')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let start = async || {
        Facade::start_with(&world, store.clone(), |settings| {
            settings.audit.audit_interrupted_seconds = 5.0;
        })
        .await
    };
    let replicas = [start().await, start().await];
    let outcomes = async || -> Vec<(String, String)> {
        sqlx::query_as(
            "select intent::text, outcome from audit where stage = 'outcome' and team = 'shop' \
             and action = 'createDatabase'",
        )
        .fetch_all(&pool)
        .await
        .unwrap()
    };
    wait::until("the outcome", SOON, async || -> Result<()> {
        ensure!(!outcomes().await.is_empty());
        Ok(())
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let expected = (
        "00000000-0000-4000-8000-000000000001".to_owned(),
        "unknown".to_owned(),
    );
    assert_eq!(outcomes().await, [expected]);
    for facade in replicas {
        facade.stop().await;
    }
}
