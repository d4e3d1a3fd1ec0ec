use std::collections::BTreeSet;

use daap_crds::{DaapQuota, DaapTierRevision, DaapTierSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{super::bookkeeping::Exact, *};
use crate::{
    fixtures::{at, from_yaml, plain_tier_spec, settings, tier, tier_spec},
    k8s::client::Lookup,
};

const SMALL: &str = "gold-small";
const LARGE: &str = "gold-large";

/// A tier that offers the small revision and once offered the large one: one CPU, 1Gi and 3Gi each against 4900m,
/// 6336Mi and 75Gi.
fn observed(limits: &str, databases: Vec<Entry>) -> Observed {
    let mut tier = tier();
    tier.status = Some(from_yaml(&format!(
        "
        observedGeneration: 4
        currentRevision: {SMALL}
        conditions:
        - {{type: Accepted, status: 'True', reason: Accepted, message: m, lastTransitionTime: '2026-01-01T00:00:00Z'}}
        ",
    )));
    let revision = |name: &str, template: DaapTierSpec| {
        let tier = "gold".to_owned();
        DaapTierRevision::new(name, daap_crds::DaapTierRevisionSpec { tier, template })
    };
    Observed {
        quota: DaapQuota::new("gold", from_yaml(limits)),
        tier: Lookup::Found(tier),
        revisions: vec![
            revision(SMALL, plain_tier_spec()),
            revision(LARGE, tier_spec()),
        ],
        databases,
        elsewhere: BTreeSet::new(),
    }
}

/// A database whose uid is its name, made so many seconds after the beginning.
fn entry(name: &str, second: i64) -> Entry {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": name, "resourceVersion": second.to_string(),
            "creationTimestamp": Time(at(second)),
        },
        "spec": {"tier": "gold", "ownerTeam": "shop"},
    }))
    .unwrap()
}

fn with(entry: Entry, change: impl FnOnce(&mut Entry)) -> Entry {
    let mut entry = entry;
    change(&mut entry);
    entry
}

fn bound(name: &str, revision: &str) -> Entry {
    with(entry(name, 0), |entry| {
        entry.spec.tier_revision = Some(revision.to_owned());
    })
}

fn fail_fast(name: &str, second: i64) -> Entry {
    with(entry(name, second), |entry| {
        entry.spec.admission = Admission::FailFast;
    })
}

fn plan(observed: &Observed) -> Plan {
    decide(observed, &Exact, &settings(), 7, at(10))
}

fn names(entries: impl IntoIterator<Item = Entry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.name_any()).collect()
}

fn reserved(plan: &Plan) -> Vec<&str> {
    plan.status
        .reservations
        .iter()
        .map(|reserved| &*reserved.uid)
        .collect()
}

/// What was decided, as the next run finds it before anything was bound.
fn then(mut observed: Observed, plan: &Plan) -> Observed {
    observed.quota.status = Some(plan.status.clone());
    observed
}

