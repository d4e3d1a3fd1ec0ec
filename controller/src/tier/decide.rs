//! What is to be done with a tier. Pure: [`Observed`] in, [`Plan`] out.

use daap_crds::{
    DaapQuota, DaapQuotaSpec, DaapTier, DaapTierRevision, DaapTierRevisionSpec,
    DaapTierRevisionStatus, DaapTierStatus,
    acceptance::objections,
    condition::{self, Fact},
    label,
    tier_revision::revision_name,
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::observe::Observed;
use crate::{k8s::finalizer, object_store::decide::store_trouble};

/// The condition of a revision that new databases are bound to.
pub const CURRENT: &str = "Current";
/// How long an unused revision stays after it ceased to be current. A database that was offered it just before may
/// still be about to be bound to it.
const GRACE: SignedDuration = SignedDuration::from_mins(10);

/// What is to be done with a tier.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The finalizers to write, if they change.
    pub finalizers: Option<Vec<String>>,
    /// The revision to make.
    pub create: Option<DaapTierRevision>,
    /// The quota to make: without limits, so that there is always something to count on.
    pub create_quota: Option<DaapQuota>,
    /// The revisions to remove.
    pub remove: Vec<DaapTierRevision>,
    /// What to say about revisions that stay.
    pub revisions: Vec<(DaapTierRevision, DaapTierRevisionStatus)>,
    /// What to say about the tier.
    pub status: DaapTierStatus,
    /// When to look again, although nothing may have happened.
    pub look_again: Option<Timestamp>,
}

/// What is to be done with a tier.
///
/// # Errors
/// When the spec cannot be written as JSON, which no valid spec does.
pub fn decide(observed: &Observed, now: Timestamp) -> Result<Plan, serde_json::Error> {
    let tier = &observed.tier;
    let previous = tier.status.clone().unwrap_or_default();
    let leaving = tier.metadata.deletion_timestamp.is_some();
    let fact = acceptance(observed);
    let current = if fact.status == Some(true) {
        Some(revision_name(&tier.name_any(), &tier.spec)?)
    } else {
        previous.current_revision
    };
    let exists = |name: &String| {
        observed
            .revisions
            .iter()
            .any(|revision| revision.name_any() == *name)
    };
    let create = current
        .as_ref()
        .filter(|name| fact.status == Some(true) && !exists(name));
    let create = create.map(|name| build_revision(tier, name));
    let fates = observed
        .revisions
        .iter()
        .map(|revision| fate(observed, revision, current.as_deref(), now));

    let mut plan = Plan {
        // A database that only names the tier keeps it too: it may just be about to be bound.
        finalizers: finalizer::in_use(&tier.metadata, observed.users.named == 0),
        create,
        create_quota: (!observed.has_quota && !leaving).then(|| unlimited(tier)),
        remove: Vec::new(),
        revisions: Vec::new(),
        status: DaapTierStatus {
            observed_generation: tier.metadata.generation,
            current_revision: current.clone(),
            in_use: observed.users.bound.values().sum(),
            conditions: condition::conditions(
                &previous.conditions,
                &[fact],
                tier.metadata.generation,
                now,
            ),
        },
        look_again: None,
    };
    for (revision, fate) in observed.revisions.iter().zip(fates) {
        match fate {
            Fate::Stays(status) => plan.revisions.push((revision.clone(), status)),
            Fate::StaysUntil(status, time) => {
                plan.revisions.push((revision.clone(), status));
                plan.look_again = plan.look_again.into_iter().chain([time]).min();
            }
            Fate::Goes => plan.remove.push(revision.clone()),
        }
    }
    // The tier goes last, when nothing is left of it.
    if leaving && !(plan.revisions.is_empty() && plan.remove.is_empty()) {
        plan.finalizers = None;
    }
    Ok(plan)
}

fn acceptance(observed: &Observed) -> Fact {
    let fact = |status, reason: &str, message: String| Fact {
        type_: condition::ACCEPTED,
        status: Some(status),
        reason: reason.to_owned(),
        message,
    };
    if observed.tier.metadata.deletion_timestamp.is_some() {
        let message = format!(
            "The tier is being deleted, and waits until no database names it: {} do.",
            observed.users.named
        );
        return fact(false, "BeingDeleted", message);
    }
    if let Some(objection) = objections(&observed.tier.spec, observed.store.is_some()).first() {
        return fact(false, objection.reason, objection.message());
    }
    match observed.store.as_ref().and_then(store_trouble) {
        None => fact(true, "Accepted", "The tier can be served.".to_owned()),
        Some(trouble) => {
            let message = format!("backup.objectStore: {trouble}");
            fact(false, "ObjectStoreUnavailable", message)
        }
    }
}

fn unlimited(tier: &DaapTier) -> DaapQuota {
    DaapQuota::new(&tier.name_any(), DaapQuotaSpec::default())
}

fn build_revision(tier: &DaapTier, name: &str) -> DaapTierRevision {
    let spec = DaapTierRevisionSpec {
        tier: tier.name_any(),
        template: tier.spec.clone(),
    };
    let mut revision = DaapTierRevision::new(name, spec);
    revision.labels_mut().extend([
        (label::TIER.to_owned(), tier.name_any()),
        (
            label::MANAGED_BY.to_owned(),
            label::MANAGED_BY_DAAP.to_owned(),
        ),
    ]);
    revision
}

/// What becomes of a revision.
enum Fate {
    Stays(DaapTierRevisionStatus),
    StaysUntil(DaapTierRevisionStatus, Timestamp),
    Goes,
}

fn fate(
    observed: &Observed,
    revision: &DaapTierRevision,
    current: Option<&str>,
    now: Timestamp,
) -> Fate {
    let name = revision.name_any();
    let in_use = observed.users.bound_to(&name);
    let leaving = observed.tier.metadata.deletion_timestamp.is_some();
    if leaving && observed.users.named == 0 {
        return Fate::Goes;
    }
    let is_current = current == Some(&name);
    let status = revision_status(revision, is_current, in_use, now);
    if is_current || in_use > 0 || observed.users.unreadable > 0 || leaving {
        return Fate::Stays(status);
    }
    let since = condition::find(&status.conditions, CURRENT)
        .map_or(now, |current| current.last_transition_time.0);
    let until = since.saturating_add(GRACE).unwrap_or(since);
    if now >= until {
        Fate::Goes
    } else {
        Fate::StaysUntil(status, until)
    }
}

fn revision_status(
    revision: &DaapTierRevision,
    is_current: bool,
    in_use: i32,
    now: Timestamp,
) -> DaapTierRevisionStatus {
    let previous = revision.status.clone().unwrap_or_default();
    let (reason, message) = if is_current {
        ("Current", "New databases are bound to this revision.")
    } else {
        (
            "Superseded",
            "New databases are bound to another revision; this one goes when no database holds it.",
        )
    };
    let fact = Fact {
        type_: CURRENT,
        status: Some(is_current),
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let generation = revision.metadata.generation;
    DaapTierRevisionStatus {
        observed_generation: generation,
        in_use,
        conditions: condition::conditions(&previous.conditions, &[fact], generation, now),
    }
}

#[cfg(test)]
mod tests;
