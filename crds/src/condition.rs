//! Conditions that are written only when a fact changes. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::{Schema, SchemaGenerator};

/// A database answers, and everything that protects it is in place.
pub const READY: &str = "Ready";
/// The spec is understood and can be served.
pub const ACCEPTED: &str = "Accepted";
/// The quota admitted a database.
pub const ADMITTED: &str = "Admitted";
/// What is allocated exceeds no limit of a quota.
pub const WITHIN_LIMITS: &str = "WithinLimits";
/// Write-ahead log reaches the object store.
pub const ARCHIVING: &str = "Archiving";
/// Fewer instances than the tier promises.
pub const DEGRADED: &str = "Degraded";
/// The object store answers.
pub const REACHABLE: &str = "Reachable";

/// What is true, without the time at which it became so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The type of the condition.
    pub type_: &'static str,
    /// `Some(true)` is `True`, `Some(false)` is `False`, `None` is `Unknown`.
    pub status: Option<bool>,
    /// A CamelCase code.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl Fact {
    /// The status as Kubernetes spells it.
    fn status_text(&self) -> &'static str {
        match self.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// The conditions that state `facts`, keeping each transition time whose status did not change.
///
/// Conditions of other types in `current` are dropped: the caller states all of its facts. Applying the same
/// facts again gives the same conditions, whatever `now` is.
pub fn conditions(
    current: &[Condition],
    facts: &[Fact],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    facts
        .iter()
        .map(|fact| {
            let status = fact.status_text();
            let unchanged = current
                .iter()
                .find(|condition| condition.type_ == fact.type_ && condition.status == status);
            Condition {
                type_: fact.type_.to_owned(),
                status: status.to_owned(),
                reason: fact.reason.clone(),
                message: fact.message.clone(),
                observed_generation: generation,
                last_transition_time: unchanged.map_or_else(
                    || Time(whole_second(now)),
                    |condition| condition.last_transition_time.clone(),
                ),
            }
        })
        .collect()
}

/// The time without its fraction: what the API server stores.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of a type is `True`.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// The schema of `status.conditions`: a list keyed by `type`, so that server-side apply merges it.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<Condition>();
    schemars::json_schema!({
        "type": "array",
        "description": "What is known, one condition a type.",
        "items": item,
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(status: Option<bool>) -> Fact {
        Fact {
            type_: READY,
            status,
            reason: "Because".into(),
            message: "It is so.".into(),
        }
    }

    #[test]
    fn time_moves_only_with_the_status() {
        let [t1, t2, t3] = [100, 200, 300].map(|second| Timestamp::from_second(second).unwrap());
        let first = conditions(&[], &[fact(Some(false))], Some(1), t1);
        assert_eq!(conditions(&first, &[fact(Some(false))], Some(1), t2), first);
        let second = conditions(&first, &[fact(Some(true))], Some(2), t3);
        assert_eq!(second[0].last_transition_time.0, t3);
        assert!(is_true(&second, READY));
    }
}
