//! The facade is ended before and after each of its outbound requests while it changes something. Whatever was done has
//! an intent on record, every intent gets an outcome, and a retry leaves one effect.
//!
//! | module | what is changed |
//! |---|---|
//! | [`databases`] | databases: made, changed, destroyed, restored, backed up |
//! | [`menu`] | tiers and quotas |
//! | [`keys`] | API keys |

mod databases;
mod keys;
mod menu;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use daap_crds::{kind::Kind, label};
use daap_facade::{
    policy,
    settings::{ListenSettings, ServiceSettings, StoreSettings},
};
use daap_tests::{
    cluster::wait,
    faults::{Faults, Side},
    rest::{Answer, RestClient},
};
use http::{HeaderName, Method, StatusCode};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Facade, Scene, problem};
use crate::world::SOON;

/// More requests than any change makes.
const MANY: usize = 200;

/// A facade in a runtime of its own, over plain HTTP, whose requests can be cut.
struct Victim {
    runtime: Option<Runtime>,
    faults: Faults,
    client: RestClient,
}

impl Victim {
    async fn start(scene: &Scene, side: Side) -> Self {
        let faults = Faults::new(side);
        let direct = scene.facade.store.database_url.clone().unwrap();
        let (server, rest) = address_of(&direct);
        let proxy = faults.proxy(server).await.unwrap();
        let store = StoreSettings {
            database_url: Some(format!("postgresql://postgres@{proxy}/{rest}")),
            ..scene.facade.store.clone()
        };
        let mut settings = ServiceSettings {
            listen: ListenSettings::default(),
            ..ServiceSettings::default()
        };
        // What it does by itself is not what is tested.
        settings.audit.audit_seal_seconds = 3600.0;
        settings.audit.audit_upkeep_seconds = 3600.0;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (counted, config) = (faults.clone(), scene.world.control_plane.config());
        let started = runtime.spawn(async move {
            let client = counted.client(config)?;
            let pool = daap_facade::pool(&store)?;
            let running =
                daap_facade::start(&settings, client, pool, CancellationToken::new()).await?;
            anyhow::Ok(running.address())
        });
        let address = started.await.unwrap().unwrap();
        let url = format!("http://{address}");
        let client = scene.facade.platform.at(&url);
        let victim = Self {
            runtime: Some(runtime),
            faults,
            client,
        };
        victim.settle().await;
        victim
    }

