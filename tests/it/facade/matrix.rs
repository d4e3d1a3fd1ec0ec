//! Who may do what, and who learns what: every operation of the contract for every kind of caller.
//!
//! The cells are made from the contract and the policy's table, so an operation is in the matrix as soon as it exists.
//! What cannot be made from them is in [`id_of`], [`body_of`] and [`allowed`]; an operation that needs a line there
//! fails with a message that says so.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Result, ensure};
use daap_facade::policy::{self, Rule, Verdict};
use daap_tests::{
    cluster::{postgres::Postgres, wait},
    recording_client::{Record, recording_client},
    rest::{Answer, RestClient},
};
use http::{HeaderName, Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{Bootstrap, Facade, StoreSettings, await_tier, problem, tiers::create_object_store};
use crate::world::{RunningController, SOON, World, without_object_stores};

/// In the names and purposes of the other team's databases, and in no answer to ours.
const CANARY: &str = "canary-7f3a";
const NOBODYS: &str = "5e2b8c1a-93d4-4f6e-8a70-1b2c3d4e5f60";
/// How often a count is tried: what runs beside requests disturbs one now and then, and a difference each time.
const TRIES: usize = 20;

/// An operation of the contract.
struct Operation {
    id: String,
    method: Method,
    path: String,
    parameters: Vec<String>,
    body: Option<Value>,
    /// Its line in the policy. Absent: it needs no key.
    rule: Option<&'static Rule>,
}

fn operations() -> Vec<Operation> {
    let contract: Value = serde_json::from_str(&daap_facade::contract().unwrap()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in contract["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let list = |member: &str| operation[member].as_array().cloned().unwrap_or_default();
            let contents = operation["requestBody"]["content"].as_object();
            operations.push(Operation {
                rule: (!list("security").is_empty()).then(|| policy::rule_of(&id).unwrap()),
                id,
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                parameters: list("parameters")
                    .iter()
                    .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                    .collect(),
                body: contents
                    .and_then(|contents| contents.values().next())
                    .map(|content| content["example"].clone()),
            });
        }
    }
    assert_eq!(
        operations
            .iter()
            .filter(|operation| operation.rule.is_some())
            .count(),
        policy::RULES.len(),
        "every line of the policy is about an operation"
    );
    operations
}

impl Operation {
    /// Whether its path names something that a team owns.
    fn is_about_a_database(&self) -> bool {
        ["/databases/{id}", "/operations/{id}"]
            .iter()
            .any(|path| self.path.starts_with(path))
    }

    fn takes(&self, parameter: &str) -> bool {
        self.parameters.iter().any(|known| known == parameter)
    }
}

/// Whose the thing is that a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Theirs,
    /// There is no such thing.
    Nobodys,
}

/// The status of an answer to who may do it.
fn allowed(operation: &Operation) -> u16 {
    match (operation.id.as_str(), &operation.method) {
        ("deleteTier" | "deleteDatabase" | "destroyDatabase", _) => 202,
        // It has no backup yet, and is neither frozen nor ready.
        ("restoreDatabase" | "unfreezeDatabase" | "createBackup", _) => 409,
        (_, &Method::POST) => 201,
        (_, &Method::DELETE) => 204,
        _ => 200,
    }
}

/// Two teams, of which `shop` is ours.
struct Matrix {
    world: World,
    facade: Facade,
    controller: RunningController,
    record: Record,
    pool: PgPool,
    names: AtomicU32,
    /// Keys that were good once.
    expired: RestClient,
    revoked: RestClient,
    _postgres: Postgres,
}

impl Matrix {
    async fn start() -> Self {
        let world = World::without_teams("matrix").await;
        let postgres = Postgres::start().await.unwrap();
        let controller = world.controller_in(without_object_stores(), |_| ());
        // What examples in the contract refer to.
        create_object_store(&world, "main").await;
        world
            .create_tier_with("dev", |tier| {
                tier["spec"]["backup"] =
                    json!({"schedule": "0 3 * * *", "retention": "7d", "objectStore": "main"});
            })
            .await;
        let store = StoreSettings {
            database_url: Some(postgres.fresh_database().await.unwrap()),
            database_ca: None,
            database_connections: 4,
        };
        let pool = daap_facade::pool(&store).unwrap();
        let (client, record) = recording_client(world.control_plane.config()).unwrap();
        let facade = Facade::start_through(client, store.clone(), |settings| {
            // What it does by itself is not counted.
            settings.audit.audit_seal_seconds = 3600.0;
            settings.audit.audit_upkeep_seconds = 3600.0;
        });
        let facade = Box::pin(facade).await;
        await_tier(&facade.shop, "dev").await;
        sqlx::query("create extension pg_stat_statements")
            .execute(&pool)
            .await
            .unwrap();
        let lapsed = async |name: &str, column: &str| {
            let asked = Bootstrap {
                name: name.to_owned(),
                team: Some("shop".to_owned()),
                force: false,
            };
            let key = daap_facade::bootstrap(daap_facade::pool(&store).unwrap(), &asked);
            let key = key.await.unwrap();
            let statement = format!(
                "update api_key set {column} = now() - interval '1 second' where name = $1"
            );
            let statement = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(name);
            assert_eq!(statement.execute(&pool).await.unwrap().rows_affected(), 1);
            facade.shop.with_key(&key)
        };
        Self {
            expired: lapsed("expired", "expires_at").await,
            revoked: lapsed("revoked", "revoked_at").await,
            world,
            controller,
            record,
            pool,
            names: AtomicU32::new(0),
            facade,
            _postgres: postgres,
        }
    }

