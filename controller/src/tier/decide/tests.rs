use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{super::observe::Users, *};
use crate::fixtures::{at, object_store, tier, tier_spec};

fn observed() -> Observed {
    Observed {
        tier: tier(),
        revisions: Vec::new(),
        users: Users::default(),
        store: Some(object_store()),
        has_quota: true,
    }
}

fn current_name() -> String {
    revision_name("gold", &tier_spec()).unwrap()
}

/// A revision as it is left by a first run, and one of an earlier spec.
fn revisions(observed: &Observed) -> [DaapTierRevision; 2] {
    let current = decide(observed, at(0)).unwrap().create.unwrap();
    let old = DaapTierRevision::new("gold-old", current.spec.clone());
    [current, old]
}

#[test]
fn makes_a_revision_of_an_accepted_tier() {
    let plan = decide(&observed(), at(0)).unwrap();
    let revision = plan.create.unwrap();
    assert_eq!(revision.name_any(), current_name());
    assert_eq!(revision.spec.tier, "gold");
    assert_eq!(revision.spec.template, tier_spec());
    assert_eq!(revision.labels()[label::TIER], "gold");
    assert_eq!(plan.status.current_revision, Some(current_name()));
    assert_eq!(plan.finalizers.unwrap(), [label::IN_USE_FINALIZER]);
    assert!(condition::is_true(
        &plan.status.conditions,
        condition::ACCEPTED
    ));
}

#[test]
fn a_tier_that_is_not_accepted_keeps_its_last_revision() {
    let mut observed = observed();
    observed.store = None;
    observed.tier.status = Some(DaapTierStatus {
        current_revision: Some("gold-old".into()),
        ..DaapTierStatus::default()
    });
    let plan = decide(&observed, at(0)).unwrap();
    assert_eq!(plan.create, None);
    assert_eq!(plan.status.current_revision.as_deref(), Some("gold-old"));
    assert!(!condition::is_true(
        &plan.status.conditions,
        condition::ACCEPTED
    ));
}

#[test]
fn a_tier_relies_on_a_store_that_was_tried_and_not_found_wanting() {
    let acceptance = |status: &str, reason: &str| {
        let mut observed = observed();
        let store = observed.store.as_mut().unwrap();
        let conditions = &mut store.status.as_mut().unwrap().conditions;
        let reachable = conditions
            .iter_mut()
            .find(|condition| condition.type_ == condition::REACHABLE);
        let reachable = reachable.unwrap();
        reachable.status = status.to_owned();
        reachable.reason = reason.to_owned();
        reachable.message = "The bucket does not exist.".to_owned();
        let status = decide(&observed, at(0)).unwrap().status;
        condition::find(&status.conditions, condition::ACCEPTED)
            .cloned()
            .unwrap()
    };
    assert_eq!(acceptance("True", "Reachable").status, "True");
    assert_eq!(acceptance("Unknown", "FailedOnce").status, "True");
    assert_eq!(acceptance("Unknown", "NotTried").status, "False");
    let unreachable = acceptance("False", "NoBucket");
    assert_eq!(
        (unreachable.status.as_str(), unreachable.reason.as_str()),
        ("False", "ObjectStoreUnavailable")
    );
    assert_eq!(
        unreachable.message,
        "backup.objectStore: The object store 'vault' is not reachable: The bucket does not exist."
    );
    let mut untried = observed();
    untried.store.as_mut().unwrap().status = None;
    let status = decide(&untried, at(0)).unwrap().status;
    assert!(!condition::is_true(&status.conditions, condition::ACCEPTED));
}

#[test]
fn a_tier_without_a_quota_gets_one_without_limits() {
    let mut observed = observed();
    assert_eq!(decide(&observed, at(0)).unwrap().create_quota, None);
    observed.has_quota = false;
    let quota = decide(&observed, at(0)).unwrap().create_quota.unwrap();
    assert_eq!(
        (quota.name_any(), quota.spec),
        ("gold".to_owned(), DaapQuotaSpec::default())
    );
    observed.tier.metadata.deletion_timestamp = Some(Time(at(0)));
    assert_eq!(decide(&observed, at(0)).unwrap().create_quota, None);
}

#[test]
fn a_second_run_changes_nothing() {
    let mut observed = observed();
    let [current, _] = revisions(&observed);
    observed.revisions = vec![current];
    let first = decide(&observed, at(0)).unwrap();
    observed.tier.status = Some(first.status.clone());
    observed
        .tier
        .metadata
        .finalizers
        .clone_from(&first.finalizers);
    observed.revisions[0].status = Some(first.revisions[0].1.clone());
    let second = decide(&observed, at(1000)).unwrap();
    assert_eq!((second.finalizers, second.create), (None, None));
    assert_eq!(second.status, first.status);
    assert_eq!(second.revisions[0].1, first.revisions[0].1);
}

#[test]
fn an_old_revision_goes_when_it_is_unused_and_after_a_while() {
    let mut observed = observed();
    observed.revisions = revisions(&observed).into();
    observed.users = Users {
        named: 1,
        bound: [("gold-old".into(), 1)].into(),
        unreadable: 0,
    };
    let used = decide(&observed, at(0)).unwrap();
    assert!(used.remove.is_empty());
    assert_eq!(used.status.in_use, 1);
    assert_eq!(used.revisions[1].1.in_use, 1);

    observed.revisions[1].status = Some(used.revisions[1].1.clone());
    observed.users = Users::default();
    let soon = decide(&observed, at(599)).unwrap();
    assert!(soon.remove.is_empty());
    assert_eq!(soon.look_again, Some(at(600)));
    let removed = decide(&observed, at(600)).unwrap().remove;
    assert_eq!(
        removed
            .iter()
            .map(kube::ResourceExt::name_any)
            .collect::<Vec<_>>(),
        ["gold-old"]
    );

    observed.users.unreadable = 1;
    assert!(decide(&observed, at(600)).unwrap().remove.is_empty());
}

#[test]
fn a_tier_in_use_stays() {
    let mut observed = observed();
    observed.revisions = vec![revisions(&observed)[0].clone()];
    observed.tier.metadata.deletion_timestamp = Some(Time(at(0)));
    observed.tier.metadata.finalizers = Some(vec!["other".into(), label::IN_USE_FINALIZER.into()]);
    observed.users.named = 1;
    let used = decide(&observed, at(0)).unwrap();
    assert_eq!((used.finalizers, used.remove.len()), (None, 0));
    assert!(!condition::is_true(
        &used.status.conditions,
        condition::ACCEPTED
    ));

    observed.users.named = 0;
    let unused = decide(&observed, at(0)).unwrap();
    assert_eq!((unused.finalizers, unused.remove.len()), (None, 1));

    observed.revisions.clear();
    assert_eq!(
        decide(&observed, at(0)).unwrap().finalizers.unwrap(),
        ["other"]
    );
}
