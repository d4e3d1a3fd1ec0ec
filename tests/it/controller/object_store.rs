//! Object stores: what is said of them, and that a tier is offered only with one that works. A real S3 server, where it
//! matters.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use daap_controller::Surroundings;
use daap_crds::{
    DaapObjectStore, DaapObjectStoreStatus, DaapTier, DaapTierStatus,
    condition::{self, ACCEPTED, REACHABLE},
    label,
};
use daap_tests::{
    cluster::wait,
    s3_server::{BUCKET, S3Server},
    stand_in_archives::StandInArchives,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::world::{SOON, World, without_object_stores};

/// How often stores are tried here.
const INTERVAL: Duration = Duration::from_secs(1);

fn stores(world: &World) -> Api<DaapObjectStore> {
    Api::all(world.client.clone())
}

fn tiers(world: &World) -> Api<DaapTier> {
    Api::all(world.client.clone())
}

async fn create_store(world: &World, spec: Value) {
    let store = json!({
        "apiVersion": "daap.dev/v1alpha1", "kind": "DaapObjectStore", "metadata": {"name": "vault"}, "spec": spec,
    });
    let store = serde_json::from_value(store).unwrap();
    stores(world)
        .create(&PostParams::default(), &store)
        .await
        .unwrap();
}

/// The spec of a store on a server, with a Secret `vault-keys` and, if it speaks TLS, one `vault-ca`.
fn spec(server: &S3Server) -> Value {
    let mut spec = json!({
        "url": format!("s3://{BUCKET}/daap"), "endpoint": server.endpoint,
        "credentials": {"secret": {"name": "vault-keys"}},
    });
    if server.authority.is_some() {
        spec["ca"] = json!({"name": "vault-ca", "key": "ca.crt"});
    }
    spec
}

async fn put_secret(world: &World, name: &str, content: Value) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "daap-system");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content});
    let parameters = PatchParams::apply("test").force();
    secrets
        .patch(name, &parameters, &Patch::Apply(secret))
        .await
        .unwrap();
}

async fn put_keys(world: &World, id: &str, key: &str) {
    put_secret(
        world,
        "vault-keys",
        json!({"accessKeyId": id, "secretAccessKey": key}),
    )
    .await;
}

/// A tier that backs up to the store.
async fn create_tier(world: &World, name: &str) {
    let backup = json!({"schedule": "0 3 * * *", "retention": "7d", "objectStore": "vault"});
    world
        .create_tier_with(name, |tier| tier["spec"]["backup"] = backup)
        .await;
}

/// Waits until the store is as `condition` wants it.
async fn await_store(
    world: &World,
    what: &str,
    condition: impl Fn(&DaapObjectStoreStatus) -> bool,
) -> DaapObjectStore {
    wait::until(&format!("the store {what}"), SOON, async || -> Result<_> {
        let store = stores(world).get("vault").await?;
        let status = store.status.clone().context("it has no status")?;
        ensure!(condition(&status), "it is {status:?}");
        Ok(store)
    })
    .await
    .unwrap()
}

async fn await_reachable(world: &World, status: &str, reason: &str) -> DaapObjectStore {
    await_store(world, &format!("being {reason}"), |told| {
        condition::find(&told.conditions, REACHABLE)
            .is_some_and(|reachable| reachable.status == status && reachable.reason == reason)
    })
    .await
}