    fn fresh(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    async fn database_of(&self, whose: Whose) -> String {
        let (client, name) = match whose {
            Whose::Ours => (&self.facade.shop, "orders"),
            Whose::Theirs => (&self.facade.billing, CANARY),
            Whose::Nobodys => return NOBODYS.to_owned(),
        };
        let asked =
            json!({"name": self.fresh(name), "tier": "dev", "purpose": format!("For the {name}")});
        let created = client.post("/databases", &asked).await.unwrap();
        let created = created.expect(StatusCode::CREATED).unwrap();
        created["id"].as_str().unwrap().to_owned()
    }

    /// The path of a request, and its body.
    async fn request(&self, operation: &Operation, whose: Whose) -> (String, Value) {
        let path = if operation.path.contains('{') {
            let id = self.id_of(operation, whose).await;
            assert_eq!(operation.path.matches('{').count(), 1, "{}", operation.path);
            operation.path.replace("{id}", &id)
        } else {
            operation.path.clone()
        };
        let body = operation.body.as_ref();
        (
            path,
            body.map_or(Value::Null, |example| self.body_of(example, whose)),
        )
    }

    /// What stands for the id in a path.
    async fn id_of(&self, operation: &Operation, whose: Whose) -> String {
        if operation.path.starts_with("/operations/{id}") && whose != Whose::Nobodys {
            let path = format!("/databases/{}", self.database_of(whose).await);
            let deleted = self.facade.platform.delete(&path).await.unwrap();
            return deleted.body["operation"]["id"].as_str().unwrap().to_owned();
        }
        if operation.is_about_a_database() {
            return self.database_of(whose).await;
        }
        if operation.id == "deleteTier" {
            let name = self.fresh("spare");
            self.world.create_tier(&name).await;
            await_tier(&self.facade.shop, &name).await;
            return name;
        }
        if operation.path.starts_with("/tiers/{id}") {
            return "dev".to_owned();
        }
        if operation.path.starts_with("/api-keys/{id}") {
            let id: uuid::Uuid =
                sqlx::query_scalar("select id from api_key where name = 'expired'")
                    .fetch_one(&self.pool)
                    .await
                    .unwrap();
            return id.to_string();
        }
        panic!("say in `Matrix::id_of` what '{}' is about", operation.path)
    }

    /// The example of the contract, about things that exist here.
    fn body_of(&self, example: &Value, whose: Whose) -> Value {
        let mut body = example.clone();
        let fields = body.as_object_mut().unwrap();
        let mut replace = |name: &str, value: &str| {
            if let Some(field) = fields.get_mut(name) {
                *field = json!(value);
            }
        };
        replace("name", &self.fresh("made"));
        replace("tier", "dev");
        let team = if whose == Whose::Theirs {
            "billing"
        } else {
            "shop"
        };
        replace("owner_team", team);
        replace("team", team);
        fields.remove("expires_at");
        body
    }

    async fn ask(&self, client: &RestClient, operation: &Operation, whose: Whose) -> Answer {
        let (path, body) = self.request(operation, whose).await;
        client
            .send(operation.method.clone(), &path, &body)
            .await
            .unwrap()
    }

    /// Every statement that ran so far, and how often.
    async fn statements(&self) -> BTreeMap<String, i64> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select query, sum(calls)::bigint from pg_stat_statements \
             where dbid = (select oid from pg_database where datname = current_database()) \
             and query not like '%pg_stat_statements%' group by query",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.into_iter().collect()
    }

    /// What one request costs: statements, and requests to the cluster.
    async fn cost(
        &self,
        method: &Method,
        path: &str,
        body: &Value,
    ) -> (Vec<(String, i64)>, Vec<String>) {
        let before = self.statements().await;
        self.record.clear();
        self.facade
            .shop
            .send(method.clone(), path, body)
            .await
            .unwrap();
        let sent = self.record.all();
        let after = self.statements().await;
        let more = after.into_iter().filter_map(|(query, calls)| {
            let more = calls - before.get(&query).copied().unwrap_or(0);
            (more > 0).then_some((query, more))
        });
        let cluster = sent.iter().filter(|sent| !sent.path.contains("watch="));
        (
            more.collect(),
            cluster.map(|sent| sent.method.to_string()).collect(),
        )
    }

