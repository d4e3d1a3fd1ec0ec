//! The rules of the custom resources: one table, two judges.
//!
//! `daap_crds::validation`, which the facade asks before it writes, and the real API server judge the same objects;
//! each must give the verdict that the table states.

use std::collections::BTreeMap;

use daap_crds::{
    DaapDatabase, DaapObjectStore, DaapQuota, DaapTier, DaapTierRevision,
    validation::{Rules, Violation},
};
use serde::Deserialize;
use serde_json::{Value, json};

mod api_server;

/// A line of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    kind: String,
    name: String,
    from: Option<BTreeMap<String, Value>>,
    status: Option<Value>,
    #[serde(default)]
    set: BTreeMap<String, Value>,
    #[serde(default)]
    remove: Vec<String>,
    rejected_at: Option<String>,
}

/// A case with its objects built.
struct Prepared {
    label: String,
    kind: String,
    old: Option<Value>,
    new: Value,
    status: Option<Value>,
    rejected_at: Option<String>,
}

fn prepared() -> Vec<Prepared> {
    let bases: BTreeMap<String, Value> = serde_yaml::from_str(include_str!("bases.yaml")).unwrap();
    let cases: Vec<Case> = serde_yaml::from_str(include_str!("cases.yaml")).unwrap();
    assert!(cases.len() >= 100, "the table has {} cases", cases.len());
    cases
        .into_iter()
        .map(|case| prepare(&bases, case))
        .collect()
}

fn prepare(bases: &BTreeMap<String, Value>, case: Case) -> Prepared {
    let base = &bases[&case.kind];
    let old = case.from.map(|from| {
        let mut old = base.clone();
        from.iter()
            .for_each(|(pointer, value)| set(&mut old, pointer, value.clone()));
        old
    });
    let mut new = old.clone().unwrap_or_else(|| base.clone());
    case.set
        .into_iter()
        .for_each(|(pointer, value)| set(&mut new, &pointer, value));
    case.remove
        .iter()
        .for_each(|pointer| remove(&mut new, pointer));
    Prepared {
        label: format!("{}: {}", case.kind, case.name),
        kind: case.kind,
        old,
        new,
        status: case.status,
        rejected_at: case.rejected_at,
    }
}

fn parent<'a>(
    object: &'a mut Value,
    pointer: &str,
) -> (&'a mut serde_json::Map<String, Value>, String) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    (
        object.pointer_mut(parent).unwrap().as_object_mut().unwrap(),
        name.to_owned(),
    )
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (fields, name) = parent(object, pointer);
    fields.insert(name, value);
}

fn remove(object: &mut Value, pointer: &str) {
    let (fields, name) = parent(object, pointer);
    fields.remove(&name).unwrap();
}

fn rules_by_kind() -> BTreeMap<&'static str, Rules> {
    BTreeMap::from([
        ("DaapDatabase", Rules::of::<DaapDatabase>().unwrap()),
        ("DaapObjectStore", Rules::of::<DaapObjectStore>().unwrap()),
        ("DaapQuota", Rules::of::<DaapQuota>().unwrap()),
        ("DaapTier", Rules::of::<DaapTier>().unwrap()),
        ("DaapTierRevision", Rules::of::<DaapTierRevision>().unwrap()),
    ])
}

/// `old` as the API server would hold it when the update arrives.
fn stored(case: &Prepared) -> Option<Value> {
    let mut old = case.old.clone()?;
    if let Some(status) = &case.status {
        old["status"] = status.clone();
    }
    Some(old)
}

fn verdict(violations: &[Violation]) -> Option<String> {
    violations
        .first()
        .map(|violation| violation.pointer.clone())
}

#[test]
fn the_facades_validators_give_the_tables_verdicts() {
    let rules = rules_by_kind();
    let wrong: Vec<_> = prepared()
        .into_iter()
        .filter_map(|case| {
            let violations =
                rules[case.kind.as_str()].violations(&case.new, stored(&case).as_ref());
            let got = verdict(&violations);
            (got != case.rejected_at).then(|| {
                format!(
                    "{}\n  stated {:?}\n  got {violations:?}",
                    case.label, case.rejected_at
                )
            })
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} cases differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Defaults are part of what is judged: an object that leaves them out is judged as if it had them.
#[test]
fn defaults_are_judged_too() {
    let rules = Rules::of::<DaapTier>().unwrap();
    let mut tier = prepared().remove(0).new;
    set(
        &mut tier,
        "/spec/availability",
        json!({"synchronous": {"number": 1}}),
    );
    assert_eq!(
        verdict(&rules.violations(&tier, None)).as_deref(),
        Some("/spec/availability/synchronous")
    );
}
