//! Two sizes of one tier, a database that is to be restored from one of the larger size and cannot be, one that moves to it,
//! and limits that go up and down meanwhile: never over, and everybody in who fits.

use std::time::Duration;

use anyhow::{Result, ensure};
use daap_crds::{
    DaapDatabase, DaapQuota, DaapQuotaStatus, DaapTier, DaapTierRevision, cost::Cost,
    quota::Reservation,
};
use daap_tests::{cluster::wait, rest::Answer};
use futures::future::join_all;
use http::StatusCode;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    history::allocated,
    order::{await_database, waits},
    stage::{Facades, Stage},
};
use crate::world::SOON;

/// How long a facade waits. Longer than by default: the machine is busy.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn mixed_sizes_and_moving_limits_stay_exact() {
    let mut stage = Stage::start("mixed").await;
    stage.fail_fast_deadline = PATIENCE + Duration::from_secs(5);
    let controllers = [stage.controller("one"), stage.controller("other")];
    stage
        .create_quota("dev", json!({"cpu": "2", "storage": "40Gi"}))
        .await;
    stage
        .offer_tier("dev", |tier| {
            tier["spec"]["compute"]["cpu"] = json!("500m");
            tier["spec"]["storage"]["walSize"] = json!("1Gi");
        })
        .await;
    let source = stage.ask("large", "dev").await;
    let large = admitted_on(&stage, "large").await;
    offer_smaller(&stage, &large).await;

    // 500m are used. Four of 300m fit (1700m), the restored one of 500m does not, and a fifth one does.
    for index in 0..4 {
        stage.ask(&format!("small-{index}"), "dev").await;
    }
    stage.await_settled("dev", 5).await;
    stage
        .ask_with("restored", "dev", |database| {
            database["spec"]["restore"] = json!({"source": {"name": "large", "uid": source.uid()}})
        })
        .await;
    let waiting = await_database(&stage, "restored", "waiting", waits).await;
    let cost = waiting.status.unwrap().admission.unwrap().cost.unwrap();
    assert_eq!(
        cost.cpu.to_string(),
        "500m",
        "it costs what its source does"
    );
    stage.ask("small-4", "dev").await;
    let full = stage.await_settled("dev", 6).await;
    assert_eq!(allocated(&full)[1], 2000, "who fits is passed to the front");

    // One of 300m goes: 200m more and the restored one has room.
    stage
        .databases()
        .delete("small-0", &DeleteParams::default())
        .await
        .unwrap();
    stage.await_settled("dev", 5).await;
    stage.change_limits("dev", json!({"cpu": "2200m"})).await;
    assert_eq!(admitted_on(&stage, "restored").await, large);
    // Its source has no backup, so it fails for good, and gives back what it cost.
    await_database(&stage, "restored", "given up", DaapDatabase::is_abandoned).await;
    await_allocated(&stage, 1700).await;

    let facades = Facades::start(&stage, 1, PATIENCE).await;
    facades.await_offer("dev").await;
    let ((), (), answers) = tokio::join!(
        move_limits(&stage, ["5", "3", "4", "2500m", "6100m"]),
        move_to(&stage, "small-1", &large),
        ask_in_both_ways(&stage, &facades),
    );
    // 1700m, 200m more for the one that moved, and fourteen of 300m are 6100m.
    let quota = stage.await_settled("dev", 5 + 14).await;
    assert_eq!(allocated(&quota)[1], 6100);
    assert_eq!(allocated(&quota), stage.history.recount("dev").await);
    let broken = stage.history.broken_rules("dev").await;
    assert!(broken.is_empty(), "{broken:#?}");
    assert_honest(&answers, &stage.admitted("dev").await);
    stage.remove_all("dev").await;
    facades.stop().await;
    for controller in controllers {
        controller.stop().await;
    }
}

async fn await_allocated(stage: &Stage, cpu: u64) {
    wait::until("what is given back being counted", SOON, async || {
        let quota = stage.quotas().get("dev").await?;
        ensure!(allocated(&quota)[1] == cpu, "{:?}", allocated(&quota));
        Ok(())
    })
    .await
    .unwrap();
}

/// The revision that a database is admitted on.
async fn admitted_on(stage: &Stage, name: &str) -> String {
    let is_bound = |database: &DaapDatabase| database.spec.tier_revision.is_some();
    let database = await_database(stage, name, "being admitted", is_bound).await;
    database.spec.tier_revision.unwrap()
}

