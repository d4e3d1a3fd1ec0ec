//! The facade against the real API server and a real PostgreSQL, over TLS, with the controller running beside it.
//! CloudNativePG's part is scripted: no tenant PostgreSQL runs.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use daap_facade::{
    Bootstrap,
    settings::{AuditSettings, ListenSettings, ServiceSettings, StoreSettings},
};
use daap_tests::{
    cluster::{certificates::Authority, postgres::Postgres, scratch::Scratch, wait},
    rest::{Answer, RestClient},
    scripted_cnpg::ScriptedCnpg,
};
use http::{Method, StatusCode};
use kube::Client;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{RunningController, SOON, World, without_object_stores};

mod audit;
mod backups;
mod changes;
mod destruction;
mod faults;
mod idempotency;
mod keys;
mod matrix;
mod mirror;
mod operations;
mod restore;
mod tiers;

/// A facade that serves, and a client for each kind of caller.
pub struct Facade {
    url: String,
    pub platform: RestClient,
    pub shop: RestClient,
    billing: RestClient,
    store: StoreSettings,
    shutdown: CancellationToken,
    running: daap_facade::Running,
    certificates: Scratch,
}

impl Facade {
    async fn start(world: &World, postgres: &Postgres) -> Self {
        Self::start_on(world, store(postgres).await).await
    }

    /// One more replica on a metadata database.
    async fn start_on(world: &World, store: StoreSettings) -> Self {
        Box::pin(Self::start_with(world, store, |_| ())).await
    }

    /// The same, with other settings.
    async fn start_with(
        world: &World,
        store: StoreSettings,
        change: impl FnOnce(&mut ServiceSettings),
    ) -> Self {
        Box::pin(Self::start_through(world.client.clone(), store, change)).await
    }

    /// The same, which reaches the cluster by this client.
    pub async fn start_through(
        client: Client,
        store: StoreSettings,
        change: impl FnOnce(&mut ServiceSettings),
    ) -> Self {
        let certificates = Scratch::new("facade").unwrap();
        let authority = Authority::new("test").unwrap();
        let server = authority
            .server("daap-facade", &["127.0.0.1".to_owned()])
            .unwrap();
        let (certificate, private_key) = (
            certificates.path().join("crt"),
            certificates.path().join("key"),
        );
        fs::write(&certificate, server.certificate).unwrap();
        fs::write(&private_key, server.private_key).unwrap();
        fs::write(certificates.path().join("ca"), authority.certificate()).unwrap();
        let listen = ListenSettings {
            tls_cert: Some(certificate),
            tls_key: Some(private_key),
            ..ListenSettings::default()
        };
        let mut settings = ServiceSettings {
            listen,
            audit: soon(),
            ..ServiceSettings::default()
        };
        change(&mut settings);
        let shutdown = CancellationToken::new();
        let pool = daap_facade::pool(&store).unwrap();
        let start = Box::pin(daap_facade::start(
            &settings,
            client,
            pool,
            shutdown.clone(),
        ));
        let running = start.await.unwrap();
        let url = format!("https://{}", running.address());
        let client = |key: &str| RestClient::new(&url, authority.certificate(), key).unwrap();
        let platform = client(&key(&store, None).await);
        wait::until("the facade being ready", SOON, async || {
            platform.get("/ready").await?.expect(StatusCode::OK)
        })
        .await
        .unwrap();
        Self {
            platform,
            shop: client(&key(&store, Some("shop")).await),
            billing: client(&key(&store, Some("billing")).await),
            store,
            shutdown,
            running,
            certificates,
            url,
        }
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file with the authority that signed its certificate.
    pub fn authority(&self) -> PathBuf {
        self.certificates.path().join("ca")
    }

    /// A client with a key.
    pub fn client(&self, key: &str) -> RestClient {
        self.platform.with_key(key)
    }

    /// A new key: a platform key, or a team's.
    pub async fn key_of(&self, team: Option<&str>) -> String {
        key(&self.store, team).await
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.running.ended().await.unwrap();
    }

    /// Rows of the audit log, newest first: action, stage, team and status.
    async fn audit(&self) -> Vec<(String, String, String, Option<i32>)> {
        let pool = daap_facade::pool(&self.store).unwrap();
        sqlx::query_as(
            "select action, stage, coalesce(team, ''), status from audit order by id desc",
        )
        .fetch_all(&pool)
        .await
        .unwrap()
    }
}

/// A fresh metadata database.
pub async fn store(postgres: &Postgres) -> StoreSettings {
    StoreSettings {
        database_url: Some(postgres.fresh_database().await.unwrap()),
        database_ca: None,
        database_connections: 8,
    }
}

/// An audit log that is looked after all the time.
fn soon() -> AuditSettings {
    AuditSettings {
        audit_seal_seconds: 0.1,
        audit_upkeep_seconds: 0.2,
        ..AuditSettings::default()
    }
}

async fn key(store: &StoreSettings, team: Option<&str>) -> String {
    let asked = Bootstrap {
        name: "test".to_owned(),
        team: team.map(str::to_owned),
        force: true,
    };
    let pool = daap_facade::pool(store).unwrap();
    let made = Box::pin(daap_facade::bootstrap(pool, &asked));
    made.await.unwrap()
}

/// A facade beside a controller, on an API server and a PostgreSQL of their own.
pub struct Scene {
    world: World,
    postgres: Postgres,
    controller: RunningController,
    /// The facade.
    pub facade: Facade,
}

impl Scene {
    /// With one tier that is offered, the plain one changed by `change`.
    pub async fn with_tier(name: &str, tier: &str, change: impl FnOnce(&mut Value)) -> Self {
        Self::with(name, tier, change, |_| ()).await
    }

