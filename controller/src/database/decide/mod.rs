//! What is to be done. Pure: [`Observed`] in, [`Plan`] out; no client, no clock, no randomness of its own.

mod archive;
mod backup;
mod bound;
mod foreign;
mod health;
mod operate;
mod symptoms;
mod unbound;

use daap_crds::{
    DaapDatabase, Phase,
    condition::{self, Fact},
    cost::Cost,
    database,
    database::{AdmissionStatus, State},
    label,
    reason::Reason,
    tier::Strategy,
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use self::{bound::Bound, unbound::decide_unbound};
use super::{
    observe::Observed,
    plan::{Assessment, Claim, Converge, Health, Password, Plan, Trouble},
};
use crate::settings::Settings;

/// What must be random, drawn beforehand and used only where nothing is yet.
pub struct Chance {
    /// A server name never used before.
    pub server_name: String,
    /// A password.
    pub application_password: Password,
    /// Another password.
    pub observer_password: Password,
}

/// What is to be done with a database.
pub fn decide(observed: &Observed, settings: &Settings, chance: &Chance, now: Timestamp) -> Plan {
    let database = &observed.database;
    let is_leaving = database.metadata.deletion_timestamp.is_some();
    if is_leaving && holds_nothing(observed) {
        return Plan::Release;
    }
    if phase(database) == Some(Phase::Deleted) {
        return decide_deleted(observed, now);
    }
    if database.spec.tier_revision.is_none() {
        return decide_unbound(observed, now);
    }
    if !is_leaving && !has_finalizer(database) {
        return Plan::Claim(Claim {
            finalizers: with_finalizer(database),
        });
    }
    let is_marked = database.annotations().contains_key(label::READERS);
    if is_marked && observed.readers.is_empty() {
        return Plan::Unmark;
    }
    let mut converge = decide_bound(observed, settings, chance, now);
    if is_marked {
        let look_again = converge.assessment.look_again;
        converge.assessment.look_again = look_again.into_iter().chain([soon(now)]).min();
    }
    if let Some(refused) = refused_wish(observed) {
        let trouble = converge.assessment.trouble.take();
        converge.assessment.trouble =
            Some(trouble.map_or(refused.clone(), |trouble| trouble.and(&refused)));
    }
    Plan::Converge(Box::new(converge))
}

fn phase(database: &DaapDatabase) -> Option<Phase> {
    database.status.as_ref()?.phase
}

/// A database that is gone. Its object stays until its record was written down, or for a day where nobody does that.
fn decide_deleted(observed: &Observed, now: Timestamp) -> Plan {
    const UNRECORDED: SignedDuration = SignedDuration::from_hours(24);
    let database = &observed.database;
    let operation = database
        .status
        .as_ref()
        .and_then(|status| status.operation.as_ref());
    let deleted_at = operation
        .and_then(|operation| operation.finished_at.as_ref())
        .map_or(now, |time| time.0);
    let until = deleted_at.saturating_add(UNRECORDED).unwrap_or(deleted_at);
    if database.metadata.deletion_timestamp.is_some() {
        Plan::Release
    } else if database.annotations().contains_key(label::RECORDED) || now >= until {
        Plan::Bury
    } else {
        let mut assessment = assessment(observed, Health::Resting(Phase::Deleted), None);
        assessment.look_again = Some(until);
        Plan::Converge(Box::new(Converge::say(assessment)))
    }
}

/// Whether no data can be lost with the database: no Cluster was ever about to be made for it, and none exists, or it
/// was destroyed.
fn holds_nothing(observed: &Observed) -> bool {
    let status = observed.database.status.as_ref();
    let never = status.is_none_or(|status| {
        status.incarnations.is_empty() || status.phase == Some(Phase::Deleted)
    });
    let cluster = observed.children.cluster.found();
    never && !cluster.is_some_and(|cluster| observed.identity.owns(&cluster.metadata))
}

fn has_finalizer(database: &DaapDatabase) -> bool {
    database
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == label::DATABASE_FINALIZER)
}