#[test]
fn admits_in_the_order_of_creation_and_passes_over_what_does_not_fit() {
    let restored = with(entry("b", 2), |entry| {
        entry.spec.restore = serde_json::from_value(json!({"source": {"uid": "large"}})).unwrap();
    });
    let databases = vec![
        entry("d", 4),
        entry("a", 1),
        restored,
        entry("c", 3),
        bound("large", LARGE),
    ];
    let plan = plan(&observed("{cpu: '7'}", databases));
    assert_eq!(reserved(&plan), ["a", "c"]);
    assert_eq!(plan.status.allocated.cpu.to_string(), "6900m");
    assert_eq!(
        plan.bind
            .iter()
            .map(|(entry, revision)| (entry.uid(), &**revision))
            .collect::<BTreeSet<_>>(),
        [("a", SMALL), ("c", SMALL)].into()
    );
    let told: Vec<_> = plan
        .verdicts
        .iter()
        .map(|(entry, said)| {
            (
                entry.uid(),
                said.verdict,
                said.cost.unwrap().cpu.to_string(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("b", Verdict::Waiting, "4900m".to_owned()),
            ("d", Verdict::Waiting, "1".to_owned())
        ]
    );
}

/// Two that were made within the same second are told apart by the version they were first seen with.
#[test]
fn keeps_a_place_in_the_queue() {
    let early = with(entry("z", 1), |entry| {
        entry.metadata.resource_version = Some("900".to_owned());
        entry.status = json!({"admission": {"verdict": "Waiting", "queued": 5}});
    });
    let late = with(entry("a", 1), |entry| {
        entry.metadata.resource_version = Some("6".to_owned());
    });
    let plan = plan(&observed("{databases: 1}", vec![late, early]));
    assert_eq!(reserved(&plan), ["z"]);
}

#[test]
fn a_second_look_says_nothing_new() {
    let databases = vec![entry("a", 1), entry("b", 2), fail_fast("c", 3)];
    let mut observed = observed("{databases: 1}", databases);
    let first = plan(&observed);
    for (entry, said) in &first.verdicts {
        let databases = &mut observed.databases;
        let told = databases
            .iter_mut()
            .find(|other| other.uid() == entry.uid());
        told.unwrap().status = json!({"admission": said});
    }
    let observed = then(observed, &first);
    let second = decide(&observed, &Exact, &settings(), 9, at(11));
    assert_eq!(
        second.status, first.status,
        "also by the next leader, under its own number"
    );
    assert!(second.verdicts.is_empty());
    assert_eq!(
        second.bind.len(),
        1,
        "what is reserved is bound, whoever reserved it"
    );
}

#[test]
fn a_reservation_goes_when_it_is_bound_or_gone() {
    let first = plan(&observed("{}", vec![entry("a", 1), entry("b", 2)]));
    assert_eq!(reserved(&first), ["a", "b"]);
    let settled = then(observed("{}", vec![bound("a", SMALL)]), &first);
    let second = plan(&settled);
    assert!(second.status.reservations.is_empty());
    assert_eq!(second.status.allocated.databases, 1);

    let mut unlisted = then(observed("{}", vec![bound("a", SMALL)]), &first);
    unlisted.elsewhere = ["b".to_owned()].into();
    let third = plan(&unlisted);
    assert_eq!(
        reserved(&third),
        ["b"],
        "a list that lacks it does not tell that it is gone"
    );
    assert_eq!(third.status.allocated.databases, 2);
}

/// A database that moves may be charged for the larger of both revisions before it moves, and is for the new one after.
#[test]
fn a_move_is_charged_by_its_difference() {
    let mut moving = observed("{}", vec![bound("a", SMALL)]);
    moving.quota.status = Some(DaapQuotaStatus {
        reservations: vec![Reservation {
            uid: "a".to_owned(),
            namespace: "shop".to_owned(),
            name: "a".to_owned(),
            revision: LARGE.to_owned(),
            cost: Cost::of(&tier_spec()).unwrap(),
        }],
        ..DaapQuotaStatus::default()
    });
    let before = plan(&moving);
    assert_eq!(before.status.allocated, Cost::of(&tier_spec()).unwrap());
    assert!(
        before.bind.is_empty(),
        "it is not this controller's to move"
    );
    let after = plan(&then(observed("{}", vec![bound("a", LARGE)]), &before));
    assert_eq!(after.status.allocated, before.status.allocated);
    assert!(after.status.reservations.is_empty());
}

#[test]
fn a_frozen_database_is_charged_and_an_archived_one_is_not() {
    let in_phase = |phase: &str| {
        let one = with(bound("a", SMALL), |entry| {
            entry.status = json!({"phase": phase});
        });
        plan(&observed("{}", vec![one])).status.allocated.databases
    };
    let charged = ["provisioning", "ready", "error", "frozen"];
    assert_eq!(charged.map(in_phase), [1; 4]);
    assert_eq!(["archived", "deleted"].map(in_phase), [0; 2]);
}

/// It stays in error, and is charged until nothing of it is left.
#[test]
fn a_database_whose_restore_was_abandoned_is_not_charged() {
    let charged = |status| {
        let one = with(bound("a", SMALL), |entry| entry.status = status);
        plan(&observed("{}", vec![one])).status.allocated.databases
    };
    let failed = json!({"phase": "error", "operation": {"kind": "Restore", "result": "Failed"}});
    assert_eq!(charged(failed), 1);
    let abandoned = json!({"phase": "error", "abandonedAt": "2026-01-01T00:00:00Z"});
    assert_eq!(charged(abandoned), 0);
}

#[test]
fn refuses_at_once_who_cannot_wait_and_says_by_how_much() {
    let databases = vec![bound("a", LARGE), fail_fast("b", 1)];
    let plan = plan(&observed(
        "{databases: 1, cpu: '5', memory: 100Gi}",
        databases,
    ));
    let (_, said) = &plan.verdicts[0];
    assert_eq!(said.verdict, Verdict::Refused);
    assert_eq!(
        said.message.as_deref(),
        Some(
            "The quota of the tier 'gold' has no room for it: databases: 1 of 1 used, 1 requested; cpu: 4900m of 5 used, \
             1 requested."
        )
    );
    assert_eq!(said.used.unwrap().databases, 1);
    assert_eq!(said.limits.as_ref().unwrap().databases, Some(1));
}

#[test]
fn who_cannot_wait_is_removed_when_its_time_is_over() {
    let refused = with(fail_fast("refused", 9), |entry| {
        entry.status = json!({"admission": {"verdict": "Refused"}});
    });
    let databases = vec![fail_fast("late", -5), fail_fast("in-time", -4), refused];
    let plan = plan(&observed("{}", databases));
    assert_eq!(reserved(&plan), ["in-time"]);
    assert_eq!(names(plan.remove), ["late"]);
    assert_eq!(plan.look_again, Some(at(11)));
}

/// It is removed before its reservation goes, so that nobody can bind it for free.
#[test]
fn the_reservation_of_a_late_one_outlives_it() {
    let first = plan(&observed("{}", vec![fail_fast("a", 1)]));
    let observed = then(observed("{}", vec![fail_fast("a", 1)]), &first);
    let late = decide(&observed, &Exact, &settings(), 7, at(30));
    assert_eq!(reserved(&late), ["a"]);
    assert!(late.bind.is_empty());
    assert_eq!(names(late.remove), ["a"]);
}

#[test]
fn nobody_is_admitted_who_is_not_wanted_or_has_no_tier() {
    let unwanted = with(entry("a", 1), |entry| {
        entry.spec.state = daap_crds::database::State::Destroyed;
    });
    let leaving = with(entry("b", 1), |entry| {
        entry.metadata.deletion_timestamp = Some(Time(at(2)));
    });
    let plan_of = |observed: &Observed| (plan(observed).bind.len(), plan(observed).verdicts.len());
    assert_eq!(
        plan_of(&observed("{databases: 0}", vec![unwanted, leaving])),
        (0, 0)
    );
    let mut without_tier = observed("{}", vec![entry("a", 1)]);
    without_tier.tier = Lookup::Absent;
    assert_eq!(plan_of(&without_tier), (0, 0));
    let mut changed = observed("{}", vec![entry("a", 1)]);
    if let Lookup::Found(tier) = &mut changed.tier {
        tier.metadata.generation = Some(5);
    }
    assert_eq!(plan_of(&changed), (0, 0), "the tier was not looked at yet");
}

#[test]
fn a_limit_below_what_is_allocated_is_told_and_admits_nothing() {
    let databases = vec![bound("a", SMALL), bound("b", SMALL), entry("c", 1)];
    let plan = plan(&observed("{databases: 1}", databases));
    let [within] = &plan.status.conditions[..] else {
        panic!("one condition")
    };
    assert_eq!((&*within.status, &*within.reason), ("False", "Exceeded"));
    assert!(
        within.message.contains("databases: 2 of 1 used"),
        "{}",
        within.message
    );
    assert!(plan.bind.is_empty());
}

/// What it costs was written down when it was admitted; without that nothing can be compared with a limit.
#[test]
fn a_database_whose_revision_is_missing_is_charged_as_recorded_or_stops_admission() {
    let recorded = with(bound("a", "gold-lost"), |entry| {
        entry.status = json!({"admission": {"verdict": "Admitted", "cost": {
            "databases": 1, "cpu": "3", "memory": "1Gi", "storage": "1Gi",
        }}});
    });
    let known = plan(&observed("{}", vec![recorded, entry("b", 1)]));
    assert_eq!(known.status.allocated.cpu.to_string(), "4");

    let mut unknown = observed(
        "{databases: 9}",
        vec![bound("a", "gold-lost"), entry("b", 1)],
    );
    unknown.quota.status = Some(DaapQuotaStatus {
        reservations: Vec::new(),
        ..known.status
    });
    let plan = plan(&unknown);
    assert_eq!(
        plan.status.allocated.cpu.to_string(),
        "4",
        "what was counted last stays"
    );
    assert_eq!(plan.status.conditions[0].status, "Unknown");
    assert_eq!((plan.bind.len(), plan.verdicts.len()), (0, 0));
}

/// Databases with fields that cannot be read are counted like all others.
#[test]
fn an_unreadable_database_is_counted() {
    let strange: Entry = serde_json::from_value(json!({
        "metadata": {"name": "a", "uid": "a"},
        "spec": {"tierRevision": SMALL, "restore": {"source": {"uid": "x"}, "targetTime": "soon"}},
        "status": {"phase": "melting", "conditions": "none"},
    }))
    .unwrap();
    assert_eq!(
        plan(&observed("{}", vec![strange]))
            .status
            .allocated
            .databases,
        1
    );
}

#[test]
fn many_are_admitted_in_several_writes() {
    let databases = (0..300).map(|index| entry(&format!("db-{index}"), index));
    let plan = plan(&observed("{databases: 400}", databases.collect()));
    assert_eq!(plan.status.reservations.len(), MOST_AT_ONCE);
    assert!(
        plan.verdicts.is_empty(),
        "the others are not refused, only not looked at yet"
    );
}
