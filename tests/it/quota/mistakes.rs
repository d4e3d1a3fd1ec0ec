//! Each guard is needed: with a mistake in its place, a rule breaks; without one, in the same scene, none does.
//!
//! A mistake shows only where things happen in a certain order. That order is made here, with requests that wait at gates
//! until something else has happened, so that a scene ends the same way on every machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use daap_controller::{
    Surroundings,
    quota::{
        bookkeeping::{Bookkeeping, Exact},
        observe::Entry,
    },
};
use daap_crds::{DaapQuotaStatus, DaapTierSpec, Phase, cost::Cost};
use daap_tests::{
    cluster::wait,
    faulty_client::{Asked, Fault, Gate},
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::stage::{Stage, mistaken};
use crate::world::SOON;

/// The tier of every scene.
const TIER: &str = "dev";

/// A stage whose controllers wait at a gate for as long as it takes.
async fn patient_stage(scene: &str, mistake: bool) -> Stage {
    let mut stage = Stage::start(&format!("{scene}-{mistake}")).await;
    stage.api_deadline = Duration::from_secs(600);
    stage
}

/// A tier with room for ten.
async fn offer_ten(stage: &Stage, change: impl FnOnce(&mut serde_json::Value)) {
    stage.create_quota(TIER, json!({"databases": 10})).await;
    stage
        .offer_tier(TIER, |object| change(&mut object["spec"]))
        .await;
}

async fn status(stage: &Stage) -> Result<DaapQuotaStatus> {
    Ok(stage.quotas().get(TIER).await?.status.unwrap_or_default())
}

async fn until(what: &str, condition: impl AsyncFn() -> Result<()>) {
    wait::until(what, SOON, async || condition().await)
        .await
        .unwrap();
}

async fn until_admitted(stage: &Stage, count: usize) {
    until(&format!("{count} being admitted"), async || {
        let admitted = stage.admitted(TIER).await;
        ensure!(admitted.len() == count, "{admitted:?}");
        Ok(())
    })
    .await;
}

/// A rule broke if there was a mistake, and none otherwise.
async fn assert_noticed(stage: &Stage, mistake: bool) {
    let broken = stage.history.broken_rules(TIER).await;
    assert_eq!(!broken.is_empty(), mistake, "{broken:#?}");
}

/// Two leaders: what one of them writes was decided before the other admitted somebody.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_compare_and_swap_is_noticed() {
    for mistake in [false, true] {
        let stage = patient_stage("swap", mistake).await;
        let [punctual, late] = [Gate::opened(), Gate::opened()];
        let leading: [Arc<AtomicBool>; 2] = Default::default();
        let [one, other] = leading.clone();
        let [punctual_gate, late_gate] = [punctual.clone(), late.clone()];
        let punctual_faults = move |asked: Asked<'_>| {
            one.fetch_or(asked.watches_databases(), Ordering::SeqCst);
            if asked.writes_quota_status() {
                Fault::Held(punctual_gate.clone())
            } else {
                Fault::None
            }
        };
        let late_faults = move |asked: Asked<'_>| {
            other.fetch_or(asked.watches_databases(), Ordering::SeqCst);
            match (asked.writes_quota_status(), mistake) {
                (false, _) => Fault::None,
                (true, false) => Fault::Held(late_gate.clone()),
                (true, true) => Fault::Unconditional(late_gate.clone()),
            }
        };
        let controllers = [
            stage.controller_with("punctual", punctual_faults, Surroundings::default()),
            stage.controller_with("late", late_faults, Surroundings::default()),
        ];
        // Before anything is written, so that neither fences the other.
        until("both leading", async || {
            ensure!(leading.iter().all(|leads| leads.load(Ordering::SeqCst)));
            Ok(())
        })
        .await;
        offer_ten(&stage, |_| ()).await;
        stage.await_settled(TIER, 0).await;

        punctual.close();
        late.close();
        stage.ask("first", TIER).await;
        until("the late leader having decided", async || {
            ensure!(late.waiting() > 0);
            Ok(())
        })
        .await;
        punctual.open();
        stage.ask("second", TIER).await;
        until_admitted(&stage, 2).await;
        let answered = late.answered();
        late.open();
        until("the late write being answered", async || {
            ensure!(late.answered() > answered);
            Ok(())
        })
        .await;
        if !mistake {
            stage.await_settled(TIER, 2).await;
        }
        for controller in controllers {
            controller.kill().await;
        }
        assert_noticed(&stage, mistake).await;
    }
}

