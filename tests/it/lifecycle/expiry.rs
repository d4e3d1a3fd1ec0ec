//! What is archived is purged when its time is over, and not before, by a clock that the test moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use daap_crds::{
    DaapDatabase, Phase,
    cnpg::{Cluster, ObjectStore},
    label,
};
use daap_tests::cluster::wait;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    Act,
    stage::{Stage, beginning, well},
};
use crate::world::SOON;

/// A stage on which the database `copy` does not come up before it is let.
async fn stage_with_gate(name: &str) -> (Stage, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let script = move |cluster: &Cluster| -> Value {
        if cluster.name_any() == "copy" && !opened.load(Ordering::SeqCst) {
            beginning(cluster)
        } else {
            well(cluster)
        }
    };
    let mut stage = Stage::start(name, script).await;
    // So that what the clock says is noticed by itself.
    stage.settings = |settings| settings.resync_interval = Duration::from_secs(2);
    (stage, gate)
}

fn waits_for_reader(database: &DaapDatabase) -> bool {
    let status = database.status.as_ref();
    let operation = status.and_then(|status| status.operation.as_ref());
    operation.is_some_and(|operation| {
        let message = operation.message.as_deref().unwrap_or_default();
        operation.step == "Purge" && message.contains("copy")
    })
}

/// Archives are kept for 30 days here.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_purged_when_its_time_is_over_and_nobody_reads_it() {
    let (stage, gate) = stage_with_gate("expiry").await;
    let (world, archives) = (&stage.world, &stage.archives);
    stage
        .prepare(&["old".to_owned(), "young".to_owned()], "archive")
        .await;
    let controller = stage.controller(None);
    Act::Archive.ask(&stage, "old").await;
    let old = world.await_phase("old", Phase::Archived).await;
    stage.clock.move_ahead(20 * 24);
    Act::Archive.ask(&stage, "young").await;
    world.await_phase("young", Phase::Archived).await;
    let untouched = stage.settled_state("young").await;
    assert!(archives.left(&old.uid().unwrap()) > 0);

    // An hour before the end of the old one, somebody begins to restore from it.
    stage.clock.move_ahead(10 * 24 - 1);
    stage.restore("copy", "old").await;
    stage.await_step("copy", "Recover").await;
    assert_eq!(
        world
            .await_phase("old", Phase::Archived)
            .await
            .status
            .unwrap()
            .operation
            .unwrap()
            .kind,
        daap_crds::database::OperationKind::Archive,
        "it is before its time"
    );
    stage.clock.move_ahead(2);
    let held = world
        .await_database("old", "waiting for its reader", waits_for_reader)
        .await;
    assert_eq!(held.status.as_ref().unwrap().phase, Some(Phase::Archived));
    assert!(held.annotations().contains_key(label::READERS));
    assert!(archives.left(&old.uid().unwrap()) > 0);

    gate.store(true, Ordering::SeqCst);
    touch_cluster(&stage, "copy").await;
    world.await_phase("copy", Phase::Ready).await;
    world.await_phase("old", Phase::Deleted).await;
    assert_eq!(archives.left(&old.uid().unwrap()), 0);
    assert_eq!(stage.settled_state("young").await, untouched);
    stage.await_charges("archive").await;
    controller.end().await;
    stage.guard.assert_nothing_seen();
}

/// What a live database backed up expires, but for as long as another is restored from it.
#[tokio::test(flavor = "multi_thread")]
async fn backups_of_a_live_source_stay_while_they_are_read() {
    let (stage, gate) = stage_with_gate("read").await;
    stage.prepare(&["live".to_owned()], "archive").await;
    let controller = stage.controller(None);
    let before = stage.settled_state("live").await;
    await_expiring(&stage, true).await;
    stage.restore("copy", "live").await;
    stage.await_step("copy", "Recover").await;
    await_expiring(&stage, false).await;
    gate.store(true, Ordering::SeqCst);
    touch_cluster(&stage, "copy").await;
    stage.world.await_phase("copy", Phase::Ready).await;
    await_expiring(&stage, true).await;
    assert_eq!(stage.settled_state("live").await, before);
    controller.end().await;
}

/// Waits until the backups of `live` expire and nobody is told to read them, or the contrary.
async fn await_expiring(stage: &Stage, expiring: bool) {
    wait::until("the backups' end", SOON, async || -> Result<()> {
        let live = stage.world.databases().get("live").await?;
        let is_marked = live.annotations().contains_key(label::READERS);
        let store = stage.api::<ObjectStore>().get("live-store").await?;
        let retention = store.spec.retention_policy;
        ensure!(
            is_marked != expiring && retention.is_some() == expiring,
            "marked {is_marked}, kept for {retention:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
}

/// Has the script look at a Cluster again, as soon as there is one.
async fn touch_cluster(stage: &Stage, name: &str) {
    let clusters = stage.api::<Cluster>();
    let touched = Patch::Merge(json!({"metadata": {"annotations": {"touched": "true"}}}));
    wait::until("a Cluster to touch", SOON, async || {
        Ok(clusters
            .patch(name, &PatchParams::default(), &touched)
            .await?)
    })
    .await
    .unwrap();
}
