//! Who is admitted when: in order, as soon as there is room, passing over what does not fit.

use anyhow::{Result, ensure};
use daap_crds::{DaapDatabase, DaapQuota, DaapTier, condition, database::Verdict, reason::Reason};
use daap_tests::cluster::wait;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use super::{history::allocated, stage::Stage};
use crate::world::SOON;

async fn await_database(
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

fn waits(database: &DaapDatabase) -> bool {
    let status = database.status.as_ref();
    status
        .and_then(|status| status.admission.as_ref())
        .is_some_and(|said| said.verdict == Verdict::Waiting)
        && status
            .and_then(|status| status.problem.as_ref())
            .is_some_and(|problem| problem.reason == Reason::QuotaExceeded)
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
    let controller = stage.controller("daap-controller");
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

/// Two sizes of one tier, a database restored from one of the larger size, limits that move, and databases that change
/// hands between the sizes: never over, and everybody in who fits.
#[tokio::test(flavor = "multi_thread")]
async fn mixed_sizes_and_moving_limits_stay_exact() {
    let stage = Stage::start("mixed").await;
    let controllers = [stage.controller("one"), stage.controller("other")];
    stage
        .create_quota("dev", json!({"cpu": "2", "storage": "40Gi"}))
        .await;
    stage
        .create_tier("dev", |tier| {
            tier["spec"]["compute"]["cpu"] = json!("500m");
            tier["spec"]["storage"]["walSize"] = json!("1Gi");
        })
        .await;
    let large = stage.ask("large", "dev").await;
    let large_revision = await_database(&stage, "large", "being admitted", |one| {
        one.spec.tier_revision.is_some()
    })
    .await
    .spec
    .tier_revision
    .unwrap();

    let tiers: Api<DaapTier> = Api::all(stage.client.clone());
    let smaller =
        Patch::Merge(json!({"spec": {"compute": {"cpu": "300m"}, "storage": {"walSize": null}}}));
    tiers
        .patch("dev", &PatchParams::default(), &smaller)
        .await
        .unwrap();
    wait::until("the tier offering the smaller size", SOON, async || {
        let status = tiers.get("dev").await?.status.unwrap_or_default();
        ensure!(
            status
                .current_revision
                .is_some_and(|name| name != large_revision)
        );
        Ok(())
    })
    .await
    .unwrap();

    // 500m are used. Four of 300m fit (1700m), the restored one of 500m does not, and a sixth does not either.
    let source = json!({"name": "large", "uid": large.uid()});
    for index in 0..4 {
        stage.ask(&format!("small-{index}"), "dev").await;
    }
    stage.await_settled("dev", 5).await;
    stage
        .ask_with("restored", "dev", |database| {
            database["spec"]["restore"] = json!({"source": source})
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
    let restored = await_database(&stage, "restored", "being admitted", |one| {
        one.spec.tier_revision.is_some()
    })
    .await;
    assert_eq!(
        restored.spec.tier_revision.as_deref(),
        Some(&*large_revision)
    );
    let quota = stage.await_settled("dev", 6).await;
    assert_eq!(allocated(&quota)[1], 2200);

    // Limits go up and down while many ask.
    let limits = async {
        for cpu in ["5", "3", "4", "2500m", "6"] {
            stage.change_limits("dev", json!({"cpu": cpu})).await;
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
    };
    let asking = async {
        for index in 0..40 {
            stage.ask(&format!("late-{index}"), "dev").await;
        }
    };
    tokio::join!(limits, asking);
    // (6000 - 2200) / 300 = 12.7; storage: (40 - 2 × 2 - 4) / 1 = 32.
    let quota = stage.await_settled("dev", 6 + 12).await;
    assert_eq!(allocated(&quota), stage.history.recount("dev").await);
    let broken = stage.history.broken_rules("dev").await;
    assert!(broken.is_empty(), "{broken:#?}");
    stage.remove_all("dev").await;
    for controller in controllers {
        controller.stop().await;
    }
}