fn with_finalizer(database: &DaapDatabase) -> Vec<String> {
    let mut finalizers = database.finalizers().to_vec();
    if !has_finalizer(database) {
        finalizers.push(label::DATABASE_FINALIZER.to_owned());
    }
    finalizers
}

/// Deleting the object of a database whose tier only freezes destroys nothing.
fn refused_wish(observed: &Observed) -> Option<Trouble> {
    let database = &observed.database;
    let strategy = observed
        .revision
        .found()
        .map(|revision| revision.spec.template.destruction.strategy);
    let is_refused = database.metadata.deletion_timestamp.is_some()
        && database.spec.state == State::Active
        && !database.is_abandoned()
        && strategy.is_none_or(|strategy| strategy == Strategy::Freeze);
    is_refused.then(|| {
        Trouble::new(
            Reason::Unsupported,
            "Deleting the object does not destroy a database: its tier freezes, and never destroys data. It stays \
             until it is destroyed by force, with 'state: Destroyed' and 'destruction'.",
        )
    })
}

/// An assessment with nothing but health and trouble.
fn assessment(observed: &Observed, health: Health, trouble: Option<Trouble>) -> Assessment {
    let database = &observed.database;
    let status = database.status.clone().unwrap_or_default();
    let admission = if database.spec.tier_revision.is_some() {
        let cost = observed
            .revision
            .found()
            .and_then(|revision| Cost::of(&revision.spec.template))
            .or_else(|| status.admission.and_then(|said| said.cost));
        Some(AdmissionStatus::new(database::Verdict::Admitted, cost))
    } else {
        // The quota's controller writes it; here it is kept.
        status.admission
    };
    Assessment {
        facts: vec![admitted(admission.as_ref())],
        admission,
        health,
        trouble,
        incarnations: status.incarnations,
        connectable: observed.children.connection_secret.found().is_some(),
        pooled: false,
        backup: status.backup,
        operation: status.operation,
        archived_until: status.archived_until,
        abandoned_at: status.abandoned_at,
        look_again: None,
    }
}

/// Whether the quota admitted a database, as a condition.
fn admitted(admission: Option<&AdmissionStatus>) -> Fact {
    let (reason, message) = match admission {
        Some(said) if said.verdict == database::Verdict::Admitted => {
            ("Admitted", "The quota of the tier has room for it.")
        }
        Some(said) => (
            Reason::QuotaExceeded.as_str(),
            said.message.as_deref().unwrap_or("There is no room."),
        ),
        None => ("Undecided", "The quota has not decided on it yet."),
    };
    Fact {
        type_: condition::ADMITTED,
        status: admission.map(|said| said.verdict == database::Verdict::Admitted),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

/// A database that is bound to a revision.
fn decide_bound(
    observed: &Observed,
    settings: &Settings,
    chance: &Chance,
    now: Timestamp,
) -> Converge {
    let Some(revision) = observed.revision.found() else {
        let name = observed
            .database
            .spec
            .tier_revision
            .as_deref()
            .unwrap_or_default();
        let message =
            format!("The revision '{name}', to which the database is bound, does not exist.");
        return stopped(
            observed,
            Trouble::new(Reason::RevisionNotFound, message),
            Health::Failed,
            now,
        );
    };
    Bound {
        observed,
        template: &revision.spec.template,
        settings,
        chance,
        now,
    }
    .decide()
}

/// Nothing is touched until something outside of the database changes. Not all of it wakes a run up, so it is
/// looked at again.
fn stopped(observed: &Observed, trouble: Trouble, health: Health, now: Timestamp) -> Converge {
    let mut assessment = assessment(observed, health, Some(trouble));
    assessment.look_again = Some(soon(now));
    Converge::say(assessment)
}

fn soon(now: Timestamp) -> Timestamp {
    const PAUSE: SignedDuration = SignedDuration::from_secs(30);
    now.saturating_add(PAUSE).unwrap_or(now)
}

fn waiting_for(what: &str) -> Health {
    Health::Progressing {
        waiting_for: what.to_owned(),
    }
}

#[cfg(test)]
mod tests;