    async fn stop(self) {
        self.facade.stop().await;
        self.controller.stop().await;
    }
}

/// Everything that an answer tells, but for what differs between any two.
fn told(answer: &Answer) -> (u16, BTreeMap<String, String>, Value) {
    let own = ["date", "x-request-id", "ratelimit", "traceparent"];
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()));
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let mut body = answer.body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("request_id");
    }
    (answer.status.as_u16(), headers, body)
}

/// Nothing of theirs is in an answer to us.
fn check_silence(operation: &Operation, answer: &Answer) {
    let text = format!("{:?} {}", answer.headers, answer.body);
    assert!(
        !text.contains(CANARY),
        "{} tells of the other team: {text}",
        operation.id
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_every_caller_by_the_policy() {
    let matrix = Matrix::start().await;
    let (shop, platform) = (&matrix.facade.shop, &matrix.facade.platform);
    for _ in 0..3 {
        matrix.database_of(Whose::Theirs).await;
    }
    let bad = [
        ("no key", shop.without_key()),
        (
            "a bad key",
            shop.with_key("daap_t_0000000000000000000000000000000000000000000"),
        ),
        ("an expired key", matrix.expired.clone()),
        ("a revoked key", matrix.revoked.clone()),
    ];
    let mut cells = 0;
    for operation in operations() {
        let Some(rule) = operation.rule else {
            let answer = matrix
                .ask(&shop.without_key(), &operation, Whose::Nobodys)
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{} is open", operation.id);
            check_silence(&operation, &answer);
            continue;
        };
        let expected = |verdict: Verdict| match verdict {
            Verdict::Allow => allowed(&operation),
            Verdict::Forbid => 403,
            Verdict::Hide => 404,
        };
        for (caller, client) in &bad {
            // The subject exists: a caller without a key learns as little of it as of one that does not.
            let answer = matrix.ask(client, &operation, Whose::Ours).await;
            assert_eq!(
                problem(&answer),
                (401, "unauthenticated".to_owned()),
                "{} with {caller}",
                operation.id
            );
            check_silence(&operation, &answer);
            cells += 1;
        }
        let mut callers = vec![
            ("ours", shop, Whose::Ours, expected(rule.product_own)),
            (
                "ours, by the platform",
                platform,
                Whose::Ours,
                expected(rule.platform),
            ),
        ];
        if operation.is_about_a_database() || operation.id == "createDatabase" {
            callers.push((
                "theirs",
                shop,
                Whose::Theirs,
                expected(rule.product_foreign),
            ));
            callers.push((
                "theirs, by the platform",
                platform,
                Whose::Theirs,
                expected(rule.platform),
            ));
        }
        for (cell, client, whose, status) in callers {
            let answer = matrix.ask(client, &operation, whose).await;
            assert_eq!(
                answer.status.as_u16(),
                status,
                "{}: {cell}. If that is what it answers to who may do it, add it to `allowed`: {answer:?}",
                operation.id
            );
            if std::ptr::eq(client, shop) {
                check_silence(&operation, &answer);
            }
            cells += 1;
        }
    }
    assert!(cells >= 60, "{cells}");
    matrix.stop().await;
}

/// Everything that is read is read without the cluster, and what is told about the cluster says how old it is.
#[tokio::test(flavor = "multi_thread")]
async fn every_read_is_answered_without_the_cluster() {
    let mut matrix = Matrix::start().await;
    let mut asked = Vec::new();
    let reads = |operation: &Operation| operation.method == Method::GET;
    for operation in operations().into_iter().filter(reads) {
        let (path, _) = matrix.request(&operation, Whose::Ours).await;
        let answer = matrix.facade.platform.get(&path).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", operation.id);
        asked.push((operation, path));
    }
    matrix.world.control_plane.stop_apiserver();
    let platform = &matrix.facade.platform;
    let is_old = |answer: &Answer| answer.headers.contains_key("daap-stale-seconds");
    wait::until("answers being marked old", SOON, async || -> Result<()> {
        ensure!(is_old(&platform.get("/tiers").await?));
        Ok(())
    })
    .await
    .unwrap();
    for (operation, path) in &asked {
        let answer = platform.get(path).await.unwrap();
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{}: {answer:?}",
            operation.id
        );
        let is_of_the_cluster = operation.rule.is_some_and(|rule| {
            use policy::Kind::{Database, Operation, Quota, Tier};
            matches!(rule.resource, Database | Operation | Quota | Tier)
        });
        assert_eq!(
            is_old(&answer),
            is_of_the_cluster,
            "{}: {answer:?}",
            operation.id
        );
        if operation.id == "verifyAuditLog" {
            assert_eq!(answer.body["anchor"], "unreachable");
        }
    }
}

/// The id of another team's database is answered like one that never was, and costs the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_theirs_does_not_exist() {
    let matrix = Matrix::start().await;
    let mut seen = 0;
    for operation in operations()
        .iter()
        .filter(|operation| operation.is_about_a_database())
    {
        let (theirs, body) = matrix.request(operation, Whose::Theirs).await;
        let (nobodys, _) = matrix.request(operation, Whose::Nobodys).await;
        let send = async |path: &str| {
            matrix
                .facade
                .shop
                .send(operation.method.clone(), path, &body)
                .await
                .unwrap()
        };
        let (foreign, unknown) = (send(&theirs).await, send(&nobodys).await);
        check_silence(operation, &foreign);
        assert_eq!(told(&foreign), told(&unknown), "{}", operation.id);

        let mut costs = Vec::new();
        for _ in 0..TRIES {
            let foreign = matrix.cost(&operation.method, &theirs, &body).await;
            let unknown = matrix.cost(&operation.method, &nobodys, &body).await;
            assert!(!foreign.0.is_empty(), "no statement was counted");
            costs = vec![foreign, unknown];
            if costs[0] == costs[1] {
                break;
            }
        }
        assert_eq!(
            costs[0], costs[1],
            "{} costs more or less than an unknown id",
            operation.id
        );
        seen += 1;
    }
    assert!(seen > 0);
    matrix.stop().await;
}

