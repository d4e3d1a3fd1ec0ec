//! Which way a database goes, and how an operation goes on.

use daap_crds::{cnpg::Backup, database::Fence, reason::Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    super::plan::{Assessment, Deed, Health, Trouble},
    advance::{Finding, Progress, advance},
    deed::{Stage, deed},
    settle::settle,
    *,
};
use crate::{
    database::observe::{Observed, Source, SourceLookup},
    fixtures::{at, database, from_yaml, settings, settled, tier_spec, with_cluster},
    k8s::client::Lookup,
};

fn destroyed(status: &str) -> DaapDatabase {
    let mut database = database();
    database.spec.state = State::Destroyed;
    database.status = Some(from_yaml(status));
    database
}

fn forced(mut database: DaapDatabase, strategy: &str) -> DaapDatabase {
    database.spec.destruction = Some(from_yaml(&format!("{{strategy: {strategy}, reason: why}}")));
    database
}

/// A course in words.
fn told(course: &Course) -> String {
    match course {
        Course::Run(operation) => format!("{:?} {}", operation.kind, operation.step),
        Course::Cancel(operation) => format!("cancel {:?}", operation.kind),
        other => format!("{other:?}"),
    }
}

/// The whole table, so that a change of a rule shows as a change of a line.
#[test]
fn courses() {
    let strategies = [Strategy::Freeze, Strategy::Archive, Strategy::Hard];
    let mut table = Vec::new();
    for phase in Phase::ALL {
        for strategy in strategies {
            let database = destroyed(&format!("phase: {phase}"));
            let with = told(&course(&database, strategy, true, at(0)));
            let without = told(&course(&database, strategy, false, at(0)));
            table.push(format!(
                "{phase} {strategy:?}: {with}; without data: {without}"
            ));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn what_is_wanted_is_served() {
    let active = |phase: &str| {
        let mut database = database();
        database.status = Some(from_yaml(&format!("phase: {phase}")));
        told(&course(&database, Strategy::Freeze, true, at(0)))
    };
    for phase in ["provisioning", "ready", "error"] {
        assert_eq!(active(phase), "Serve");
    }
    assert_eq!(active("frozen"), "Unfreeze Wake");
    assert_eq!(active("archived"), "Rest(Archived)");
}

/// A deleted object destroys its data only where the tier does.
#[test]
fn a_deleted_object_of_a_tier_that_freezes_is_served_on() {
    let mut database = database();
    database.metadata.deletion_timestamp = Some(Time(at(0)));
    assert_eq!(
        course(&database, Strategy::Freeze, true, at(0)),
        Course::Serve
    );
    assert_eq!(
        told(&course(&database, Strategy::Archive, true, at(0))),
        "Archive TryArchive"
    );
}

fn running(kind: &str, step: &str, cancellable: bool) -> String {
    format!(
        "
        phase: ready
        operation:
          {{id: 0c0e7c1e-2d1f-4d0a-9c6e-0a6f1c2d3e4f, kind: {kind}, step: {step}, since: '2027-01-15T08:00:00Z',
            startedAt: '2027-01-15T08:00:00Z', cancellable: {cancellable},
            steps: [{{name: {step}, startedAt: '2027-01-15T08:00:00Z'}}]}}
        "
    )
}

#[test]
fn an_operation_goes_on_until_something_else_is_wanted() {
    let archiving = destroyed(&running("Archive", "Verify", true));
    assert_eq!(
        told(&course(&archiving, Strategy::Archive, true, at(0))),
        "Archive Verify"
    );
    let mut active = archiving.clone();
    active.spec.state = State::Active;
    assert_eq!(
        told(&course(&active, Strategy::Archive, true, at(0))),
        "cancel Archive"
    );
    assert_eq!(
        told(&course(
            &forced(archiving, "Hard"),
            Strategy::Archive,
            true,
            at(0)
        )),
        "cancel Archive"
    );

    let deleting = destroyed(&running("Archive", "DeleteCluster", false));
    let mut active = deleting.clone();
    active.spec.state = State::Active;
    for database in [deleting.clone(), active, forced(deleting, "Freeze")] {
        assert_eq!(
            told(&course(&database, Strategy::Archive, true, at(0))),
            "Archive DeleteCluster"
        );
    }
}

#[test]
fn an_archive_is_purged_when_its_time_is_over() {
    let mut archived = destroyed("phase: archived");
    archived.status.as_mut().unwrap().archived_until = Some(Time(at(100)));
    assert_eq!(
        course(&archived, Strategy::Archive, true, at(99)),
        Course::Rest(Phase::Archived)
    );
    assert_eq!(
        told(&course(&archived, Strategy::Archive, true, at(100))),
        "Purge RemoveChildren"
    );
}

#[test]
fn an_operation_has_the_id_that_was_asked_for_once() {
    let asked = "0c0e7c1e-2d1f-4d0a-9c6e-0a6f1c2d3e4f";
    let mut database = destroyed("phase: ready");
    database
        .annotations_mut()
        .insert(label::OPERATION.into(), asked.into());
    let id = |database: &DaapDatabase, strategy| match course(database, strategy, true, at(0)) {
        Course::Run(operation) => operation.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(id(&database, Strategy::Freeze), asked);
    // The annotation is still there when the next ones begin.
    let frozen = |database: &DaapDatabase| {
        let Course::Run(mut operation) = course(database, Strategy::Freeze, true, at(0)) else {
            panic!("one begins")
        };
        operation.result = Some(OperationResult::Succeeded);
        let mut database = database.clone();
        database.status = Some(from_yaml("phase: frozen"));
        database.status.as_mut().unwrap().operation = Some(operation);
        database
    };
    let mut database = frozen(&database);
    database.spec.state = State::Active;
    let next = id(&database, Strategy::Freeze);
    assert_ne!(next, asked);
    assert_eq!(
        next,
        id(&database, Strategy::Freeze),
        "a crash changes nothing"
    );
    let mut woken = frozen(&database);
    woken.status.as_mut().unwrap().phase = Some(Phase::Ready);
    woken.spec.state = State::Destroyed;
    let third = id(&woken, Strategy::Freeze);
    assert!(third != asked && third != next, "an id is given once");
}

#[test]
fn a_restored_database_is_restored_once() {
    let mut restored = database();
    restored.spec.restore = Some(from_yaml("source: {name: ledger, uid: some-uid}"));
    assert_eq!(
        told(&course(&restored, Strategy::Hard, false, at(0))),
        "Restore ClaimSource"
    );
    // Frozen before it began, it is still to be restored: an empty one would take its place.
    restored.status = Some(from_yaml("phase: frozen"));
    assert_eq!(
        told(&course(&restored, Strategy::Freeze, false, at(0))),
        "Restore ClaimSource"
    );
    restored.status = settled(tier_spec()).database.status;
    assert_eq!(
        course(&restored, Strategy::Hard, true, at(0)),
        Course::Serve
    );
}

/// A database whose restore failed for good is never served again, whatever was its last operation, and is destroyed in one
/// way: nothing is there to be kept.
#[test]
fn an_abandoned_database_is_only_removed() {
    let mut abandoned = database();
    abandoned.spec.restore = Some(from_yaml("source: {name: ledger, uid: some-uid}"));
    let mut status = settled(tier_spec()).database.status.unwrap();
    status.phase = Some(Phase::Error);
    status.abandoned_at = Some(Time(at(0)));
    abandoned.status = Some(status);
    for strategy in [Strategy::Freeze, Strategy::Archive, Strategy::Hard] {
        let told = |database: &DaapDatabase| told(&course(database, strategy, true, at(0)));
        assert_eq!(told(&abandoned), "Unrestorable");
        let mut destroyed = abandoned.clone();
        destroyed.spec.state = State::Destroyed;
        assert_eq!(told(&destroyed), "Hard RemoveChildren");
        let mut leaving = abandoned.clone();
        leaving.metadata.deletion_timestamp = Some(Time(at(0)));
        assert_eq!(told(&leaving), "Hard RemoveChildren");
        // Once begun it goes on, also when it is wanted back.
        let running = running("Hard", "RemoveChildren", false);
        let running: daap_crds::DaapDatabaseStatus = from_yaml(&running);
        for mut database in [destroyed, abandoned.clone()] {
            let status = database.status.as_mut().unwrap();
            status.operation.clone_from(&running.operation);
            assert_eq!(told(&database), "Hard RemoveChildren");
        }
    }
}

/// A destruction waits for what a failed restore removes, and so finds nothing half removed.
#[test]
fn a_restore_that_is_taken_down_is_not_called_off() {
    let at_step = |step| {
        let database = destroyed(&running("Restore", step, false));
        told(&course(&database, Strategy::Archive, true, at(0)))
    };
    assert_eq!(at_step("Recover"), "cancel Restore");
    for step in ["DeleteCluster", "AwaitGone", "RemoveChildren"] {
        assert_eq!(at_step(step), format!("Restore {step}"));
    }
}

/// The destruction of what was never initialised is what an archive comes to: it is not called off for not being one.
#[test]
fn what_holds_nothing_is_removed_in_one_go() {
    let removing = destroyed(&running("Hard", "Quiesce", true));
    let told = |holds_data| told(&course(&removing, Strategy::Archive, holds_data, at(0)));
    assert_eq!(told(false), "Hard Quiesce");
    assert_eq!(told(true), "cancel Hard");
}

/// An operation of a database that is settled, at a step since second 0, found so at second `now`.
struct Scene {
    observed: Observed,
    operation: Operation,
    now: i64,
}

impl Scene {
    fn at(kind: OperationKind, step: Step) -> Self {
        let id = "0c0e7c1e-2d1f-4d0a-9c6e-0a6f1c2d3e4f".to_owned();
        Self {
            observed: settled(tier_spec()),
            operation: begin(id, kind, step, None, at(0)),
            now: 0,
        }
    }

    fn after(mut self, seconds: i64) -> Self {
        self.now = seconds;
        self
    }

    fn step(&self) -> Step {
        Step::parse(&self.operation.step).unwrap()
    }

    fn deed(&self) -> Deed {
        let spec = tier_spec();
        let settings = settings();
        let stage = Stage::new(
            &self.observed,
            &spec,
            &settings,
            &self.operation,
            at(self.now),
        );
        deed(&stage, self.step())
    }

    fn advance(&self, finding: Finding) -> Progress {
        self.advance_at(self.now, finding)
    }

    fn advance_at(&self, second: i64, finding: Finding) -> Progress {
        let spec = tier_spec();
        let settings = settings();
        let stage = Stage::new(
            &self.observed,
            &spec,
            &settings,
            &self.operation,
            at(second),
        );
        advance(&stage, self.step(), finding)
    }
}

fn fence(second: i64) -> Fence {
    Fence {
        time: MicroTime(at(second)),
        segment: "000000010000000000000007".into(),
    }
}

#[test]
fn a_fence_counts_when_it_is_archived() {
    let mut scene = Scene::at(OperationKind::Archive, Step::Fence);
    let fenced = scene.advance(Finding::Fenced(fence(3)));
    assert_eq!(fenced.archived, None);
    assert_eq!(fenced.operation.step, "AwaitFence");
    scene.operation = fenced.operation;
    let archived = scene.advance(Finding::Done);
    assert_eq!(archived.archived, Some(fence(3)));
    assert_eq!(archived.operation.step, "FinalBackup");
}

/// A login that began before the lockout may end after it, and write: it is waited for.
#[test]
fn an_archive_waits_for_logins_under_way() {
    let step = |kind, second| {
        let scene = Scene::at(kind, Step::EndSessions).after(second);
        scene.advance(Finding::Done).operation.step
    };
    assert_eq!(step(OperationKind::Archive, 16), "EndSessions");
    assert_eq!(step(OperationKind::Archive, 17), "Fence");
    // The data of a freeze stay, whenever they were written.
    assert_eq!(step(OperationKind::Freeze, 0), "Fence");
}

/// A freeze that ends without a fence is not taken for one that was fenced by the freeze before it: an archive of it would
/// lose what was committed between the two.
#[test]
fn a_freeze_forgets_the_fence_before_it() {
    let spec = tier_spec();
    let settings = settings();
    let mut scene = Scene::at(OperationKind::Freeze, Step::Quiesce);
    let status = scene.observed.database.status.as_mut().unwrap();
    status.incarnations[0].fence = Some(fence(-100));
    status.backup = Some(from_yaml(
        "{configured: true, restorableUntil: '2027-01-15T07:58:20.000000Z'}",
    ));
    let settled_at = |scene: &Scene, finding| {
        let stage = Stage::new(&scene.observed, &spec, &settings, &scene.operation, at(0));
        let status = scene.observed.database.status.clone().unwrap();
        let assessment = Assessment {
            incarnations: status.incarnations,
            backup: status.backup,
            ..assessed()
        };
        settle(assessment, &stage, scene.advance(finding), "unused")
    };
    let begun = settled_at(&scene, Finding::Done);
    assert_eq!(begun.incarnations[0].fence, None);
    // What can be restored can still be.
    assert_eq!(
        begun.backup.unwrap().restorable_until,
        Some(fence(-100).time)
    );

    scene.operation = begin(
        "id".into(),
        OperationKind::Freeze,
        Step::AwaitFence,
        None,
        at(0),
    );
    scene.operation.fence = Some(fence(3));
    let fenced = settled_at(&scene, Finding::Done);
    assert_eq!(fenced.incarnations[0].fence, Some(fence(3)));
    assert_eq!(fenced.backup.unwrap().restorable_until, Some(fence(3).time));
}

/// An assessment of nothing in particular.
fn assessed() -> Assessment {
    Assessment {
        admission: None,
        health: Health::Serving,
        trouble: None,
        facts: Vec::new(),
        incarnations: Vec::new(),
        connectable: true,
        pooled: true,
        backup: None,
        operation: None,
        archived_until: None,
        abandoned_at: None,
        look_again: None,
    }
}

/// A segment of a primary that is none any more may never be archived.
#[test]
fn a_fence_that_does_not_arrive_is_made_anew() {
    let scene = Scene::at(OperationKind::Archive, Step::AwaitFence);
    let early = scene.advance(Finding::NotYet("no".into()));
    assert_eq!(early.operation.step, "AwaitFence");
    let late = Scene::at(OperationKind::Archive, Step::AwaitFence).after(61);
    let progress = late.advance(Finding::NotYet("no".into()));
    assert_eq!(progress.operation.step, "Fence");
    assert_eq!(progress.operation.message.as_deref(), Some("no"));
}

/// However long its archive is broken, an archive that nobody forces removes nothing.
#[test]
fn an_archive_waits_for_ever() {
    for step in [
        Step::TryArchive,
        Step::AwaitArchive,
        Step::LockOut,
        Step::EndSessions,
        Step::Fence,
        Step::AwaitFence,
        Step::FinalBackup,
        Step::Verify,
        Step::VerifyAsleep,
    ] {
        let scene = Scene::at(OperationKind::Archive, step).after(1_000_000);
        for finding in [
            Finding::NotYet("no".into()),
            Finding::Failed("no".into()),
            Finding::Incomplete("no".into()),
            Finding::GaveUp(Trouble::new(Reason::Unsupported, "no")),
        ] {
            let operation = scene.advance(finding).operation;
            assert!(
                Step::parse(&operation.step).unwrap().is_cancellable(),
                "{step}"
            );
            assert_eq!(operation.result, None, "{step}");
        }
    }
}

/// What is lost by force is in the receipt.
#[test]
fn a_forced_archive_goes_on_and_says_what_is_lost() {
    let mut scene = Scene::at(OperationKind::Archive, Step::AwaitArchive).after(121);
    scene.operation.reason = Some("the bucket is gone for good".into());
    let operation = scene.advance(Finding::NotYet("no".into())).operation;
    assert_eq!(operation.step, "DeleteCluster");
    assert_eq!(operation.receipt[0].kind, "Lost");
    assert!(!operation.cancellable);
}

/// A freeze does not depend on the archive: the data stays where it is.
#[test]
fn a_freeze_ends_without_an_archive() {
    let late = |step| {
        let scene = Scene::at(OperationKind::Freeze, step).after(121);
        scene.advance(Finding::Failed("no".into())).operation.step
    };
    assert_eq!(late(Step::AwaitFence), "Hibernate");
    assert_eq!(late(Step::Fence), "Hibernate");
    assert_eq!(late(Step::LockOut), "Isolate");
    assert_eq!(late(Step::Hibernate), "Isolate");
}

#[test]
fn a_last_backup_is_named_before_it_is_made() {
    let mut scene = Scene::at(OperationKind::Archive, Step::FinalBackup);
    assert!(matches!(scene.deed(), Deed::Proceed));
    scene.operation = scene.advance(Finding::Done).operation;
    assert_eq!(
        scene.operation.backup.as_deref(),
        Some("orders-last-0c0e7c1e-0")
    );
    assert_eq!(scene.operation.step, "FinalBackup");
    let Deed::Back(backup) = scene.deed() else {
        panic!("it is made")
    };
    let played = |phase: &str| Backup {
        status: Some(from_yaml(&format!("phase: {phase}"))),
        ..(*backup).clone()
    };
    scene.observed.children.backups = vec![played("failed")];
    assert!(matches!(scene.deed(), Deed::GiveUp(_)));
    let again = scene
        .advance(Finding::GaveUp(Trouble::new(Reason::Unsupported, "no")))
        .operation;
    assert_eq!(
        (again.backup, again.attempts),
        (None, 1),
        "and then another one"
    );
    scene.observed.children.backups = vec![played("completed")];
    assert!(matches!(scene.deed(), Deed::Settle));
}

/// Only the Cluster that was written down is removed.
#[test]
fn a_cluster_of_somebody_else_stays() {
    let mut scene = Scene::at(OperationKind::Hard, Step::DeleteCluster);
    // First it is written down, so that the receipt names it also after a crash.
    let Deed::List(taken) = scene.deed() else {
        panic!("it is written down")
    };
    scene.operation = scene.advance(Finding::Listed(taken)).operation;
    assert_eq!(scene.operation.receipt[0].name, "orders");
    assert!(matches!(scene.deed(), Deed::Remove(_)));
    let Lookup::Found(cluster) = &mut scene.observed.children.cluster else {
        panic!("there is one")
    };
    cluster.metadata.uid = Some("another".into());
    assert!(matches!(scene.deed(), Deed::Proceed));
}

/// Frozen says that the data is there: what vanished is not frozen, and what never was is.
#[test]
fn a_freeze_without_a_cluster() {
    for step in [Step::LockOut, Step::Hibernate, Step::Isolate] {
        let mut scene = Scene::at(OperationKind::Freeze, step);
        scene.observed.children.cluster = Lookup::Absent;
        assert!(matches!(scene.deed(), Deed::Wait(_)), "{step}");
        scene
            .observed
            .database
            .status
            .as_mut()
            .unwrap()
            .incarnations
            .clear();
        assert!(matches!(scene.deed(), Deed::Proceed), "{step}");
    }
}

/// Pods and volumes are found by the name of a Cluster, which may be somebody else's by now.
#[test]
fn the_volumes_of_somebody_else_are_not_waited_for() {
    let mut scene = Scene::at(OperationKind::Hard, Step::AwaitGone);
    let volume =
        |labels: &str| from_yaml(&format!("metadata: {{name: orders-1, labels: {labels}}}"));
    let own = format!("{{{}: {}}}", label::DATABASE_UID, crate::fixtures::UID);
    scene.observed.children.cluster = Lookup::Absent;
    scene.observed.symptoms.volumes = vec![volume("{}")];
    assert!(
        matches!(scene.deed(), Deed::Wait(_)),
        "whose else could it be"
    );
    scene.observed.children.cluster = Lookup::Found(from_yaml(
        "{metadata: {name: orders, uid: other}, spec: {}}",
    ));
    assert!(matches!(scene.deed(), Deed::Proceed));
    scene.observed.symptoms.volumes = vec![volume("{}"), volume(&own)];
    assert!(matches!(scene.deed(), Deed::Wait(_)));
}

/// It gives its place in the quota back when nothing of it is left, and not before.
#[test]
fn a_failed_restore_is_abandoned_at_its_end() {
    let spec = tier_spec();
    let settings = settings();
    let mut scene = Scene::at(OperationKind::Restore, Step::Recover);
    let status = scene.observed.database.status.as_mut().unwrap();
    status.problem = Some(from_yaml("{reason: RestoreFailed, message: no, hint: h}"));
    for (step, next) in [
        (Step::DeleteCluster, "AwaitGone"),
        (Step::AwaitGone, "RemoveChildren"),
        (Step::RemoveChildren, "RemoveChildren"),
    ] {
        scene.operation.step = step.to_string();
        let stage = Stage::new(&scene.observed, &spec, &settings, &scene.operation, at(7));
        let settled = settle(
            assessed(),
            &stage,
            scene.advance_at(7, Finding::Done),
            "unused",
        );
        let operation = settled.operation.unwrap();
        assert_eq!(operation.step, next);
        let is_end = step == Step::RemoveChildren;
        assert_eq!(settled.abandoned_at, is_end.then_some(Time(at(7))));
        assert_eq!(operation.result, is_end.then_some(OperationResult::Failed));
        if is_end {
            assert_eq!(operation.message.as_deref(), Some("no"), "why it failed");
        }
    }
    // What failed before anything was made has nothing to be removed.
    let scene = Scene::at(OperationKind::Restore, Step::FenceSource);
    let stage = Stage::new(&scene.observed, &spec, &settings, &scene.operation, at(0));
    let trouble = Trouble::new(Reason::RestoreOutsideWindow, "no");
    let progress = scene.advance(Finding::GaveUp(trouble));
    let settled = settle(assessed(), &stage, progress, "unused");
    assert_eq!(settled.abandoned_at, Some(Time(at(0))));
    assert_eq!(settled.health, Health::Failed);
}

/// A source is purged when nobody reads it any more.
#[test]
fn what_is_being_read_is_not_purged() {
    let mut scene = Scene::at(OperationKind::Hard, Step::Purge);
    assert!(matches!(scene.deed(), Deed::Purge(_)));
    scene.observed.readers = vec!["copy".into()];
    let Deed::Wait(message) = scene.deed() else {
        panic!("it waits")
    };
    assert!(message.contains("copy"), "{message}");
}

#[test]
fn a_late_writer_makes_the_purge_look_again() {
    let scene = Scene::at(OperationKind::Hard, Step::Recheck).after(60);
    let purged = |count| Finding::Purged {
        count,
        url: "s3://backups/a/b/".into(),
        left: None,
    };
    let again = scene.advance(purged(1));
    assert_eq!((again.ended, again.operation.since), (None, Time(at(60))));
    assert_eq!(again.operation.receipt[0].count, Some(1));
    let done = scene.advance(purged(0));
    assert_eq!(done.ended, Some(Phase::Deleted));
    assert_eq!(done.operation.result, Some(OperationResult::Succeeded));
}

/// A receipt counts everything that went, however many runs it took.
#[test]
fn a_purge_that_takes_several_runs_is_counted_as_a_whole() {
    let mut scene = Scene::at(OperationKind::Hard, Step::Purge);
    let purged = |count, left: Option<&str>| Finding::Purged {
        count,
        url: "s3://backups/a/b/".into(),
        left: left.map(str::to_owned),
    };
    scene.operation = scene.advance(purged(2000, Some("there is more"))).operation;
    assert_eq!(scene.operation.step, "Purge");
    scene.operation = scene.advance(purged(7, None)).operation;
    assert_eq!(scene.operation.step, "Recheck");
    assert_eq!(scene.operation.receipt[0].count, Some(2007));
    assert_eq!(scene.operation.receipt.len(), 1);
    // What was still on its way has a pause to arrive.
    let pause = i64::try_from(settings().purge_recheck.as_secs()).unwrap();
    assert!(matches!(scene.after(pause - 1).deed(), Deed::Wait(_)));
    let late = Scene::at(OperationKind::Hard, Step::Recheck).after(pause);
    assert!(matches!(late.deed(), Deed::Purge(_)));
}

/// Frozen is what does not run, and not what was told to stop.
#[test]
fn instances_are_seen_to_have_stopped() {
    let waits = |scene: &Scene| match scene.deed() {
        Deed::Wait(_) => true,
        Deed::Settle => false,
        _ => panic!("it waits or is done"),
    };
    let mut scene = Scene::at(OperationKind::Freeze, Step::Hibernate);
    assert!(waits(&scene), "it was told a moment ago");
    scene.observed = with_cluster(scene.observed, |cluster| {
        let status = cluster.status.as_mut().unwrap();
        status.conditions = vec![from_yaml(
            "{type: cnpg.io/hibernation, status: 'True', reason: Hibernated, message: '',
              lastTransitionTime: '2026-01-01T00:00:00Z'}",
        )];
    });
    scene.observed.symptoms.pods = vec![from_yaml("metadata: {name: orders-1}")];
    assert!(waits(&scene), "an instance is still there");
    scene.observed.symptoms.pods.clear();
    assert!(!waits(&scene));

    scene.operation.step = Step::Isolate.to_string();
    assert!(waits(&scene), "PostgreSQL answers");
    scene.observed = with_cluster(scene.observed, |cluster| {
        cluster.status.as_mut().unwrap().ready_instances = Some(0);
    });
    assert!(!waits(&scene));
}

/// What a restore needs outlives an archived database, and nothing outlives a destroyed one. The receipt names all that goes.
#[test]
fn what_goes_with_a_database_is_in_its_receipt() {
    let listed = |scene: &Scene| match scene.deed() {
        Deed::List(taken) => taken
            .into_iter()
            .map(|removal| format!("{} {}", removal.kind, removal.name))
            .collect::<Vec<_>>(),
        _ => panic!("it is written down first"),
    };
    let mut scene = Scene::at(OperationKind::Archive, Step::DeleteCluster);
    scene.observed.symptoms.volumes = vec![from_yaml("metadata: {name: orders-1}")];
    assert_eq!(
        listed(&scene),
        ["PersistentVolumeClaim orders-1", "Cluster orders"]
    );
    scene.operation.step = Step::RemoveChildren.to_string();
    let archived = listed(&scene);
    scene.operation.kind = OperationKind::Hard;
    let destroyed = listed(&scene);
    let kept: Vec<_> = destroyed
        .iter()
        .filter(|removal| !archived.contains(removal))
        .collect();
    assert_eq!(kept, ["ObjectStore orders-store", "Secret orders-store"]);
    assert!(
        archived
            .iter()
            .any(|removal| removal.starts_with("ScheduledBackup "))
    );
}

/// What sleeps is archived up to the fence that was made when it fell asleep; without one, it is asked again.
#[test]
fn an_archive_of_what_sleeps_goes_by_its_own_fence() {
    let mut scene = Scene::at(OperationKind::Archive, Step::VerifyAsleep);
    let Deed::GiveUp(trouble) = scene.deed() else {
        panic!("nothing is known of the last commit")
    };
    let woken = scene.advance(Finding::GaveUp(trouble)).operation;
    assert_eq!(woken.step, "Rouse");
    let status = scene.observed.database.status.as_mut().unwrap();
    status.incarnations[0].fence = Some(fence(3));
    let Deed::Verify(archive, segment) = scene.deed() else {
        panic!("the archive is looked at")
    };
    assert_eq!(segment, fence(3).segment);
    assert_eq!(archive.server_name, crate::fixtures::SERVER_NAME);
    let incomplete = scene.advance(Finding::Incomplete("no".into())).operation;
    assert_eq!(incomplete.step, "Rouse");
    assert_eq!(scene.advance(Finding::Done).operation.step, "DeleteCluster");
}

/// From the moment when it is archived, by the calendar of its tier.
#[test]
fn an_archive_is_kept_for_as_long_as_its_tier_says() {
    let spec = tier_spec();
    let settings = settings();
    let scene = Scene::at(OperationKind::Archive, Step::RemoveChildren).after(7);
    let stage = Stage::new(&scene.observed, &spec, &settings, &scene.operation, at(7));
    let settled = settle(assessed(), &stage, scene.advance(Finding::Done), "unused");
    assert_eq!(settled.health, Health::Resting(Phase::Archived));
    let twelve_weeks = 12 * 7 * 24 * 60 * 60;
    assert_eq!(settled.archived_until, Some(Time(at(7 + twelve_weeks))));
}

/// The Cluster of a restore is promised when everything that it needs is in the archive of its source, and not before.
#[test]
fn a_restore_begins_when_its_source_is_archived() {
    let spec = tier_spec();
    let settings = settings();
    let mut scene = Scene::at(OperationKind::Restore, Step::FenceSource);
    scene.observed.database.spec.restore = Some(from_yaml("source: {name: ledger, uid: some-uid}"));
    scene.observed.database.status = None;
    let (backup_url, server_name) = ("s3://backups/ledger/".to_owned(), "ledger-1".to_owned());
    scene.observed.source = SourceLookup::Found(Box::new(Source {
        database: database(),
        tenant: scene.observed.tenant(),
        backup_url: backup_url.clone(),
        server_name: server_name.clone(),
        restorable_from: Some(at(-100)),
        fence: None,
    }));
    assert!(matches!(scene.deed(), Deed::Fence(_)));
    let settled_at = |scene: &Scene, finding| {
        let stage = Stage::new(&scene.observed, &spec, &settings, &scene.operation, at(0));
        settle(assessed(), &stage, scene.advance(finding), "new-name")
    };
    let fenced = settled_at(&scene, Finding::Fenced(fence(3)));
    assert!(fenced.incarnations.is_empty(), "the fence is on its way");
    scene.operation = fenced.operation.unwrap();
    assert_eq!(scene.operation.step, "AwaitSource");
    let Deed::FindSegment(archive, segment) = scene.deed() else {
        panic!("the source's archive is looked at")
    };
    assert_eq!(
        (archive.store.url, archive.server_name, segment),
        (backup_url.clone(), server_name.clone(), fence(3).segment)
    );
    let [incarnation] = &settled_at(&scene, Finding::Done).incarnations[..] else {
        panic!("one incarnation")
    };
    assert_eq!(incarnation.server_name, "new-name");
    assert_eq!(incarnation.reserved_connections, Some(3));
    let from = incarnation.restored_from.clone().unwrap();
    assert_eq!(
        (from.backup_url, from.server_name),
        (backup_url, server_name)
    );
}
