//! How fast databases are admitted: creates through admission, as a ratio to raw creates of the same object on the same
//! API server. Starts a control plane of its own, and a controller in this process; makes no database.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on reports so by a panic"
)]

use std::time::{Duration, Instant};

use daap_controller::settings::Settings;
use daap_crds::{DaapDatabase, DaapTier};
use daap_tests::cluster::{
    control_plane::{ControlPlane, Definitions},
    wait,
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// How many databases each measurement creates.
const DATABASES: usize = 320;
const NAMESPACE: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    daap_config::process::install_crypto_provider();
    let control_plane = ControlPlane::start_with("bench", Definitions::Own)
        .await
        .unwrap();
    let client = control_plane.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in ["daap-system", NAMESPACE] {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
    }
    println!(
        "{:>7}  {:>12}  {:>12}  {:>5}",
        "clients", "raw/s", "admitted/s", "ratio"
    );
    for clients in [1, 8, 32] {
        let raw = measure(&client, "none", clients, false).await;
        remove_all(&client).await;
        let mut settings = Settings::from_defaults().unwrap();
        settings.http_listen = ([127, 0, 0, 1], 0).into();
        let shutdown = CancellationToken::new();
        let controller = tokio::spawn(daap_controller::run(
            settings,
            client.clone(),
            shutdown.clone(),
        ));
        let tier = offer(&client, clients).await;
        let admitted = measure(&client, &tier, clients, true).await;
        remove_all(&client).await;
        shutdown.cancel();
        controller.await.unwrap().unwrap();
        println!(
            "{clients:>7}  {raw:>12.1}  {admitted:>12.1}  {:>5.2}",
            admitted / raw
        );
    }
}

/// Creates per second with so many clients, each of which waits for its admission if that is wanted.
async fn measure(client: &Client, tier: &str, clients: usize, wait: bool) -> f64 {
    let begin = Instant::now();
    let each = |number: usize| async move {
        let databases: Api<DaapDatabase> = Api::namespaced(client.clone(), NAMESPACE);
        for index in (number..DATABASES).step_by(clients) {
            let name = format!("db-{index}");
            let database = json!({
                "apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase", "metadata": {"name": name},
                "spec": {"tier": tier, "ownerTeam": "shop"},
            });
            let database = serde_json::from_value(database).unwrap();
            databases
                .create(&PostParams::default(), &database)
                .await
                .unwrap();
            if wait {
                let admitted = |database: Option<&DaapDatabase>| {
                    database.is_some_and(|database| database.spec.tier_revision.is_some())
                };
                await_condition(databases.clone(), &name, admitted)
                    .await
                    .unwrap();
            }
        }
    };
    join_all((0..clients).map(each)).await;
    let count = u32::try_from(DATABASES).unwrap();
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// A tier that takes databases, under a quota with room for all of them.
async fn offer(client: &Client, clients: usize) -> String {
    let name = format!("tier-{clients}");
    let tier = json!({
        "apiVersion": "daap.dev/v1alpha1", "kind": "DaapTier", "metadata": {"name": name},
        "spec": {
            "description": "For measuring.",
            "postgres": {"major": 17, "image": "registry.example/postgresql:17.6"},
            "compute": {"cpu": "100m", "memory": "256Mi"}, "storage": {"size": "1Gi"},
            "destruction": {"strategy": "Freeze"},
        },
    });
    let tiers: Api<DaapTier> = Api::all(client.clone());
    let tier = serde_json::from_value(tier).unwrap();
    tiers.create(&PostParams::default(), &tier).await.unwrap();
    wait::until("the tier being offered", PATIENCE, async || {
        let status = tiers.get(&name).await?.status.unwrap_or_default();
        anyhow::ensure!(status.current_revision.is_some());
        Ok(())
    })
    .await
    .unwrap();
    name
}

async fn remove_all(client: &Client) {
    let databases: Api<DaapDatabase> = Api::namespaced(client.clone(), NAMESPACE);
    databases
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    wait::until("all databases being gone", PATIENCE, async || {
        anyhow::ensure!(
            databases
                .list(&ListParams::default())
                .await?
                .items
                .is_empty()
        );
        Ok(())
    })
    .await
    .unwrap();
}
