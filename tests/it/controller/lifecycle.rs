//! From a tier to a database that is ready, and what keeps it from being so.

use daap_crds::{
    DaapDatabase, DaapTier, DaapTierRevision, Phase, cnpg::Cluster, condition, reason::Reason,
};
use daap_tests::{
    cluster::wait,
    scripted_cnpg::{ScriptedCnpg, healthy_status},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::world::{SHOP, SOON, World};

fn problem(database: &DaapDatabase) -> Option<Reason> {
    Some(database.status.as_ref()?.problem.as_ref()?.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_and_a_database_become_a_cluster_that_is_ready() {
    let world = World::start("thread").await;
    let _cnpg = ScriptedCnpg::healthy(&world.client);
    let controller = world.controller();
    world.create_tier("dev").await;
    world.create_database("orders", "dev").await;
    let database = world.await_phase("orders", Phase::Ready).await;

    let status = database.status.unwrap();
    assert!(condition::is_true(&status.conditions, condition::READY));
    assert_eq!(
        status.endpoint.unwrap().host,
        format!("orders-rw.{SHOP}.svc")
    );
    assert_eq!(status.connection_secret.unwrap().name, "orders-conn");
    let bound = database.spec.tier_revision.unwrap();
    let revisions: Api<DaapTierRevision> = Api::all(world.client.clone());
    assert_eq!(revisions.get(&bound).await.unwrap().spec.tier, "dev");

    let clusters: Api<Cluster> = Api::namespaced(world.client.clone(), SHOP);
    let cluster = clusters.get("orders").await.unwrap();
    assert_eq!(status.incarnations.len(), 1);
    assert_eq!(status.incarnations[0].cluster_uid, cluster.uid());
    assert!(
        cluster.owner_references().is_empty(),
        "no cascade may reach data"
    );
    let pg_hba = cluster.spec.postgresql.unwrap().pg_hba.unwrap();
    assert_eq!(
        pg_hba.first().map(String::as_str),
        Some("hostnossl all all all reject")
    );
    controller.stop().await;
}

/// Editing a tier makes a new revision for new databases; an existing one keeps what it was created with.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_tier_leaves_existing_databases_alone() {
    let world = World::start("revision").await;
    let _cnpg = ScriptedCnpg::healthy(&world.client);
    let controller = world.controller();
    world.create_tier("dev").await;
    world.create_database("before", "dev").await;
    let before = world.await_phase("before", Phase::Ready).await;

    let tiers: Api<DaapTier> = Api::all(world.client.clone());
    let edit = json!({"spec": {"compute": {"cpu": "200m"}}});
    tiers
        .patch("dev", &PatchParams::default(), &Patch::Merge(edit))
        .await
        .unwrap();
    wait::until("the tier having a new revision", SOON, async || {
        let current = tiers
            .get("dev")
            .await?
            .status
            .and_then(|status| status.current_revision);
        anyhow::ensure!(
            current.is_some() && current != before.spec.tier_revision,
            "{current:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
    world.create_database("after", "dev").await;
    let after = world.await_phase("after", Phase::Ready).await;
    assert_ne!(after.spec.tier_revision, before.spec.tier_revision);

    let clusters: Api<Cluster> = Api::namespaced(world.client.clone(), SHOP);
    let cpu = async |name: &str| {
        let resources = clusters.get(name).await.unwrap().spec.resources.unwrap();
        (
            resources.requests.unwrap()["cpu"].0.clone(),
            resources.limits.unwrap()["cpu"].0.clone(),
        )
    };
    assert_eq!(cpu("before").await, ("100m".to_owned(), "100m".to_owned()));
    assert_eq!(cpu("after").await, ("200m".to_owned(), "200m".to_owned()));
    controller.stop().await;
}

/// A phase that this version of DAAP has never heard of is progress, not failure.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_phase_of_cnpg_is_progress() {
    let world = World::start("unknown-phase").await;
    let cnpg = ScriptedCnpg::start(&world.client, |_| {
        Some(json!({"phase": "Reticulating splines", "instances": 1}))
    });
    let controller = world.controller();
    world.create_tier("dev").await;
    world.create_database("orders", "dev").await;
    let database = world
        .await_database("orders", "having its Cluster", |database| {
            database.status.as_ref().is_some_and(|status| {
                condition::find(&status.conditions, condition::READY)
                    .is_some_and(|ready| ready.message.contains("Reticulating splines"))
            })
        })
        .await;
    assert_eq!(
        database.status.as_ref().unwrap().phase,
        Some(Phase::Provisioning)
    );
    assert_eq!(problem(&database), None);
    drop(cnpg);
    let _healthy = ScriptedCnpg::healthy(&world.client);
    world.await_phase("orders", Phase::Ready).await;
    controller.stop().await;
}

/// A definition that CloudNativePG refuses is an error with the cause, and over by itself when the cause is.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_definition_is_an_error_until_it_is_not() {
    let world = World::start("refused").await;
    let cnpg = ScriptedCnpg::start(&world.client, |_| {
        Some(
            json!({"phase": "Invalid cluster definition", "phaseReason": "spec.storage.size: too odd"}),
        )
    });
    let controller = world.controller();
    world.create_tier("dev").await;
    world.create_database("orders", "dev").await;
    let database = world.await_phase("orders", Phase::Error).await;
    assert_eq!(problem(&database), Some(Reason::InvalidDefinition));
    let told = database.status.unwrap().problem.unwrap();
    assert!(told.message.contains("too odd"), "{}", told.message);
    assert!(!told.hint.is_empty());
    drop(cnpg);
    let _healthy = ScriptedCnpg::healthy(&world.client);
    let database = world.await_phase("orders", Phase::Ready).await;
    assert_eq!(problem(&database), None);
    controller.stop().await;
}

/// Without any operator there is an answer too, and in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_operator_is_named() {
    let world = World::start("no-operator").await;
    let controller = world
        .controller_with(|settings| settings.operator_deadline = std::time::Duration::from_secs(2));
    world.create_tier("dev").await;
    world.create_database("orders", "dev").await;
    world
        .await_database("orders", "naming the missing operator", |database| {
            problem(database) == Some(Reason::OperatorMissing)
        })
        .await;
    let _healthy = ScriptedCnpg::healthy(&world.client);
    world.await_phase("orders", Phase::Ready).await;
    controller.stop().await;
}

/// A database that names a tier nobody made says so, and is served once the tier is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_tier_is_named() {
    let world = World::start("no-tier").await;
    let _cnpg = ScriptedCnpg::healthy(&world.client);
    let controller = world.controller();
    world.create_database("orders", "dev").await;
    world
        .await_database("orders", "naming its missing tier", |database| {
            problem(database) == Some(Reason::TierNotFound)
        })
        .await;
    world.create_tier("dev").await;
    world.await_phase("orders", Phase::Ready).await;
    controller.stop().await;
}

/// A live database of a tier that only freezes cannot be removed, and neither its data nor its readiness suffers from
/// the attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_database_survives_kubectl_delete() {
    let world = World::start("delete").await;
    let _cnpg = ScriptedCnpg::healthy(&world.client);
    let controller = world.controller();
    world
        .create_tier_with("dev", |tier| {
            tier["spec"]["destruction"]["strategy"] = "Freeze".into();
        })
        .await;
    world.create_database("orders", "dev").await;
    let before = world.await_phase("orders", Phase::Ready).await;
    world
        .databases()
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    let after = world
        .await_database("orders", "saying why it stays", |database| {
            database.metadata.deletion_timestamp.is_some() && problem(database).is_some()
        })
        .await;
    let clusters: Api<Cluster> = Api::namespaced(world.client.clone(), SHOP);
    let cluster = clusters.get("orders").await.unwrap();
    assert_eq!(
        cluster.uid(),
        before.status.unwrap().incarnations[0].cluster_uid
    );
    assert!(cluster.metadata.deletion_timestamp.is_none());
    assert_eq!(
        after.status.unwrap().phase,
        Some(Phase::Ready),
        "it still serves"
    );
    controller.stop().await;
}

