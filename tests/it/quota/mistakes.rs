//! Each guard is needed: with a mistake in its place, a rule breaks; without one, in the same scene, none does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use daap_controller::{
    Surroundings,
    quota::bookkeeping::{Bookkeeping, Exact},
};
use daap_crds::{DaapTierSpec, Phase, cost::Cost};
use daap_tests::{
    cluster::wait,
    faulty_client::{Asked, Fault},
};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::stage::{Controller, Stage, mistaken};
use crate::world::SOON;

/// How late the second leader is.
const LATE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "provokes races, which a busy machine does not always grant; `make campaign` runs it"]
async fn every_mistake_is_noticed() {
    let stage = Stage::start("mistakes").await;
    for mistake in [false, true] {
        let scene = |what: &str| format!("{what}-{mistake}");
        let found = [
            compare_and_swap(&stage, &scene("swap"), mistake).await,
            stale_list(&stage, &scene("list"), mistake).await,
            fence(&stage, &scene("fence"), mistake).await,
            pooler(&stage, &scene("pooler"), mistake).await,
            freeze(&stage, &scene("freeze"), mistake).await,
        ];
        for (what, broken) in ["swap", "list", "fence", "pooler", "freeze"]
            .iter()
            .zip(&found)
        {
            assert_eq!(!broken.is_empty(), mistake, "{what}: {broken:#?}");
        }
    }
}

/// Two leaders, one of whom writes late: what he writes was decided before the other's writes.
async fn compare_and_swap(stage: &Stage, tier: &str, mistake: bool) -> Vec<String> {
    let leading: [Arc<AtomicBool>; 2] = Default::default();
    let [one, other] = leading.clone();
    let punctual = move |asked: Asked<'_>| {
        one.fetch_or(asked.watches_databases(), Ordering::SeqCst);
        Fault::None
    };
    let late = move |asked: Asked<'_>| {
        other.fetch_or(asked.watches_databases(), Ordering::SeqCst);
        match (asked.writes_quota_status(), mistake) {
            (false, _) => Fault::None,
            (true, true) => Fault::Unconditional(LATE),
            (true, false) => Fault::Late(LATE),
        }
    };
    let plain = Surroundings::default;
    let controllers = [
        stage.controller_with(&format!("{tier}-one"), punctual, plain()),
        stage.controller_with(&format!("{tier}-other"), late, plain()),
    ];
    // Before anything is written, so that neither fences the other.
    wait::until("both leading", SOON, async || {
        anyhow::ensure!(leading.iter().all(|leads| leads.load(Ordering::SeqCst)));
        Ok(())
    })
    .await
    .unwrap();
    // Room for all of them: whoever is awake admits, and the late one's account is always older than what is bound.
    stage.create_quota(tier, json!({"databases": 100})).await;
    stage.offer_tier(tier, |_| ()).await;
    trickle(stage, tier, 40).await;
    finish(stage, tier, controllers).await
}

/// Every second list is the first one there ever was: as from an API server that has heard nothing since.
async fn stale_list(stage: &Stage, tier: &str, mistake: bool) -> Vec<String> {
    let stale = move |asked: Asked<'_>| {
        if mistake && asked.lists_databases() {
            Fault::StaleAnswer
        } else {
            Fault::None
        }
    };
    let controller = stage.controller_with(tier, stale, Surroundings::default());
    create_few(stage, tier, |_| ()).await;
    trickle(stage, tier, 20).await;
    finish(stage, tier, [controller]).await
}

struct Unfenced;

impl Bookkeeping for Unfenced {
    fn may_write(&self, _: i64, _: i64) -> bool {
        true
    }
}

