//! A database that no quota admitted yet: why it waits, and for what. Pure.

use daap_crds::{
    DaapDatabase, Phase, condition,
    database::{State, Verdict},
    reason::Reason,
};
use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        lifecycle,
        observe::Observed,
        plan::{Converge, Health, Plan, Trouble},
    },
    assessment, waiting_for,
};

/// A database that no quota admitted yet. It is bound by the quota's controller, and by no other.
pub(super) fn decide_unbound(observed: &Observed, now: Timestamp) -> Plan {
    let database = &observed.database;
    if database.spec.state == State::Destroyed {
        // Nothing was ever made for it.
        let mut assessment = assessment(observed, Health::Resting(Phase::Deleted), None);
        assessment.operation = Some(lifecycle::nothing_to_destroy(database, now));
        return Plan::Converge(Box::new(Converge::say(assessment)));
    }
    match offer(observed) {
        Offer::Revision => match quota_trouble(database) {
            None if database.status.is_none() && now < decided_by(database) => {
                Plan::Await(decided_by(database))
            }
            trouble => waiting(observed, trouble),
        },
        Offer::NotYet => waiting(observed, None),
        Offer::Refused(trouble) => waiting(observed, Some(trouble)),
    }
}

/// When the quota should have decided on a database.
fn decided_by(database: &DaapDatabase) -> Timestamp {
    const PATIENCE: SignedDuration = SignedDuration::from_secs(3);
    let created = database.metadata.creation_timestamp.as_ref();
    created
        .and_then(|created| created.0.checked_add(PATIENCE).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// That the quota has no room, in its own words.
fn quota_trouble(database: &DaapDatabase) -> Option<Trouble> {
    let said = database.status.as_ref()?.admission.as_ref()?;
    let message = said.message.as_deref()?;
    (said.verdict != Verdict::Admitted).then(|| Trouble::new(Reason::QuotaExceeded, message))
}

/// What a tier has for a new database.
enum Offer {
    /// Its current revision.
    Revision,
    /// Nothing yet: it was not looked at since it was made or changed.
    NotYet,
    /// Nothing.
    Refused(Trouble),
}

fn offer(observed: &Observed) -> Offer {
    let name = &observed.identity.tier;
    let Some(tier) = observed.tier.found() else {
        return Offer::Refused(Trouble::new(
            Reason::TierNotFound,
            format!("The tier '{name}' does not exist."),
        ));
    };
    let not_accepted = |why: &str| {
        Offer::Refused(Trouble::new(
            Reason::TierNotAccepted,
            format!("The tier '{name}' is not accepted: {why}"),
        ))
    };
    if tier.metadata.deletion_timestamp.is_some() {
        return not_accepted("it is being deleted.");
    }
    let status = tier
        .status
        .as_ref()
        .filter(|status| status.observed_generation == tier.metadata.generation);
    match status.and_then(|status| condition::find(&status.conditions, condition::ACCEPTED)) {
        Some(accepted) if accepted.status != "True" => not_accepted(&accepted.message),
        Some(_) if observed.revision.found().is_some() => Offer::Revision,
        Some(_) => Offer::NotYet,
        None => Offer::NotYet,
    }
}

/// A database for which nothing can be made yet.
fn waiting(observed: &Observed, trouble: Option<Trouble>) -> Plan {
    let assessment = assessment(observed, waiting_for("its tier and its quota"), trouble);
    Plan::Converge(Box::new(Converge::say(assessment)))
}
