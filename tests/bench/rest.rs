//! How fast the REST API answers many clients at once, with the audit on and a metadata database that forgets nothing.
//! Starts a control plane, PostgreSQL, a controller and a facade of its own; all traffic stays on the loopback address.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on reports so by a panic"
)]

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use daap_controller::settings::Settings;
use daap_crds::DaapTier;
use daap_facade::{
    Bootstrap,
    settings::{ServiceSettings, StoreSettings},
};
use daap_tests::{
    cluster::{
        certificates::Authority,
        control_plane::{ControlPlane, Definitions},
        postgres::Postgres,
        wait,
    },
    rest::RestClient,
};
use futures::future::join_all;
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const CLIENTS: usize = 64;
const DURATION: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    daap_config::process::install_crypto_provider();
    let control_plane = ControlPlane::start_with("bench-rest", Definitions::Own)
        .await
        .unwrap();
    let postgres = Postgres::start_durable().await.unwrap();
    let store = StoreSettings {
        database_url: Some(postgres.fresh_database().await.unwrap()),
        database_ca: None,
        database_connections: 16,
    };
    let cluster = control_plane.client();
    offer(&cluster).await;
    let shutdown = CancellationToken::new();
    let mut settings = Settings::from_defaults().unwrap();
    settings.http_listen = ([127, 0, 0, 1], 0).into();
    let controller = tokio::spawn(daap_controller::run(
        settings,
        cluster.clone(),
        shutdown.clone(),
    ));
    let settings = ServiceSettings::default();
    let facade = daap_facade::start(
        &settings,
        cluster,
        daap_facade::pool(&store).unwrap(),
        shutdown.clone(),
    );
    let facade = Box::pin(facade).await.unwrap();
    let url = format!("http://{}", facade.address());

    let clients = join_all((0..CLIENTS).map(|number| client(&store, &url, number))).await;
    let before = resident_kibibytes();
    let begin = Instant::now();
    let working = clients
        .iter()
        .map(|(client, path)| work(client, path, begin));
    let halfway = async {
        tokio::time::sleep(DURATION / 2).await;
        resident_kibibytes()
    };
    let (answers, halfway) = tokio::join!(join_all(working), halfway);
    let elapsed = begin.elapsed();
    report(answers.into_iter().flatten().collect(), elapsed);
    println!(
        "resident memory of all of it: {before} KiB before, {halfway} KiB halfway, {} KiB after",
        resident_kibibytes()
    );
    shutdown.cancel();
    facade.ended().await.unwrap();
    controller.await.unwrap().unwrap();
}

/// A client with a key and a database of its own.
async fn client(store: &StoreSettings, url: &str, number: usize) -> (RestClient, String) {
    let asked = Bootstrap {
        name: format!("bench {number}"),
        team: Some(format!("team-{number}")),
        force: false,
    };
    let key = daap_facade::bootstrap(daap_facade::pool(store).unwrap(), &asked)
        .await
        .unwrap();
    let authority = Authority::new("bench").unwrap();
    let client = RestClient::new(url, authority.certificate(), &key).unwrap();
    let body = json!({"name": "bench", "tier": "dev"});
    let made = wait::until("a database being made", PATIENCE, async || {
        client
            .post("/databases", &body)
            .await?
            .expect(StatusCode::CREATED)
    });
    let id = made.await.unwrap()["id"].as_str().unwrap().to_owned();
    (client, format!("/databases/{id}"))
}

struct Answered {
    what: &'static str,
    status: StatusCode,
    took: Duration,
}

/// Reads, and now and then changes, until the time is over.
async fn work(client: &RestClient, path: &str, begin: Instant) -> Vec<Answered> {
    let mut answers = Vec::new();
    for number in 0_u32.. {
        if begin.elapsed() > DURATION {
            break;
        }
        let (what, method, path, body) = match number % 20 {
            0 => {
                let purpose = json!({"purpose": format!("change {number}")});
                ("change", Method::PATCH, path, purpose)
            }
            1..10 => ("list", Method::GET, "/databases", Value::Null),
            _ => ("get", Method::GET, path, Value::Null),
        };
        let asked = Instant::now();
        let answer = client.send(method, path, &body).await.unwrap();
        answers.push(Answered {
            what,
            status: answer.status,
            took: asked.elapsed(),
        });
    }
    answers
}

fn report(answers: Vec<Answered>, elapsed: Duration) {
    let count = |answers: usize| f64::from(u32::try_from(answers).unwrap());
    println!(
        "{CLIENTS} clients, {:.0} requests/s",
        count(answers.len()) / elapsed.as_secs_f64()
    );
    let mut by_kind: BTreeMap<_, Vec<Duration>> = BTreeMap::new();
    for answer in answers {
        let kind = (answer.what, answer.status.as_u16());
        by_kind.entry(kind).or_default().push(answer.took);
    }
    println!(
        "{:>8} {:>6} {:>8} {:>9} {:>9}",
        "what", "status", "count", "p50", "p99"
    );
    for ((what, status), mut took) in by_kind {
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        println!(
            "{what:>8} {status:>6} {:>8} {:>6} ms {:>6} ms",
            took.len(),
            at(50).as_millis(),
            at(99).as_millis()
        );
    }
}

async fn offer(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "daap-system"}})).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let tiers: Api<DaapTier> = Api::all(client.clone());
    let tier = json!({
        "apiVersion": "daap.dev/v1alpha1", "kind": "DaapTier", "metadata": {"name": "dev"},
        "spec": {
            "description": "For measuring.",
            "postgres": {"major": 17, "image": "registry.example/postgresql:17.6"},
            "compute": {"cpu": "100m", "memory": "256Mi"}, "storage": {"size": "1Gi"},
            "destruction": {"strategy": "Freeze"},
        },
    });
    let tier = serde_json::from_value(tier).unwrap();
    tiers.create(&PostParams::default(), &tier).await.unwrap();
}

/// What this process holds in memory, of which the facade is a part.
fn resident_kibibytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}