/// A leader who does not know that he was deposed, and his successor.
async fn fence(stage: &Stage, tier: &str, mistake: bool) -> Vec<String> {
    let writes = AtomicUsize::new(0);
    // Each is the faster one now and then.
    let uneven = move |asked: Asked<'_>| {
        if asked.writes_quota_status() && writes.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            Fault::Late(LATE)
        } else {
            Fault::None
        }
    };
    let surroundings = if mistake {
        mistaken(Unfenced)
    } else {
        mistaken(Exact)
    };
    let deposed = stage.controller_with(&format!("{tier}-deposed"), uneven, surroundings);
    create_few(stage, tier, |_| ()).await;
    stage.ask(&format!("{tier}-first"), tier).await;
    stage.await_settled(tier, 1).await;
    let epoch = stage
        .quotas()
        .get(tier)
        .await
        .unwrap()
        .status
        .unwrap()
        .lease_epoch;
    let successor = stage.controller(&format!("{tier}-successor"));
    for index in 0..100 {
        stage.ask(&format!("{tier}-{index}"), tier).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = stage.quotas().get(tier).await.unwrap().status.unwrap();
        if index >= 20 && status.lease_epoch > epoch {
            break;
        }
    }
    finish(stage, tier, [deposed, successor]).await
}

struct WithoutPooler;

impl Bookkeeping for WithoutPooler {
    fn cost(&self, revision: &DaapTierSpec) -> Option<Cost> {
        let pooling = None;
        Cost::of(&DaapTierSpec {
            pooling,
            ..revision.clone()
        })
    }
}

async fn pooler(stage: &Stage, tier: &str, mistake: bool) -> Vec<String> {
    let surroundings = if mistake {
        mistaken(WithoutPooler)
    } else {
        mistaken(Exact)
    };
    let controller = stage.controller_with(tier, |_| Fault::None, surroundings);
    create_few(stage, tier, |spec| {
        spec["pooling"] =
            json!({"mode": "Session", "maxClientConnections": 100, "defaultPoolSize": 10, "instances": 2});
    })
    .await;
    stage.ask(&format!("{tier}-one"), tier).await;
    stage.await_settled(tier, 1).await;
    finish(stage, tier, [controller]).await
}

struct FreeWhenFrozen;

impl Bookkeeping for FreeWhenFrozen {
    fn is_charged(&self, phase: Phase) -> bool {
        phase != Phase::Frozen && Exact.is_charged(phase)
    }
}

async fn freeze(stage: &Stage, tier: &str, mistake: bool) -> Vec<String> {
    let surroundings = if mistake {
        mistaken(FreeWhenFrozen)
    } else {
        mistaken(Exact)
    };
    let controller = stage.controller_with(tier, |_| Fault::None, surroundings);
    create_few(stage, tier, |_| ()).await;
    let frozen = format!("{tier}-frozen");
    stage.ask(&frozen, tier).await;
    stage.await_settled(tier, 1).await;
    let phase = Patch::Merge(json!({"status": {"phase": "frozen"}}));
    stage
        .databases()
        .patch_status(&frozen, &PatchParams::default(), &phase)
        .await
        .unwrap();
    stage.ask(&format!("{tier}-another"), tier).await;
    wait::until("the other one being admitted", SOON, async || {
        anyhow::ensure!(stage.admitted(tier).await.len() == 2);
        Ok(())
    })
    .await
    .unwrap();
    finish(stage, tier, [controller]).await
}

/// A tier with room for ten.
async fn create_few(stage: &Stage, tier: &str, change: impl FnOnce(&mut serde_json::Value)) {
    stage.create_quota(tier, json!({"databases": 10})).await;
    stage
        .offer_tier(tier, |object| change(&mut object["spec"]))
        .await;
}

/// Some databases, one after another.
async fn trickle(stage: &Stage, tier: &str, count: usize) {
    for index in 0..count {
        stage.ask(&format!("{tier}-{index}"), tier).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// What was broken, when nothing happens any more. With a mistake there may never be rest, so that is not asked for.
async fn finish<const N: usize>(
    stage: &Stage,
    tier: &str,
    controllers: [Controller; N],
) -> Vec<String> {
    let mut before = None;
    wait::until("the quota coming to rest", SOON, async || {
        tokio::time::sleep(3 * LATE).await;
        let now = stage.quotas().get(tier).await?.resource_version();
        anyhow::ensure!(now.is_some() && now == std::mem::replace(&mut before, now.clone()));
        Ok(())
    })
    .await
    .ok();
    for controller in controllers {
        controller.kill().await;
    }
    stage.history.broken_rules(tier).await
}