/// Waits until a tier is accepted or is not, and says why in these words.
async fn await_accepted(world: &World, tier: &str, status: &str, words: &str) {
    wait::until(
        &format!("{tier} being accepted: {status}"),
        SOON,
        async || -> Result<_> {
            let tier = tiers(world).get(tier).await?;
            let DaapTierStatus { conditions, .. } = tier.status.context("it has no status")?;
            let accepted = condition::find(&conditions, ACCEPTED).context("it has no condition")?;
            let is_told = accepted.message.contains(words);
            ensure!(accepted.status == status && is_told, "{accepted:?}");
            Ok(())
        },
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_a_private_authority_is_tried_and_told_of() {
    let world = World::start("store-told").await;
    let mut server = S3Server::start_with_tls("store-told").await.unwrap();
    let controller = world.controller_in(Surroundings::default(), |settings| {
        settings.probe_interval = INTERVAL
    });
    create_store(&world, spec(&server)).await;
    create_tier(&world, "gold").await;

    let missing = await_store(&world, "missing a Secret", |status| {
        condition::find(&status.conditions, ACCEPTED)
            .is_some_and(|one| one.reason == "SecretMissing")
    })
    .await;
    assert_eq!(missing.finalizers(), [label::IN_USE_FINALIZER]);
    let words =
        "The object store 'vault' is not accepted: The object store names the Secret 'vault-keys'";
    await_accepted(&world, "gold", "False", words).await;

    put_keys(&world, &server.access_key, "not-the-secret-key").await;
    put_secret(
        &world,
        "vault-ca",
        json!({"ca.crt": server.authority.clone()}),
    )
    .await;
    await_reachable(&world, "False", "CredentialsRefused").await;
    put_keys(&world, &server.access_key, &server.secret_key).await;
    await_reachable(&world, "True", "Reachable").await;
    await_store(&world, "being in use", |status| status.in_use == 1).await;
    await_accepted(&world, "gold", "True", "can be served").await;

    // It is tried again and again, and nothing is written for it.
    wait::until("the last write", SOON, async || {
        controller.record.clear();
        tokio::time::sleep(2 * INTERVAL).await;
        ensure!(
            controller.record.writes().is_empty(),
            "{:?}",
            controller.record.writes()
        );
        Ok(())
    })
    .await
    .unwrap();
    controller.record.clear();
    tokio::time::sleep(5 * INTERVAL).await;
    assert_eq!(controller.record.writes(), []);

    // It goes away: no new database is admitted, and those that wait say why.
    server.stop();
    await_reachable(&world, "False", "NoAnswer").await;
    let words = "The object store 'vault' is not reachable: The object store does not answer.";
    await_accepted(&world, "gold", "False", words).await;
    world.create_database("orders", "gold").await;
    world
        .await_database("orders", "telling what it waits for", |database| {
            let problem = database
                .status
                .as_ref()
                .and_then(|status| status.problem.as_ref());
            problem.is_some_and(|problem| problem.message.contains("vault"))
        })
        .await;
    server.resume().await.unwrap();
    await_reachable(&world, "True", "Reachable").await;
    await_accepted(&world, "gold", "True", "can be served").await;
    world
        .await_database("orders", "being bound", |database| {
            database.spec.tier_revision.is_some()
        })
        .await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_probe_takes_no_tier_away_and_two_do() {
    let world = World::start("store-flakes").await;
    put_keys(&world, "an-id", "a-key").await;
    let archives = Arc::new(StandInArchives::default());
    let surroundings = Surroundings {
        archives: Arc::<StandInArchives>::clone(&archives),
        ..Surroundings::default()
    };
    let controller =
        world.controller_in(surroundings, |settings| settings.probe_interval = INTERVAL);
    create_store(
        &world,
        json!({"url": "s3://backups", "credentials": {"secret": {"name": "vault-keys"}}}),
    )
    .await;
    create_tier(&world, "gold").await;
    await_accepted(&world, "gold", "True", "can be served").await;
    let before = tiers(&world).get("gold").await.unwrap().status;

    archives.fail_next(1);
    await_reachable(&world, "Unknown", "FailedOnce").await;
    await_reachable(&world, "True", "Reachable").await;
    assert_eq!(
        tiers(&world).get("gold").await.unwrap().status,
        before,
        "the tier was told otherwise meanwhile"
    );

    archives.fail_next(usize::MAX);
    await_accepted(&world, "gold", "False", "vault").await;
    // What was just said is kept over a restart, and said again by nobody.
    controller.stop().await;
    let store = await_reachable(&world, "False", "NoAnswer").await;
    let probes = archives.probes();
    let surroundings = Surroundings {
        archives: Arc::<StandInArchives>::clone(&archives),
        ..Surroundings::default()
    };
    let restarted =
        world.controller_in(surroundings, |settings| settings.probe_interval = INTERVAL);
    wait::until("more probes", SOON, async || {
        ensure!(
            archives.probes() > probes + 2,
            "{} probes",
            archives.probes()
        );
        Ok(())
    })
    .await
    .unwrap();
    let after = stores(&world).get("vault").await.unwrap();
    assert_eq!(after.resource_version(), store.resource_version());
    restarted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_stays_for_as_long_as_a_tier_names_it() {
    let world = World::start("store-stays").await;
    put_keys(&world, "an-id", "a-key").await;
    let controller = world.controller_in(without_object_stores(), |_| ());
    create_store(
        &world,
        json!({"url": "s3://backups", "credentials": {"secret": {"name": "vault-keys"}}}),
    )
    .await;
    for tier in ["gold", "silver"] {
        create_tier(&world, tier).await;
    }
    // Now it has a revision.
    await_accepted(&world, "gold", "True", "can be served").await;
    await_store(&world, "being in use twice", |status| status.in_use == 2).await;
    tiers(&world)
        .delete("silver", &DeleteParams::default())
        .await
        .unwrap();
    await_store(&world, "being in use once", |status| status.in_use == 1).await;

    stores(&world)
        .delete("vault", &DeleteParams::default())
        .await
        .unwrap();
    await_store(&world, "waiting for its tier", |status| {
        condition::find(&status.conditions, ACCEPTED)
            .is_some_and(|one| one.reason == "BeingDeleted")
    })
    .await;
    await_accepted(&world, "gold", "False", "vault").await;
    // The tier names another store, and has a revision yet that names this one.
    let other = json!({"spec": {"backup": null}});
    tiers(&world)
        .patch("gold", &PatchParams::default(), &Patch::Merge(other))
        .await
        .unwrap();
    await_accepted(&world, "gold", "True", "can be served").await;
    assert!(stores(&world).get_opt("vault").await.unwrap().is_some());
    tiers(&world)
        .delete("gold", &DeleteParams::default())
        .await
        .unwrap();
    wait::until("the store going", SOON, async || {
        ensure!(
            stores(&world).get_opt("vault").await?.is_none(),
            "it is there"
        );
        Ok(())
    })
    .await
    .unwrap();
    controller.stop().await;
}
