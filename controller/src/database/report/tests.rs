use daap_crds::{condition::is_true, database::BackupStatus};

use super::*;
use crate::fixtures::{CLUSTER_UID, at, database, identity, incarnation, settings};

fn assessment(health: Health) -> Assessment {
    Assessment {
        admission: None,
        health,
        trouble: None,
        facts: Vec::new(),
        incarnations: vec![incarnation()],
        connectable: true,
        pooled: true,
        backup: Some(BackupStatus::default()),
        operation: None,
        archived_until: None,
        abandoned_at: None,
        look_again: None,
    }
}

fn progressing() -> Assessment {
    assessment(Health::Progressing {
        waiting_for: "rain".into(),
    })
}

fn troubled(reason: Reason) -> Assessment {
    Assessment {
        trouble: Some(Trouble::new(reason, "It is so.")),
        ..progressing()
    }
}

/// What is said after one assessment after another, each at its second.
fn story(steps: Vec<(i64, Assessment)>) -> Vec<Report> {
    let mut database = database();
    let say = |(second, assessment)| {
        let report = report(
            &database,
            &identity(),
            assessment,
            &Applied::default(),
            &settings(),
            at(second),
        );
        database.status = Some(report.status.clone());
        report
    };
    steps.into_iter().map(say).collect()
}

fn phases(reports: &[Report]) -> Vec<Phase> {
    reports
        .iter()
        .map(|report| report.status.phase.unwrap())
        .collect()
}

#[test]
fn saying_the_same_again_is_saying_nothing() {
    for assessment in [
        progressing(),
        assessment(Health::Serving),
        troubled(Reason::Unschedulable),
    ] {
        let reports = story(vec![
            (0, assessment.clone()),
            (100, assessment.clone()),
            (200, assessment),
        ]);
        assert_eq!(reports[0].status, reports[1].status);
        assert_eq!(reports[1].status, reports[2].status);
    }
}

#[test]
fn a_new_database_has_until_its_deadline() {
    let reports = story(vec![
        (0, progressing()),
        (599, progressing()),
        (600, progressing()),
    ]);
    assert_eq!(
        phases(&reports),
        [Phase::Provisioning, Phase::Provisioning, Phase::Error]
    );
    assert_eq!(reports[0].look_again, Some(at(600)));
    assert_eq!(reports[2].look_again, None);
    assert_eq!(reports[0].status.problem, None);
    let problem = reports[2].status.problem.as_ref().unwrap();
    assert_eq!(problem.reason, Reason::ProvisioningDeadline);
    assert_eq!(
        problem.message,
        "Not ready in time; still waiting for rain."
    );
}

#[test]
fn a_cause_is_told_at_once_and_an_error_at_the_deadline() {
    let reports = story(vec![
        (0, progressing()),
        (10, troubled(Reason::ImagePull)),
        (600, troubled(Reason::ImagePull)),
    ]);
    assert_eq!(
        phases(&reports),
        [Phase::Provisioning, Phase::Provisioning, Phase::Error]
    );
    assert_eq!(reports[1].status.problem, reports[2].status.problem);
    assert_eq!(
        reports[1].status.problem.as_ref().unwrap().hint,
        Reason::ImagePull.hint()
    );
}

#[test]
fn an_error_stays_what_it_was_while_an_operation_is_under_way() {
    let operated = assessment(Health::Operating {
        doing: "its backups are removed".into(),
    });
    let reports = story(vec![
        (0, troubled(Reason::ImagePull)),
        (600, troubled(Reason::ImagePull)),
        (610, operated),
    ]);
    let [_, before, during] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(during.status.phase, Some(Phase::Error));
    assert_eq!(during.status.problem, before.status.problem);
    let ready = condition::find(&during.status.conditions, condition::READY).unwrap();
    assert_eq!(ready.message, "Under way: its backups are removed.");
}

#[test]
fn an_error_ends_by_itself_and_only_when_ready() {
    let serving = || assessment(Health::Serving);
    let reports = story(vec![
        (0, troubled(Reason::ImagePull)),
        (600, progressing()),
        (700, progressing()),
        (800, serving()),
    ]);
    assert_eq!(
        phases(&reports),
        [
            Phase::Provisioning,
            Phase::Error,
            Phase::Error,
            Phase::Ready
        ]
    );
    assert_eq!(reports[3].status.problem, None);
    assert!(is_true(&reports[3].status.conditions, condition::READY));
}