/// Makes the tier smaller, and waits until it offers something else than before.
async fn offer_smaller(stage: &Stage, before: &str) {
    let tiers: Api<DaapTier> = Api::all(stage.client.clone());
    let smaller =
        Patch::Merge(json!({"spec": {"compute": {"cpu": "300m"}, "storage": {"walSize": null}}}));
    tiers
        .patch("dev", &PatchParams::default(), &smaller)
        .await
        .unwrap();
    wait::until("the tier offering the smaller size", SOON, async || {
        let status = tiers.get("dev").await?.status.unwrap_or_default();
        ensure!(status.current_revision.is_some_and(|name| name != before));
        Ok(())
    })
    .await
    .unwrap();
}

/// Sets one limit of CPU after the other, each as soon as the one before was looked at.
async fn move_limits<const N: usize>(stage: &Stage, limits: [&str; N]) {
    for cpu in limits {
        stage.change_limits("dev", json!({"cpu": cpu})).await;
        wait::until("the limit being looked at", SOON, async || {
            let quota = stage.quotas().get("dev").await?;
            let seen = quota.status.and_then(|status| status.observed_generation);
            ensure!(seen == quota.metadata.generation);
            Ok(())
        })
        .await
        .unwrap();
    }
}

/// Asks for twenty with kubectl and for twenty over REST, all at once; what REST answered.
async fn ask_in_both_ways(stage: &Stage, facades: &Facades) -> Vec<Answer> {
    let asking = (0..40).map(async |index| {
        if index % 2 == 0 {
            stage.ask(&format!("kubectl-{index}"), "dev").await;
            return None;
        }
        let body = json!({"name": format!("rest-{index}"), "tier": "dev"});
        Some(facades.clients[0].post("/databases", &body).await.unwrap())
    });
    join_all(asking).await.into_iter().flatten().collect()
}

/// Who was told so is admitted, and nobody else; who was refused did not fit.
fn assert_honest(answers: &[Answer], admitted: &[String]) {
    let mut created = 0;
    for answer in answers {
        if answer.status == StatusCode::CREATED {
            created += 1;
            continue;
        }
        assert_eq!(answer.body["code"], "quota-exceeded", "{answer:?}");
        for limit in answer.body["exceeded"].as_array().unwrap() {
            let number = |field: &str| limit[field].as_f64().unwrap();
            assert_eq!(limit["resource"], "cpu_cores", "{answer:?}");
            assert!(
                number("used") + number("requested") > number("limit"),
                "{answer:?}"
            );
        }
    }
    let over_rest = admitted.iter().filter(|name| name.starts_with("rest-"));
    assert_eq!(created, over_rest.count());
}

/// Moves a database to a larger revision, as a migration does: what it costs more is reserved as soon as there is room.
async fn move_to(stage: &Stage, name: &str, revision: &str) {
    let database = stage.databases().get(name).await.unwrap();
    let before = cost(stage, database.spec.tier_revision.as_deref().unwrap()).await;
    let after = cost(stage, revision).await;
    let more = Cost {
        databases: 0,
        cpu: after.cpu.saturating_sub(before.cpu),
        memory: after.memory.saturating_sub(before.memory),
        storage: after.storage.saturating_sub(before.storage),
    };
    let reservation = Reservation {
        uid: database.uid().unwrap(),
        namespace: database.namespace().unwrap(),
        name: name.to_owned(),
        revision: revision.to_owned(),
        cost: after,
    };
    wait::until("room to move", 2 * SOON, async || {
        let quota = stage.quotas().get("dev").await?;
        let mut status = quota.status.clone().unwrap_or_default();
        let excess = quota.spec.exceeded_by(&status.allocated, &more);
        ensure!(excess.is_empty(), "{excess:?}");
        status.allocated = status.allocated.checked_add(more).unwrap();
        status.reservations.push(reservation.clone());
        write_status(stage, &quota, &status).await
    })
    .await
    .unwrap();
    let binding = Patch::Merge(json!({"spec": {"tierRevision": revision}}));
    stage
        .databases()
        .patch(name, &PatchParams::default(), &binding)
        .await
        .unwrap();
}

async fn cost(stage: &Stage, revision: &str) -> Cost {
    let revisions: Api<DaapTierRevision> = Api::all(stage.client.clone());
    Cost::of(&revisions.get(revision).await.unwrap().spec.template).unwrap()
}

/// Writes a status as the controller does, unless somebody wrote the quota since it was read.
async fn write_status(stage: &Stage, quota: &DaapQuota, status: &DaapQuotaStatus) -> Result<()> {
    let patch: Value = json!({
        "apiVersion": DaapQuota::api_version(&()), "kind": DaapQuota::kind(&()),
        "metadata": {"name": quota.name_any(), "resourceVersion": quota.resource_version()},
        "status": status,
    });
    let parameters = PatchParams::apply("daap-controller").force();
    stage
        .quotas()
        .patch_status(&quota.name_any(), &parameters, &Patch::Apply(patch))
        .await?;
    Ok(())
}
