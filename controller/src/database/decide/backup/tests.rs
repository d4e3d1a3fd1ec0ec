use daap_crds::{cnpg::ClusterStatus, reason::Reason};
use serde_json::{Value, json};

use super::*;
use crate::{
    database::{
        decide::decide,
        plan::{Assessment, Converge, Plan},
    },
    fixtures::{
        SERVER_NAME, at, chance, from_yaml, plain_tier_spec, settings, settled, tier_spec,
        with_cluster,
    },
    k8s::client::Lookup,
};

fn converge(observed: &Observed) -> Converge {
    match decide(observed, &settings(), &chance(), at(0)) {
        Plan::Converge(converge) => *converge,
        _ => panic!("nothing is said"),
    }
}

fn status(observed: &Observed) -> BackupStatus {
    converge(observed).assessment.backup.unwrap()
}

/// A database with backups whose Cluster is well and has these conditions.
fn with_conditions(conditions: Vec<Condition>) -> Observed {
    with_cluster(settled(tier_spec()), |cluster| {
        let status: &mut ClusterStatus = cluster.status.as_mut().unwrap();
        status.conditions = conditions;
    })
}

fn with_window(mut observed: Observed, window: &str) -> Observed {
    if let Lookup::Found(store) = &mut observed.children.object_store {
        store.status = Some(from_yaml(&format!(
            "serverRecoveryWindow: {{{SERVER_NAME}: {window}}}"
        )));
    }
    observed
}

fn condition(type_: &str, status: &str, reason: &str) -> Condition {
    from_yaml(&format!(
        "{{type: {type_}, status: '{status}', reason: {reason}, \
         message: 'unexpected failure invoking barman-cloud-wal-archive: exit status 4', \
         lastTransitionTime: '2026-01-01T00:00:00Z'}}"
    ))
}

fn archiving() -> Condition {
    condition("ContinuousArchiving", "True", "ContinuousArchivingSuccess")
}

/// A base backup of a schedule, made in this minute.
fn backup(minute: u8, status: Value) -> Backup {
    let value = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup",
        "metadata": {
            "name": format!("orders-{minute:02}"), "namespace": "shop-prod",
            "creationTimestamp": format!("2026-01-02T00:{minute:02}:00Z"),
            "labels": {"cnpg.io/cluster": "orders", "cnpg.io/scheduled-backup": settled(tier_spec()).identity.name.scheduled_backup()},
        },
        "spec": {"cluster": {"name": "orders"}, "method": "plugin"},
        "status": status,
    });
    serde_json::from_value(value).unwrap()
}

fn completed(minute: u8) -> Backup {
    let status = json!({
        "phase": "completed", "backupId": format!("2026010200{minute:02}00"),
        "startedAt": format!("2026-01-02T00:{minute:02}:10Z"), "stoppedAt": format!("2026-01-02T00:{minute:02}:40Z"),
    });
    backup(minute, status)
}

fn failed(minute: u8) -> Backup {
    let status =
        json!({"phase": "failed", "error": "rpc error: code = Unknown desc = exit status 4"});
    backup(minute, status)
}

fn with_backups(backups: Vec<Backup>) -> Observed {
    let mut observed = with_conditions(vec![archiving()]);
    observed.children.backups = backups;
    observed
}

/// The same database, after what was decided was written down.
fn settle(mut observed: Observed) -> Observed {
    let Assessment { backup, .. } = converge(&observed).assessment;
    observed.database.status.as_mut().unwrap().backup = backup;
    observed
}

fn ask(observed: &mut Observed, request: &str) {
    observed.database.spec.backup_request = Some(request.to_owned());
}

#[test]
fn is_healthy_when_segments_and_the_last_base_backup_arrive() {
    let healthy = |conditions: Vec<Condition>, window: &str| {
        let status = status(&with_window(with_conditions(conditions), window));
        assert!(status.configured);
        assert_eq!(status.message.is_some(), status.healthy == Some(false));
        status.healthy
    };
    let broken = || condition("ContinuousArchiving", "False", "ContinuousArchivingFailing");
    let started = || condition("LastBackupSucceeded", "False", "BackupStarted");
    let failed = || condition("LastBackupSucceeded", "False", "LastBackupFailed");
    let succeeded = "{lastSuccessfulBackupTime: '2026-01-02T00:00:00Z', lastFailedBackupTime: '2026-01-01T00:00:00Z'}";
    let failing = "{lastSuccessfulBackupTime: '2026-01-01T00:00:00Z', lastFailedBackupTime: '2026-01-02T00:00:00Z'}";
    assert_eq!(healthy(vec![], "{}"), None);
    assert_eq!(healthy(vec![archiving()], "{}"), None);
    assert_eq!(healthy(vec![archiving()], succeeded), Some(true));
    assert_eq!(healthy(vec![archiving(), started()], succeeded), Some(true));
    assert_eq!(healthy(vec![archiving(), started()], "{}"), None);
    assert_eq!(healthy(vec![archiving(), failed()], "{}"), Some(false));
    assert_eq!(healthy(vec![archiving()], failing), Some(false));
    assert_eq!(healthy(vec![broken()], succeeded), Some(false));
}