#[test]
fn what_was_ready_stays_so_for_a_while() {
    let serving = || assessment(Health::Serving);
    let reports = story(vec![
        (0, serving()),
        (1000, progressing()),
        (1119, progressing()),
        (1120, progressing()),
    ]);
    assert_eq!(
        phases(&reports),
        [Phase::Ready, Phase::Ready, Phase::Ready, Phase::Error]
    );
    assert!(!is_true(&reports[1].status.conditions, condition::READY));
    assert_eq!(reports[1].look_again, Some(at(1120)));
}

#[test]
fn what_will_not_pass_is_an_error_at_once() {
    let vanished = Assessment {
        health: Health::Failed,
        ..troubled(Reason::ClusterVanished)
    };
    assert_eq!(phases(&story(vec![(0, vanished)])), [Phase::Error]);
}

#[test]
fn the_endpoint_is_told_while_ready() {
    let reports = story(vec![(0, progressing()), (1, assessment(Health::Serving))]);
    assert_eq!(reports[0].status.endpoint, None);
    let endpoint = reports[1].status.endpoint.as_ref().unwrap();
    assert_eq!(endpoint.host, "orders-rw.shop-prod.svc");
    assert_eq!(
        endpoint.pooler_host.as_deref(),
        Some("orders-pooler.shop-prod.svc")
    );
    assert_eq!(
        reports[1].status.connection_secret.as_ref().unwrap().name,
        "orders-conn"
    );
}

/// A status that speaks of what was before the last write makes nobody ready, and nobody unready.
#[test]
fn what_was_just_written_was_not_seen_yet() {
    let applied = Applied {
        outdated: true,
        cluster_uid: Some("new".into()),
        ..Applied::default()
    };
    let say = |database: &DaapDatabase| {
        report(
            database,
            &identity(),
            assessment(Health::Serving),
            &applied,
            &settings(),
            at(0),
        )
        .status
    };
    let mut database = database();
    let first = say(&database);
    assert_eq!(first.phase, Some(Phase::Provisioning));
    assert_eq!(first.incarnations[0].cluster_uid.as_deref(), Some("new"));
    database.status = Some(DaapDatabaseStatus {
        phase: Some(Phase::Ready),
        ..DaapDatabaseStatus::default()
    });
    assert_eq!(say(&database).phase, Some(Phase::Ready));
}

#[test]
fn a_refusal_is_told() {
    let say = |refusal| {
        let applied = Applied {
            refusal: Some(refusal),
            ..Applied::default()
        };
        report(
            &database(),
            &identity(),
            progressing(),
            &applied,
            &settings(),
            at(0),
        )
        .status
    };
    let invalid = say(Refusal::Invalid("too small".into()));
    assert_eq!(invalid.phase, Some(Phase::Error));
    assert_eq!(invalid.problem.unwrap().reason, Reason::InvalidDefinition);
    assert_eq!(
        invalid.incarnations[0].cluster_uid.as_deref(),
        Some(CLUSTER_UID)
    );
    let unanswered = say(Refusal::Unanswered("EOF".into()));
    assert_eq!(unanswered.phase, Some(Phase::Provisioning));
    assert_eq!(unanswered.problem.unwrap().reason, Reason::OperatorMissing);
}

#[test]
fn an_event_for_each_change_and_none_without() {
    let reports = story(vec![
        (0, troubled(Reason::ImagePull)),
        (1, troubled(Reason::ImagePull)),
        (2, assessment(Health::Serving)),
    ]);
    let [first, second, third] = &reports[..] else {
        unreachable!()
    };
    assert_eq!(notice(None, &first.status).unwrap().reason, "ImagePull");
    assert_eq!(notice(Some(&first.status), &second.status), None);
    let ready = notice(Some(&second.status), &third.status).unwrap();
    assert_eq!((ready.reason.as_str(), ready.warning), ("Ready", false));
}