/// A database that never held data goes when it is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_never_was_is_let_go() {
    let world = World::start("never-was").await;
    let controller = world.controller();
    world.create_database("orders", "no-such-tier").await;
    world
        .await_database("orders", "naming its problem", |database| {
            problem(database).is_some()
        })
        .await;
    world
        .databases()
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    let databases = world.databases();
    wait::until("the database being gone", SOON, async || {
        anyhow::ensure!(databases.get_opt("orders").await?.is_none());
        Ok(())
    })
    .await
    .unwrap();
    controller.stop().await;
}

/// A Cluster that someone removed is reported, and never made again empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_cluster_is_never_made_again() {
    let world = World::start("vanished").await;
    let _cnpg = ScriptedCnpg::healthy(&world.client);
    let controller = world.controller();
    world.create_tier("dev").await;
    world.create_database("orders", "dev").await;
    world.await_phase("orders", Phase::Ready).await;
    let clusters: Api<Cluster> = Api::namespaced(world.client.clone(), SHOP);
    clusters
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    let database = world.await_phase("orders", Phase::Error).await;
    assert_eq!(problem(&database), Some(Reason::ClusterVanished));
    controller.stop().await;

    let restarted = world.controller();
    wait::until("the restarted controller having looked", SOON, async || {
        anyhow::ensure!(
            restarted
                .record
                .all()
                .iter()
                .any(|sent| sent.path.contains("/clusters/orders"))
        );
        Ok(())
    })
    .await
    .unwrap();
    restarted.stop().await;
    assert!(clusters.get_opt("orders").await.unwrap().is_none());
}

/// A namesake that is not ours is not taken over.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_cluster_is_not_adopted() {
    let world = World::start("foreign").await;
    let _cnpg = ScriptedCnpg::start(&world.client, |cluster| {
        cluster
            .labels()
            .contains_key(daap_crds::label::INCARNATION)
            .then(|| healthy_status(cluster))
    });
    let clusters: Api<Cluster> = Api::namespaced(world.client.clone(), SHOP);
    let foreign = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "orders"},
        "spec": {"instances": 1, "storage": {"size": "1Gi"}},
    });
    clusters
        .create(
            &Default::default(),
            &serde_json::from_value(foreign).unwrap(),
        )
        .await
        .unwrap();
    let controller = world.controller();
    world.create_tier("dev").await;
    world.create_database("orders", "dev").await;
    let database = world.await_phase("orders", Phase::Error).await;
    assert_eq!(problem(&database), Some(Reason::NameConflict));
    let untouched = clusters.get("orders").await.unwrap();
    assert!(untouched.labels().is_empty(), "{:?}", untouched.labels());
    controller.stop().await;
}