#[test]
fn a_tier_without_a_backup_says_so() {
    assert_eq!(
        status(&settled(plain_tier_spec())),
        BackupStatus::default(),
        "not configured, and nothing else"
    );
}

/// What the object store lacks is the cause of a failing archive. The database goes on serving.
#[test]
fn a_missing_object_store_is_the_cause() {
    let mut observed = with_conditions(vec![condition("ContinuousArchiving", "False", "Failing")]);
    let trouble = "The object store 'vault' does not exist.";
    observed.store = StoreLookup::Unavailable(trouble.to_owned());
    let said = converge(&observed).assessment;
    let message = said.backup.unwrap().message.unwrap();
    assert!(message.contains(trouble), "{message}");
    assert_eq!(said.health, crate::database::plan::Health::Serving);
    assert_eq!(
        said.trouble.map(|trouble| trouble.reason),
        Some(Reason::ObjectStoreUnavailable)
    );
}

#[test]
fn tells_of_the_newest_base_backups() {
    let running = backup(
        9,
        json!({"phase": "started", "startedAt": "2026-01-02T00:09:10Z"}),
    );
    let mut observed = with_backups(vec![failed(8), running, completed(7)]);
    if let Lookup::Found(schedule) = &mut observed.children.scheduled_backup {
        schedule.status = Some(from_yaml("nextScheduleTime: '2026-01-03T00:07:00Z'"));
    }
    insta::assert_yaml_snapshot!(status(&observed));
}

#[test]
fn a_resting_schedule_has_no_next_base_backup() {
    let mut observed = with_backups(vec![]);
    if let Lookup::Found(schedule) = &mut observed.children.scheduled_backup {
        schedule.status = Some(from_yaml("nextScheduleTime: '2026-01-03T00:07:00Z'"));
        schedule.spec.suspend = Some(true);
    }
    assert_eq!(status(&observed).next_at, None);
}

/// Retention and people remove objects; what happened has happened.
#[test]
fn remembers_what_is_not_there_any_more() {
    let before = settle(with_backups(vec![failed(8), completed(7)]));
    let mut after = before;
    after.children.backups.clear();
    let (after, before) = (
        status(&after),
        after.database.status.unwrap().backup.unwrap(),
    );
    assert_eq!(after.last_success_at, before.last_success_at);
    assert_eq!(after.last_failure_at, before.last_failure_at);
    assert!(before.last_failure_at.is_some());
    assert_eq!(after.last_failure_message, before.last_failure_message);
    assert!(after.recent.is_empty());
}

/// Where the bucket was removed, archiving goes on in a new one as if nothing had happened.
#[test]
fn an_emptied_archive_is_not_healthy() {
    let mut observed = settle(with_backups(vec![completed(7)]));
    assert_eq!(status(&observed).healthy, Some(true));
    observed.children.backups.clear();
    observed = with_cluster(observed, |cluster| {
        let succeeded = condition("LastBackupSucceeded", "True", "LastBackupSucceeded");
        cluster.status.as_mut().unwrap().conditions.push(succeeded);
    });
    let emptied = status(&observed);
    assert_eq!(
        (emptied.healthy, emptied.message.as_deref()),
        (Some(false), Some(EMPTIED))
    );
    let again = settle(observed);
    assert_eq!(Some(status(&again)), again.database.status.unwrap().backup);
}

#[test]
fn says_the_same_again() {
    let observed = settle(with_backups(vec![failed(8), completed(7)]));
    assert_eq!(
        Some(status(&observed)),
        observed.database.status.clone().unwrap().backup
    );
}

#[test]
fn a_size_is_found_once_and_kept() {
    let mut observed = with_backups(vec![completed(7), completed(6)]);
    observed
        .archive
        .sizes
        .insert("20260102000700".into(), 41_943_040);
    let mut observed = settle(observed);
    observed.archive.sizes.clear();
    let sizes = status(&observed)
        .recent
        .into_iter()
        .map(|record| record.size);
    assert_eq!(sizes.collect::<Vec<_>>(), [Some(41_943_040), None]);
}