    /// Waits until it is ready, and has its connections.
    async fn settle(&self) {
        wait::until("being ready", SOON, async || -> Result<()> {
            ensure!(self.client.get("/ready").await?.status == StatusCode::OK);
            ensure!(self.client.get("/me").await?.status == StatusCode::OK);
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Sends a request and ends at the `nth` outbound request; the answer, when there was none such.
    async fn attempt(mut self, nth: usize, call: &Call) -> Option<Answer> {
        self.faults.arm(nth);
        let answer = tokio::select! {
            biased;
            () = self.faults.cut() => None,
            answer = call.send(&self.client) => Some(answer.unwrap()),
        };
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        answer
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // A runtime must not be awaited where others run.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The address in a URL, and what comes after it.
fn address_of(url: &str) -> (SocketAddr, String) {
    let (_, place) = url.split_once('@').unwrap();
    let (address, rest) = place.split_once('/').unwrap();
    (address.parse().unwrap(), rest.to_owned())
}

/// A change to be made, and the key under which it is repeated.
struct Call {
    method: Method,
    path: String,
    body: Value,
    key: String,
}

impl Call {
    async fn send(&self, client: &RestClient) -> Result<Answer> {
        let name = HeaderName::from_static("idempotency-key");
        client
            .with_header(name, &self.key)
            .send(self.method.clone(), &self.path, &self.body)
            .await
    }
}

/// Ends the facade before and after every request of an operation, with `retried` looking at what a retry leaves.
///
/// What is left when it ends before a request is what was left after the one before: only before the first one it is
/// something else.
async fn at_every_request(
    scene: &Scene,
    operation: &str,
    call: impl AsyncFn(&str) -> Call,
    retried: impl AsyncFn(&str, Answer),
) {
    let mut points = 0;
    let cuts = (1..=MANY).map(|nth| (Side::After, nth));
    for (side, nth) in std::iter::once((Side::Before, 1)).chain(cuts) {
        let name = format!("{side:?}-{nth}").to_lowercase();
        let call = call(&name).await;
        let victim = Victim::start(scene, side).await;
        let answer = victim.attempt(nth, &call).await;
        if let Some(answer) = answer {
            assert!(answer.status.is_success(), "{operation}: {answer:?}");
            break;
        }
        points = nth;
        forget_the_try(scene).await;
        let retry = call.send(&scene.facade.platform).await.unwrap();
        retried(&name, retry).await;
        every_intent_has_an_outcome(scene).await;
    }
    // Who asks, the intent, the change, the outcome: with less, nothing was cut.
    assert!((4..MANY).contains(&points), "{operation}: {points} points");
}

fn pool(facade: &Facade) -> PgPool {
    daap_facade::pool(&facade.store).unwrap()
}

/// A try counts as running for a while after its process ended. That while is over.
async fn forget_the_try(scene: &Scene) {
    sqlx::query("update idempotency set held_until = clock_timestamp() where status is null")
        .execute(&pool(&scene.facade))
        .await
        .unwrap();
}

async fn every_intent_has_an_outcome(scene: &Scene) {
    let pool = pool(&scene.facade);
    wait::until("every intent having an outcome", SOON, async || -> Result<()> {
        let open: Vec<String> = sqlx::query_scalar(
            "select concat(action, ' ', resource_id) from audit as open where stage = 'intent' and not exists \
             (select from audit where intent = open.intent and stage = 'outcome')",
        )
        .fetch_all(&pool)
        .await?;
        ensure!(open.is_empty(), "{open:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Whether an intent of this action is on record.
async fn is_intended(scene: &Scene, action: &str, intent: &str) -> bool {
    sqlx::query_scalar(
        "select exists (select from audit where stage = 'intent' and action = $1 and intent = $2::uuid)",
    )
    .bind(action)
    .bind(intent)
    .fetch_one(&pool(&scene.facade))
    .await
    .unwrap()
}

/// How often a resource was changed, after making sure that an intent of this operation made its last change.
async fn changes<K: Kind>(scene: &Scene, operation: &str, resource: &K) -> i64 {
    let intent = &resource.annotations()[label::INTENT];
    assert!(
        is_intended(scene, operation, intent).await,
        "{operation}: {intent}"
    );
    resource.meta().generation.unwrap()
}

async fn scene(name: &str) -> Scene {
    told_soon(Scene::with_tier(name, "dev", |_| ()).await).await
}

/// The same scene, where soon is told what was interrupted.
async fn told_soon(scene: Scene) -> Scene {
    let Scene {
        world,
        postgres,
        controller,
        facade,
    } = scene;
    let store = facade.store.clone();
    facade.stop().await;
    let facade = Facade::start_with(&world, store, |settings| {
        settings.audit.audit_interrupted_seconds = 1.0;
    })
    .await;
    Scene {
        world,
        postgres,
        controller,
        facade,
    }
}

/// Every operation that changes something is cut short in one of these modules.
#[test]
fn no_change_is_left_out() {
    let tests = [
        include_str!("databases.rs"),
        include_str!("keys.rs"),
        include_str!("menu.rs"),
    ];
    for rule in policy::RULES.iter().filter(|rule| rule.changes) {
        let named = format!("\"{}\"", rule.operation);
        let is_tested = tests.iter().any(|test| test.contains(&named));
        assert!(is_tested, "{} is never cut short", rule.operation);
    }
}

/// A metadata database that hangs is one that does not answer: 503 in time for whatever is asked, and no restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_database_that_hangs() {
    let scene = scene("fault-hanging").await;
    let victim = Victim::start(&scene, Side::Before).await;
    let create = json!({"name": "orders", "tier": "dev", "owner_team": "shop"});
    victim.faults.stall(true);
    let begin = Instant::now();
    let (read, list, write) = tokio::join!(
        victim.client.get("/tiers"),
        victim.client.get("/databases"),
        victim.client.post("/databases", &create),
    );
    for answer in [read, list, write] {
        let answer = answer.unwrap();
        assert_eq!(problem(&answer), (503, "unavailable".to_owned()));
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(
        victim.client.get("/health").await.unwrap().status,
        StatusCode::OK
    );
    let list = scene
        .world
        .databases()
        .list(&Default::default())
        .await
        .unwrap();
    assert!(
        list.items.is_empty(),
        "what cannot be recorded does not happen"
    );

    victim.faults.stall(false);
    wait::until("the facade recovering", SOON, async || -> Result<()> {
        let answer = victim.client.post("/databases", &create).await?;
        ensure!(answer.status == StatusCode::CREATED, "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
    drop(victim);
    scene.stop().await;
}