/// A list is the first one there ever was, as from an API server that has heard nothing since.
#[tokio::test(flavor = "multi_thread")]
async fn a_count_from_a_stale_list_is_noticed() {
    for mistake in [false, true] {
        let stage = patient_stage("list", mistake).await;
        let is_stale: Arc<AtomicBool> = Arc::default();
        let asked_stale = Arc::clone(&is_stale);
        let faults = move |asked: Asked<'_>| match asked.counts_databases() {
            false => Fault::None,
            true if asked_stale.load(Ordering::SeqCst) => Fault::Stale,
            true => Fault::Remembered,
        };
        let controller = stage.controller_with("one", faults, Surroundings::default());
        offer_ten(&stage, |_| ()).await;
        stage.await_settled(TIER, 0).await;
        stage.ask("first", TIER).await;
        stage.await_settled(TIER, 1).await;

        is_stale.store(mistake, Ordering::SeqCst);
        stage.ask("second", TIER).await;
        until("another count", async || {
            ensure!(status(&stage).await?.allocated.databases != 1);
            Ok(())
        })
        .await;
        if !mistake {
            stage.await_settled(TIER, 2).await;
        }
        controller.kill().await;
        assert_noticed(&stage, mistake).await;
    }
}

/// Counts how often a leader finds that he was deposed, and lets him write all the same, if that is the mistake.
struct Fence {
    found: Arc<AtomicUsize>,
    mistake: bool,
}

impl Bookkeeping for Fence {
    fn may_write(&self, own: i64, recorded: i64) -> bool {
        let may_write = Exact.may_write(own, recorded);
        self.found
            .fetch_add(usize::from(!may_write), Ordering::SeqCst);
        may_write || self.mistake
    }
}

/// A leader who does not know that he was deposed, and his successor.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_fence_is_noticed() {
    for mistake in [false, true] {
        let stage = patient_stage("fence", mistake).await;
        let found: Arc<AtomicUsize> = Arc::default();
        let [reads, writes] = [Gate::opened(), Gate::opened()];
        let [reads_gate, writes_gate] = [reads.clone(), writes.clone()];
        let deposed = stage.controller_with(
            "deposed",
            move |asked| match asked.reads_quota() {
                true => Fault::Held(reads_gate.clone()),
                false => Fault::None,
            },
            mistaken(Fence {
                found: Arc::clone(&found),
                mistake,
            }),
        );
        offer_ten(&stage, |_| ()).await;
        stage.ask("first", TIER).await;
        stage.await_settled(TIER, 1).await;
        let epoch = status(&stage).await.unwrap().lease_epoch;

        // He sleeps while his successor takes over.
        reads.close();
        let successor = stage.controller_with(
            "successor",
            move |asked| match asked.writes_quota_status() {
                true => Fault::Held(writes_gate.clone()),
                false => Fault::None,
            },
            Surroundings::default(),
        );
        stage.ask("second", TIER).await;
        stage.await_settled(TIER, 2).await;
        assert!(status(&stage).await.unwrap().lease_epoch > epoch);

        // He wakes up, and is the faster one.
        writes.close();
        stage.ask("third", TIER).await;
        reads.open();
        until("his finding out", async || {
            ensure!(found.load(Ordering::SeqCst) > 0);
            Ok(())
        })
        .await;
        if mistake {
            until_admitted(&stage, 3).await;
        }
        writes.open();
        if !mistake {
            stage.await_settled(TIER, 3).await;
        }
        for controller in [deposed, successor] {
            controller.kill().await;
        }
        assert_noticed(&stage, mistake).await;
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_pooler_is_noticed() {
    for mistake in [false, true] {
        let stage = patient_stage("pooler", mistake).await;
        let surroundings = if mistake {
            mistaken(WithoutPooler)
        } else {
            mistaken(Exact)
        };
        let controller = stage.controller_with("one", |_| Fault::None, surroundings);
        offer_ten(&stage, |spec| {
            spec["pooling"] =
                json!({"mode": "Session", "maxClientConnections": 100, "defaultPoolSize": 10, "instances": 2});
        })
        .await;
        stage.ask("first", TIER).await;
        stage.await_settled(TIER, 1).await;
        controller.kill().await;
        assert_noticed(&stage, mistake).await;
    }
}

struct FreeWhenFrozen;

impl Bookkeeping for FreeWhenFrozen {
    fn is_charged(&self, database: &Entry) -> bool {
        database.phase() != Phase::Frozen && Exact.is_charged(database)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_on_freeze_is_noticed() {
    for mistake in [false, true] {
        let stage = patient_stage("freeze", mistake).await;
        let surroundings = if mistake {
            mistaken(FreeWhenFrozen)
        } else {
            mistaken(Exact)
        };
        let controller = stage.controller_with("one", |_| Fault::None, surroundings);
        offer_ten(&stage, |_| ()).await;
        stage.ask("frozen", TIER).await;
        stage.await_settled(TIER, 1).await;
        let phase = Patch::Merge(json!({"status": {"phase": "frozen"}}));
        stage
            .databases()
            .patch_status("frozen", &PatchParams::default(), &phase)
            .await
            .unwrap();
        stage.ask("another", TIER).await;
        until_admitted(&stage, 2).await;
        until("the count after it", async || {
            ensure!(status(&stage).await?.reservations.is_empty());
            Ok(())
        })
        .await;
        controller.kill().await;
        assert_noticed(&stage, mistake).await;
    }
}
