//! Who is admitted when: in order, as soon as there is room, passing over what does not fit.

use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use daap_controller::Surroundings;
use daap_crds::{DaapDatabase, DaapQuota, Phase, condition, database::Verdict, reason::Reason};
use daap_tests::{cluster::wait, faulty_client::Fault};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use super::{history::allocated, stage::Stage};
use crate::world::SOON;

/// Waits until a database is as `condition` wants it, and returns it.
pub async fn await_database(
    stage: &Stage,
    name: &str,
    what: &str,
    condition: impl Fn(&DaapDatabase) -> bool,
) -> DaapDatabase {
    wait::until(
        &format!("{name} {what}"),
        SOON,
        async || -> Result<DaapDatabase> {
            let database = stage.databases().get(name).await?;
            ensure!(condition(&database), "{:?}", database.status);
            Ok(database)
        },
    )
    .await
    .unwrap()
}

/// Whether a database waits for room, and says so.
pub fn waits(database: &DaapDatabase) -> bool {
    let status = database.status.as_ref();
    status
        .and_then(|status| status.admission.as_ref())
        .is_some_and(|said| said.verdict == Verdict::Waiting)
        && status
            .and_then(|status| status.problem.as_ref())
            .is_some_and(|problem| problem.reason == Reason::QuotaExceeded)
}

/// A restore that failed for good leaves room for another database, while its own stays to say why.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_admitted_in_the_place_of_a_failed_restore() {
    let stage = Stage::start("abandoned").await;
    let controller = stage.controller("daap-controller");
    stage.create_quota("dev", json!({"databases": 1})).await;
    stage.create_tier("dev", |_| ()).await;
    stage.ask("failed", "dev").await;
    stage.await_settled("dev", 1).await;
    stage.ask("next", "dev").await;
    await_database(&stage, "next", "saying that it waits", waits).await;
    let told = async |status| {
        stage
            .databases()
            .patch_status(
                "failed",
                &PatchParams::default(),
                &Patch::Merge(json!({"status": status})),
            )
            .await
            .unwrap();
    };
    told(json!({"phase": "error", "abandonedAt": "2026-01-01T00:00:00Z"})).await;
    await_database(&stage, "next", "being admitted", |one| {
        one.spec.tier_revision.is_some()
    })
    .await;
    wait::until("one being charged", SOON, async || {
        let quota = stage.quotas().get("dev").await?;
        let status = quota.status.unwrap_or_default();
        ensure!(status.allocated.databases == 1 && status.reservations.is_empty());
        Ok(())
    })
    .await
    .unwrap();
    let failed = stage.databases().get("failed").await.unwrap();
    assert_eq!(failed.status.as_ref().unwrap().phase, Some(Phase::Error));
    assert!(failed.is_abandoned(), "it stays so");
    let broken = stage.history.broken_rules("dev").await;
    assert!(broken.is_empty(), "{broken:#?}");
    controller.stop().await;
}

fn within_limits(quota: &DaapQuota) -> bool {
    condition::is_true(
        &quota.status.as_ref().unwrap().conditions,
        condition::WITHIN_LIMITS,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_admitted_in_order_when_there_is_room() {
    let stage = Stage::start("order").await;
    let looks: Arc<Mutex<Vec<String>>> = Arc::default();
    let look = Arc::clone(&looks);
    let controller = stage.controller_with(
        "daap-controller",
        move |asked| {
            look.lock().unwrap().push(asked.path.to_owned());
            Fault::None
        },
        Surroundings::default(),
    );
    stage.create_quota("dev", json!({"databases": 1})).await;
    stage.create_tier("dev", |_| ()).await;
    stage.ask("first", "dev").await;
    stage.await_settled("dev", 1).await;
    // Within the same second, and not in the order of their names.
    for name in ["zeta", "epsilon", "beta"] {
        stage.ask(name, "dev").await;
    }
    for name in ["zeta", "epsilon", "beta"] {
        let waiting = await_database(&stage, name, "saying that it waits", waits).await;
        let conditions = &waiting.status.as_ref().unwrap().conditions;
        let admitted = condition::find(conditions, condition::ADMITTED).unwrap();
        assert_eq!(
            (&*admitted.status, &*admitted.reason),
            ("False", "QuotaExceeded")
        );
        let problem = waiting.status.unwrap().problem.unwrap();
        assert!(problem.message.contains("databases"), "{}", problem.message);
    }
    let looked_for = |name: &str| {
        let child = format!("/clusters/{name}");
        looks
            .lock()
            .unwrap()
            .iter()
            .any(|path| path.ends_with(&child))
    };
    assert!(looked_for("first"));
    assert!(!looked_for("zeta"), "nothing was made for who waits");

    stage
        .databases()
        .delete("first", &DeleteParams::default())
        .await
        .unwrap();
    await_database(&stage, "zeta", "being admitted", |one| {
        one.spec.tier_revision.is_some()
    })
    .await;
    stage.await_settled("dev", 1).await;

    stage.change_limits("dev", json!({"databases": 2})).await;
    await_database(&stage, "epsilon", "being admitted", |one| {
        one.spec.tier_revision.is_some()
    })
    .await;
    stage.await_settled("dev", 2).await;

    // Lower than what is allocated: nothing is taken away, nothing is admitted, and it is said.
    stage.change_limits("dev", json!({"databases": 1})).await;
    let exceeded = stage.await_settled("dev", 2).await;
    assert!(!within_limits(&exceeded));
    stage.change_limits("dev", json!({"databases": null})).await;
    assert!(within_limits(&stage.await_settled("dev", 3).await));
    stage.remove_all("dev").await;
    let broken = stage.history.broken_rules("dev").await;
    assert!(broken.is_empty(), "{broken:#?}");
    controller.stop().await;
}

/// A tier without a quota gets one without limits, which counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_tier_without_a_quota_is_counted_all_the_same() {
    let stage = Stage::start("unlimited").await;
    let controller = stage.controller("daap-controller");
    stage.create_tier("dev", |_| ()).await;
    stage.ask("orders", "dev").await;
    let quota = stage.await_settled("dev", 1).await;
    assert_eq!(quota.spec, Default::default());
    assert_eq!(allocated(&quota), [1, 100, 256, 1024]);
    stage
        .quotas()
        .delete("dev", &DeleteParams::default())
        .await
        .unwrap();
    stage.ask("another", "dev").await;
    let again = stage.await_settled("dev", 2).await;
    assert_ne!(
        again.uid(),
        quota.uid(),
        "a removed one is made anew, and counts what there is"
    );
    controller.stop().await;
}