    /// Where a key may send as many requests as it likes.
    pub async fn without_rate_limits(name: &str, tier: &str) -> Self {
        Self::with(
            name,
            tier,
            |_| (),
            |settings| {
                settings.listen.limits.rate_burst = 1_000_000;
                settings.listen.limits.rate_per_second = 100_000;
                settings.listen.limits.failure_burst = 1_000_000;
            },
        )
        .await
    }

    async fn with(
        name: &str,
        tier: &str,
        change: impl FnOnce(&mut Value),
        settings: impl FnOnce(&mut ServiceSettings),
    ) -> Self {
        let world = World::without_teams(name).await;
        Self::in_world_with(world, tier, change, settings).await
    }

    /// In a world that has something already.
    pub async fn in_world(world: World, tier: &str, change: impl FnOnce(&mut Value)) -> Self {
        Self::in_world_with(world, tier, change, |_| ()).await
    }

    async fn in_world_with(
        world: World,
        tier: &str,
        change: impl FnOnce(&mut Value),
        settings: impl FnOnce(&mut ServiceSettings),
    ) -> Self {
        let postgres = Postgres::start().await.unwrap();
        let controller = world.controller_in(without_object_stores(), |_| ());
        world.create_tier_with(tier, change).await;
        let store = store(&postgres).await;
        let facade = Box::pin(Facade::start_with(&world, store, settings)).await;
        await_tier(&facade.shop, tier).await;
        Self {
            world,
            postgres,
            controller,
            facade,
        }
    }

    /// Asks both programs to end, and waits until they have.
    pub async fn stop(self) {
        self.facade.stop().await;
        self.controller.stop().await;
    }
}

/// A problem answer: its status and code, checked to be what RFC 9457 says.
fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(
        answer.headers["content-type"], "application/problem+json",
        "{answer:?}"
    );
    let code = answer.body["code"].as_str().unwrap().to_owned();
    assert_eq!(answer.body["type"], format!("/problems/{code}"));
    assert_eq!(answer.body["status"], answer.status.as_u16());
    let request_id = answer.headers["x-request-id"].to_str().unwrap();
    assert_eq!(answer.body["request_id"], request_id);
    (answer.status.as_u16(), code)
}

async fn create(client: &RestClient, body: Value) -> Answer {
    client.post("/databases", &body).await.unwrap()
}

