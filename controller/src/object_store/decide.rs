//! What is to be said of an object store. Pure: [`Observed`] in, [`Plan`] out.

use std::time::Duration;

use daap_crds::{
    DaapObjectStore, DaapObjectStoreStatus,
    condition::{self, ACCEPTED, Fact, REACHABLE},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::observe::{Observed, Refusal};
use crate::{k8s::finalizer, settings::Settings};

/// The reason of a store that was not tried, because what it needs is missing.
pub const NOT_TRIED: &str = "NotTried";
/// The reason of a store that failed once after it was reachable.
pub const SUSPECTED: &str = "FailedOnce";
/// How soon a store is tried again that failed once.
const AFTER_FIRST_FAILURE: Duration = Duration::from_secs(20);
/// How soon one is tried again that is not reachable, or misses what it needs: somebody may be repairing it.
const WHILE_BROKEN: Duration = Duration::from_secs(60);

/// What is to be done with an object store.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The finalizers to write, if they change.
    pub finalizers: Option<Vec<String>>,
    /// What to say about it.
    pub status: DaapObjectStoreStatus,
}

impl Plan {
    /// How long the store rests until it is tried again.
    pub fn pause(&self, settings: &Settings) -> Duration {
        let reachable = condition::find(&self.status.conditions, REACHABLE);
        let at_most = match reachable.map(|reachable| reachable.status.as_str()) {
            Some("True") => return settings.probe_interval,
            Some("Unknown") => AFTER_FIRST_FAILURE,
            _ => WHILE_BROKEN,
        };
        at_most.min(settings.probe_interval)
    }
}

/// What is to be done with an object store.
pub fn decide(observed: &Observed, now: Timestamp) -> Plan {
    let store = &observed.store;
    let previous = store.status.clone().unwrap_or_default();
    let facts = [acceptance(observed), reachability(observed)];
    let generation = store.metadata.generation;
    Plan {
        // What cannot be read may name it.
        finalizers: finalizer::in_use(
            &observed.store.metadata,
            observed.users.tiers.is_empty() && observed.users.unreadable == 0,
        ),
        status: DaapObjectStoreStatus {
            observed_generation: generation,
            in_use: i32::try_from(observed.users.tiers.len()).unwrap_or(i32::MAX),
            conditions: condition::conditions(&previous.conditions, &facts, generation, now),
        },
    }
}

/// Why nothing new is to rely on an object store, in a sentence; nothing, when it may.
///
/// A store that nobody tried yet is not relied on. One that is only suspected is.
pub fn store_trouble(store: &DaapObjectStore) -> Option<String> {
    let name = store.name_any();
    if let Some(accepted) = told(store, ACCEPTED).filter(|accepted| accepted.status == "False") {
        let why = &accepted.message;
        return Some(format!("The object store '{name}' is not accepted: {why}"));
    }
    let was_tried = told(store, REACHABLE).is_some_and(|reachable| reachable.reason != NOT_TRIED);
    if !was_tried {
        return Some(format!("The object store '{name}' was not tried yet."));
    }
    let reachable = told(store, REACHABLE).filter(|reachable| reachable.status == "False")?;
    let why = &reachable.message;
    Some(format!("The object store '{name}' is not reachable: {why}"))
}

fn told<'a>(store: &'a DaapObjectStore, type_: &str) -> Option<&'a Condition> {
    let status = store.status.as_ref()?;
    condition::find(&status.conditions, type_)
}

fn fact(type_: &'static str, status: Option<bool>, reason: &str, message: String) -> Fact {
    Fact {
        type_,
        status,
        reason: reason.to_owned(),
        message,
    }
}

fn acceptance(observed: &Observed) -> Fact {
    if observed.store.metadata.deletion_timestamp.is_some() {
        let message = format!(
            "The object store is being deleted, and waits until no tier names it: {} do.",
            observed.users.tiers.len()
        );
        return fact(ACCEPTED, Some(false), "BeingDeleted", message);
    }
    match &observed.secrets {
        Ok(()) => {
            let message = "What the object store names is there.".to_owned();
            fact(ACCEPTED, Some(true), "Accepted", message)
        }
        Err(missing) => {
            let message = format!("The object store names {missing}.");
            fact(ACCEPTED, Some(false), "SecretMissing", message)
        }
    }
}

/// Whether the store can be reached: what the probe found, in the light of what was said before.
///
/// A store that was reachable is suspected for one failure and given up for two. One that is new or was changed has
/// nothing that speaks for it.
fn reachability(observed: &Observed) -> Fact {
    let previous = observed.store.status.as_ref();
    let before = previous.and_then(|status| condition::find(&status.conditions, REACHABLE));
    let is_same = previous
        .and_then(|status| status.observed_generation)
        .is_some_and(|generation| Some(generation) == observed.store.metadata.generation);
    let was = before.map(|before| (before.status.as_str(), before.reason.as_str()));
    match (&observed.secrets, &observed.probe) {
        (Err(_), _) => {
            let message =
                "The object store was not tried: it names what does not exist.".to_owned();
            fact(REACHABLE, None, NOT_TRIED, message)
        }
        (Ok(()), Some(Ok(()))) => {
            let message = "An object was written, listed and deleted.".to_owned();
            fact(REACHABLE, Some(true), "Reachable", message)
        }
        (Ok(()), Some(Err(refusal))) if is_same && matches!(was, Some(("True", _))) => {
            let message = format!(
                "The last probe failed, those before did not: {}.",
                refusal.message
            );
            fact(REACHABLE, None, SUSPECTED, message)
        }
        (Ok(()), Some(Err(Refusal { reason, message }))) => {
            fact(REACHABLE, Some(false), reason, sentence(message))
        }
        // It was not the time for a probe: nothing new is known.
        (Ok(()), None) => match before {
            Some(before) => fact(
                REACHABLE,
                match before.status.as_str() {
                    "True" => Some(true),
                    "False" => Some(false),
                    _ => None,
                },
                &before.reason,
                before.message.clone(),
            ),
            None => fact(
                REACHABLE,
                None,
                NOT_TRIED,
                "The object store was not tried.".to_owned(),
            ),
        },
    }
}

/// A text as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}

#[cfg(test)]
mod tests;