/// An object store that is ill today did not fail the base backup of yesterday.
#[test]
fn the_cause_of_a_failure_stays_what_it_was() {
    let mut observed = settle(with_backups(vec![failed(8)]));
    let before = status(&observed).last_failure_message;
    observed.store = StoreLookup::Unavailable("The object store 'vault' does not exist.".into());
    let after = status(&observed);
    assert_eq!(after.last_failure_message, before);
    assert_eq!(after.recent[0].message, before);
}

#[test]
fn a_namesakes_base_backups_are_not_told() {
    let mut older = completed(1);
    older.metadata.creation_timestamp = Some(from_yaml("'2026-01-01T00:00:00Z'"));
    let mut foreign = completed(3);
    foreign
        .metadata
        .labels
        .get_or_insert_default()
        .insert(label::DATABASE_UID.into(), "another".into());
    let mut other_cluster = completed(4);
    other_cluster.spec.cluster.as_mut().unwrap().name = "orders-2".into();
    let mut observed = with_backups(vec![older, completed(2), foreign, other_cluster]);
    observed.database.metadata.creation_timestamp = Some(from_yaml("'2026-01-02T00:00:00Z'"));
    let names: Vec<_> = status(&observed)
        .recent
        .into_iter()
        .map(|record| record.name)
        .collect();
    assert_eq!(names, ["orders-02"]);
}

#[test]
fn keeps_the_newest_failed_ones_only() {
    let mut by_hand = failed(1);
    by_hand.metadata.labels = Some([("cnpg.io/cluster".into(), "orders".into())].into());
    let backups = (2..20)
        .map(failed)
        .chain([by_hand, completed(0), completed(30)]);
    let observed = with_backups(backups.collect());
    let work = converge(&observed).backups;
    let names: Vec<_> = work
        .surplus
        .iter()
        .map(|backup| backup.name_any())
        .collect();
    let oldest: Vec<_> = (2..10)
        .rev()
        .map(|minute| format!("orders-{minute:02}"))
        .collect();
    assert_eq!(names, oldest);
    assert_eq!(status(&observed).recent.len(), 21);
}

#[test]
fn a_request_makes_one_base_backup() {
    let mut observed = with_backups(vec![]);
    ask(&mut observed, "now");
    let Converge {
        backups,
        assessment,
        ..
    } = converge(&observed);
    let made = backups.requested.unwrap();
    insta::assert_yaml_snapshot!(made);
    assert!(
        made.owner_references().is_empty(),
        "no cascade may reach it"
    );
    assert_eq!(
        assessment.backup.unwrap().carried_out_request.as_deref(),
        Some("now")
    );

    // It was made, and that was not written down.
    observed.children.requested_backup = Lookup::Found(made);
    let again = converge(&observed);
    assert!(again.backups.requested.is_none());
    assert_eq!(
        again
            .assessment
            .backup
            .unwrap()
            .carried_out_request
            .as_deref(),
        Some("now")
    );

    // It was written down, and the object has gone with its retention.
    let mut settled = settle(observed);
    settled.children.requested_backup = Lookup::Absent;
    assert!(converge(&settled).backups.requested.is_none());

    ask(&mut settled, "again");
    assert!(converge(&settled).backups.requested.is_some());
}

/// While the schedule rests, because the database is frozen or on its way out, a request waits.
#[test]
fn a_request_waits_while_the_schedule_rests() {
    let mut observed = with_backups(vec![]);
    ask(&mut observed, "now");
    if let Lookup::Found(schedule) = &mut observed.children.scheduled_backup {
        schedule.spec.suspend = Some(true);
    }
    let Converge {
        backups,
        assessment,
        ..
    } = converge(&observed);
    assert!(backups.requested.is_none());
    assert_eq!(assessment.backup.unwrap().carried_out_request, None);
    observed.children.scheduled_backup = Lookup::Absent;
    assert!(converge(&observed).backups.requested.is_none());
}

#[test]
fn the_end_of_what_can_be_restored_is_the_last_fence() {
    let mut observed = with_backups(vec![]);
    let fence = "{time: '2026-01-02T00:00:00.123456Z', segment: '000000010000000000000007'}";
    let incarnations = &mut observed.database.status.as_mut().unwrap().incarnations;
    incarnations.last_mut().unwrap().fence = Some(from_yaml(fence));
    let until = status(&observed).restorable_until;
    assert_eq!(until, Some(from_yaml("'2026-01-02T00:00:00.123456Z'")));
}