/// Waits until the facade offers a tier, and the controller has accepted it.
async fn await_tier(client: &RestClient, tier: &str) {
    wait::until("the tier being offered", SOON, async || -> Result<()> {
        let answer = client.get(&format!("/tiers/{tier}")).await?;
        ensure!(answer.status == StatusCode::OK, "{answer:?}");
        ensure!(answer.body["available"] == true, "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_over_rest() {
    let scene = Scene::with_tier("facade", "dev", |_| ()).await;
    let _cnpg = ScriptedCnpg::healthy(&scene.world.client);
    let facade = &scene.facade;

    let asked = json!({"name": "orders", "tier": "dev", "purpose": "Orders of the shop"});
    let answer = create(&facade.shop, asked.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let id = answer.body["id"].as_str().unwrap().to_owned();
    let path = format!("/databases/{id}");
    assert_eq!(answer.headers["location"], path.as_str());
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.body["status"], "provisioning");
    assert_eq!(answer.body["connection"], Value::Null);

    let ready = wait::until("the database being ready", SOON, async || {
        let body = facade.shop.get(&path).await?.expect(StatusCode::OK)?;
        ensure!(body["status"] == "ready", "{body}");
        Ok(body)
    })
    .await
    .unwrap();
    assert_eq!(ready["connection"]["host"], "orders-rw.daap-team-shop.svc");
    assert_eq!(ready["connection"]["secret"]["name"], "orders-conn");
    let keys = &ready["connection"]["secret"]["keys"];
    assert_eq!(
        keys["password"], "password",
        "where it is, and not what it is"
    );
    assert!(!ready.to_string().contains("://"), "{ready}");

    assert_eq!(
        problem(&create(&facade.shop, asked).await),
        (409, "name-taken".to_owned())
    );
    let foreign = facade.billing.get(&path).await.unwrap();
    let unknown = facade
        .billing
        .get("/databases/00000000-0000-4000-8000-000000000000")
        .await
        .unwrap();
    assert_eq!(problem(&foreign), problem(&unknown));
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let list = |client: RestClient| async move {
        client.get("/databases").await.unwrap().body["items"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(list(facade.billing.clone()).await, 0);
    assert_eq!(list(facade.shop.clone()).await, 1);
    assert_eq!(list(facade.platform.clone()).await, 1);

    let audit = facade.audit().await;
    let rows = |stage: &str, status: Option<i32>| {
        let is = |row: &&(String, String, String, Option<i32>)| {
            row.0.contains("create") && row.1 == stage && row.2 == "shop" && row.3 == status
        };
        audit.iter().filter(is).count()
    };
    assert_eq!(
        rows("intent", None),
        2,
        "each attempt has an intent: {audit:?}"
    );
    assert_eq!(
        (rows("outcome", Some(201)), rows("outcome", Some(409))),
        (1, 1)
    );
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_with_the_cure() {
    let scene = Scene::with_tier("refusals", "dev", |_| ()).await;
    let (world, facade) = (&scene.world, &scene.facade);

    let nobody = facade.shop.with_key("daap_p_wrong");
    assert_eq!(
        nobody.get("/databases").await.unwrap().status,
        StatusCode::UNAUTHORIZED
    );
    let others = create(
        &facade.shop,
        json!({"name": "orders", "tier": "dev", "owner_team": "billing"}),
    )
    .await;
    assert_eq!(problem(&others).0, 403);
    let bad_name = create(&facade.shop, json!({"name": "Orders", "tier": "dev"})).await;
    assert_eq!(problem(&bad_name).0, 422);
    assert_eq!(bad_name.body["errors"][0]["pointer"], "/name");
    let bad_tier = create(&facade.shop, json!({"name": "orders", "tier": "gold"})).await;
    assert_eq!(problem(&bad_tier).0, 422);
    assert_eq!(bad_tier.body["errors"][0]["pointer"], "/tier");
    assert!(
        bad_tier.body.to_string().contains("dev"),
        "the offered tiers are named: {}",
        bad_tier.body
    );
    let unknown_field = create(
        &facade.shop,
        json!({"name": "orders", "tier": "dev", "instances": 3}),
    )
    .await;
    assert!(matches!(problem(&unknown_field).0, 400 | 422));
    let large = create(
        &facade.shop,
        json!({"name": "orders", "tier": "dev", "purpose": "x".repeat(1 << 20)}),
    )
    .await;
    assert_eq!(problem(&large).0, 413);
    assert_eq!(
        problem(&facade.shop.get("/no-such-path").await.unwrap()).0,
        404
    );
    let wrong_method = facade
        .shop
        .send(Method::PUT, "/databases", &Value::Null)
        .await
        .unwrap();
    assert_eq!(problem(&wrong_method).0, 405);
    assert_eq!(
        problem(&facade.shop.get("/databases?limit=201").await.unwrap()).0,
        400
    );
    assert_eq!(
        problem(&facade.shop.get("/databases?color=red").await.unwrap()).0,
        400
    );
    let made = world.databases().list(&Default::default()).await.unwrap();
    assert!(made.items.is_empty(), "a refusal leaves nothing");
    scene.stop().await;
}

/// Product teams choose by promises, and never see what a promise is made of.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_team_sees_promises_and_no_sizes() {
    let scene = Scene::with_tier("tiers", "critical", |tier| {
        tier["spec"]["availability"] = json!({"instances": 7});
        tier["spec"]["storage"] = json!({"size": "77Gi"});
    })
    .await;
    let facade = &scene.facade;
    for path in ["/tiers", "/tiers/critical"] {
        let product = facade
            .shop
            .get(path)
            .await
            .unwrap()
            .expect(StatusCode::OK)
            .unwrap()
            .to_string();
        for secret in ["77", "instances", "256Mi", "100m", "storage", "image"] {
            assert!(
                !product.contains(secret),
                "{path} shows {secret}: {product}"
            );
        }
        assert!(product.contains("high_availability"), "{product}");
        let platform = facade
            .platform
            .get(path)
            .await
            .unwrap()
            .expect(StatusCode::OK)
            .unwrap()
            .to_string();
        assert!(platform.contains("77"), "{platform}");
    }
    scene.stop().await;
}

/// Without its metadata database the facade answers 503, changes nothing, and recovers by itself.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_metadata_database_nothing_happens() {
    let mut scene = Scene::with_tier("metadata", "dev", |_| ()).await;
    scene.postgres.stop();
    let (world, facade) = (&scene.world, &scene.facade);
    let asked = json!({"name": "orders", "tier": "dev"});
    let answer = create(&facade.shop, asked.clone()).await;
    assert_eq!(problem(&answer).0, 503);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(
        facade.shop.get("/health").await.unwrap().status,
        StatusCode::OK
    );
    assert_eq!(
        facade.shop.get("/ready").await.unwrap().status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let made = world.databases().list(&Default::default()).await.unwrap();
    assert!(made.items.is_empty());
    scene.postgres.resume().await.unwrap();
    wait::until(
        "the facade recovering",
        Duration::from_secs(60),
        async || -> Result<()> {
            let answer = create(&facade.shop, asked.clone()).await;
            ensure!(answer.status == StatusCode::CREATED, "{answer:?}");
            Ok(())
        },
    )
    .await
    .unwrap();
    scene.stop().await;
}

/// Replicas that start together bring the schema up to date once, and a second first key is refused.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_metadata_database_is_prepared_once() {
    let postgres = Postgres::start().await.unwrap();
    let store = StoreSettings {
        database_url: Some(postgres.fresh_database().await.unwrap()),
        database_ca: None,
        database_connections: 2,
    };
    let replicas = (0..4).map(|_| {
        let pool = daap_facade::pool(&store).unwrap();
        async move { daap_facade::migrate(&pool).await }
    });
    for outcome in futures::future::join_all(replicas).await {
        outcome.unwrap();
    }
    assert!(key(&store, None).await.starts_with("daap_"));
    let again = Bootstrap {
        name: "again".to_owned(),
        team: None,
        force: false,
    };
    let outcome = daap_facade::bootstrap(daap_facade::pool(&store).unwrap(), &again).await;
    assert!(matches!(outcome, Err(daap_facade::BootstrapError::Exists)));
    let pool = daap_facade::pool(&store).unwrap();
    let digests: Vec<Vec<u8>> = sqlx::query_scalar("select digest from api_key")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(
        digests.len(),
        1,
        "the refused key was not kept, and keys are kept as digests"
    );
}