/// Filters, cursors and idempotency keys of another team find nothing of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_theirs_is_found_by_other_ways() {
    let matrix = Matrix::start().await;
    let (shop, billing, platform) = (
        &matrix.facade.shop,
        &matrix.facade.billing,
        &matrix.facade.platform,
    );
    for _ in 0..3 {
        matrix.database_of(Whose::Theirs).await;
    }
    let is_open = |operation: &&Operation| {
        operation
            .rule
            .is_some_and(|rule| rule.product_own == Verdict::Allow)
    };
    let operations = operations();
    let mut cursors = 0;
    for operation in operations
        .iter()
        .filter(is_open)
        .filter(|operation| operation.method == Method::GET)
    {
        let (path, _) = matrix.request(operation, Whose::Ours).await;
        for (parameter, value) in [
            ("owner_team", "billing"),
            ("team", "billing"),
            ("q", CANARY),
        ] {
            if operation.takes(parameter) {
                let found = shop
                    .get(&format!("{path}?{parameter}={value}"))
                    .await
                    .unwrap();
                check_silence(operation, &found);
                assert!(
                    found.body["items"].as_array().is_none_or(Vec::is_empty),
                    "{found:?}"
                );
            }
        }
        if !operation.takes("cursor") {
            continue;
        }
        for theirs in [billing, platform] {
            let slice = theirs
                .get(&format!("{}?limit=1", operation.path))
                .await
                .unwrap();
            let Some(cursor) = slice.body["next_cursor"].as_str() else {
                continue;
            };
            let found = shop
                .get(&format!("{path}?limit=1&cursor={cursor}"))
                .await
                .unwrap();
            check_silence(operation, &found);
            assert_eq!(
                problem(&found),
                (400, "invalid-parameter".to_owned()),
                "{}",
                operation.id
            );
            cursors += 1;
        }
    }
    assert!(cursors >= 2, "{cursors}");

    let name = HeaderName::from_static("idempotency-key");
    for operation in operations
        .iter()
        .filter(is_open)
        .filter(|operation| operation.takes("Idempotency-Key"))
    {
        let key = matrix.fresh(&operation.id);
        let (path, body) = matrix.request(operation, Whose::Ours).await;
        let (mut their_path, mut theirs) = (path.clone(), body.clone());
        if operation.is_about_a_database() {
            their_path = matrix.request(operation, Whose::Theirs).await.0;
        } else {
            theirs["name"] = json!(matrix.fresh(CANARY));
            theirs["owner_team"] = json!("billing");
        }
        let first = billing
            .with_header(name.clone(), &key)
            .post(&their_path, &theirs)
            .await
            .unwrap();
        assert_eq!(first.status.as_u16(), allowed(operation), "{first:?}");
        let second = shop
            .with_header(name.clone(), &key)
            .post(&path, &body)
            .await
            .unwrap();
        check_silence(operation, &second);
        assert_eq!(second.status.as_u16(), allowed(operation), "{second:?}");
        assert!(
            !second.headers.contains_key("idempotency-replayed"),
            "{second:?}"
        );
    }
    matrix.stop().await;
}
