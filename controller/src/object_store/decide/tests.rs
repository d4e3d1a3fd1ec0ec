use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use daap_crds::label;

use super::{super::observe::Users, *};
use crate::fixtures::{at, object_store};

fn observed(probe: Option<Result<(), Refusal>>) -> Observed {
    let mut store = object_store();
    store.metadata.generation = Some(1);
    store.status = None;
    Observed {
        store,
        users: Users::default(),
        secrets: Ok(()),
        probe,
    }
}

fn refusal() -> Option<Result<(), Refusal>> {
    Some(Err(Refusal {
        reason: "NoBucket",
        message: "the bucket does not exist".to_owned(),
    }))
}

/// What a store is said to be after each of these probes.
fn told(probes: impl IntoIterator<Item = Option<Result<(), Refusal>>>) -> Vec<(String, String)> {
    let mut observed = observed(None);
    probes
        .into_iter()
        .map(|probe| {
            observed.probe = probe;
            let status = decide(&observed, at(0)).status;
            let reachable = condition::find(&status.conditions, REACHABLE)
                .cloned()
                .unwrap();
            observed.store.status = Some(status);
            (reachable.status, reachable.reason)
        })
        .collect()
}

fn words(told: &[(String, String)]) -> Vec<(&str, &str)> {
    told.iter()
        .map(|(status, reason)| (status.as_str(), reason.as_str()))
        .collect()
}

#[test]
fn one_failure_is_a_suspicion_and_two_are_a_verdict() {
    let told = told([
        Some(Ok(())),
        refusal(),
        None,
        refusal(),
        refusal(),
        Some(Ok(())),
        refusal(),
        Some(Ok(())),
    ]);
    assert_eq!(
        words(&told),
        [
            ("True", "Reachable"),
            ("Unknown", "FailedOnce"),
            ("Unknown", "FailedOnce"),
            ("False", "NoBucket"),
            ("False", "NoBucket"),
            ("True", "Reachable"),
            ("Unknown", "FailedOnce"),
            ("True", "Reachable"),
        ]
    );
}

#[test]
fn nothing_speaks_for_a_new_store_nor_for_a_changed_one() {
    assert_eq!(words(&told([refusal()])), [("False", "NoBucket")]);
    let mut changed = observed(Some(Ok(())));
    changed.store.status = Some(decide(&changed, at(0)).status);
    changed.store.metadata.generation = Some(2);
    changed.probe = refusal();
    let status = decide(&changed, at(0)).status;
    let reachable = condition::find(&status.conditions, REACHABLE).unwrap();
    assert_eq!(
        (reachable.status.as_str(), reachable.message.as_str()),
        ("False", "The bucket does not exist.")
    );
}

#[test]
fn a_store_that_misses_its_secrets_is_not_tried() {
    let mut observed = observed(None);
    observed.secrets = Err("the Secret 'vault-key', which does not exist".to_owned());
    let status = decide(&observed, at(0)).status;
    let accepted = condition::find(&status.conditions, ACCEPTED).unwrap();
    assert_eq!(accepted.status, "False");
    assert_eq!(
        accepted.message,
        "The object store names the Secret 'vault-key', which does not exist."
    );
    assert_eq!(
        condition::find(&status.conditions, REACHABLE)
            .unwrap()
            .reason,
        NOT_TRIED
    );
}

#[test]
fn a_second_run_changes_nothing() {
    for probe in [Some(Ok(())), refusal()] {
        let mut observed = observed(probe);
        let first = decide(&observed, at(0));
        assert_eq!(
            first.finalizers.as_deref(),
            Some(&[label::IN_USE_FINALIZER.to_owned()][..])
        );
        observed
            .store
            .metadata
            .finalizers
            .clone_from(&first.finalizers);
        observed.store.status = Some(first.status.clone());
        for probe in [None, observed.probe.clone()] {
            observed.probe = probe;
            let second = decide(&observed, at(1000));
            assert_eq!(
                (second.finalizers, second.status),
                (None, first.status.clone())
            );
        }
    }
}

#[test]
fn a_store_goes_when_no_tier_names_it() {
    let mut observed = observed(Some(Ok(())));
    observed.store.metadata.finalizers =
        Some(vec!["someone/else".into(), label::IN_USE_FINALIZER.into()]);
    observed.store.metadata.deletion_timestamp = Some(Time(at(0)));
    observed.users.tiers.insert("gold".to_owned());
    let plan = decide(&observed, at(0));
    assert_eq!((plan.finalizers, plan.status.in_use), (None, 1));
    observed.users.tiers.clear();
    observed.users.unreadable = 1;
    assert_eq!(decide(&observed, at(0)).finalizers, None);
    observed.users.unreadable = 0;
    assert_eq!(
        decide(&observed, at(0)).finalizers.unwrap(),
        ["someone/else"]
    );
}

#[test]
fn a_broken_store_is_tried_more_often() {
    let settings = Settings::from_defaults().unwrap();
    let pause = |probe| decide(&observed(probe), at(0)).pause(&settings);
    assert_eq!(pause(Some(Ok(()))), settings.probe_interval);
    assert_eq!(pause(refusal()), WHILE_BROKEN);
    let mut suspected = observed(Some(Ok(())));
    suspected.store.status = Some(decide(&suspected, at(0)).status);
    suspected.probe = refusal();
    assert_eq!(
        decide(&suspected, at(0)).pause(&settings),
        AFTER_FIRST_FAILURE
    );
}
