//! What is charged to a quota, and who is admitted. Pure: [`Observed`] in, [`Plan`] out.

use std::collections::{BTreeMap, BTreeSet};

use daap_crds::{
    DaapQuotaSpec, DaapQuotaStatus, DaapTier,
    condition::{self, Fact},
    cost::{Cost, Excess, Resource},
    database::{Admission, AdmissionStatus, Verdict},
    quota::Reservation,
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    bookkeeping::Bookkeeping,
    observe::{Entry, Observed, label},
};
use crate::settings::Settings;

/// How many databases are admitted in one write, so that an object stays far below the size that etcd takes.
const MOST_AT_ONCE: usize = 250;

/// What is to be done about a quota.
pub struct Plan {
    /// What to say about the quota. Written before anything else.
    pub status: DaapQuotaStatus,
    /// Databases that are reserved for and not bound yet, and the revision to bind each to.
    pub bind: Vec<(Entry, String)>,
    /// Databases that are not admitted, and what to say about it.
    pub verdicts: Vec<(Entry, AdmissionStatus)>,
    /// Databases whose time to be admitted is over.
    pub remove: Vec<Entry>,
    /// When to look again, although nothing may have happened.
    pub look_again: Option<Timestamp>,
}

/// What is to be done about a quota, by the leadership number `epoch`.
pub fn decide(
    observed: &Observed,
    bookkeeping: &dyn Bookkeeping,
    settings: &Settings,
    epoch: i64,
    now: Timestamp,
) -> Plan {
    let prices = Prices::of(observed, bookkeeping);
    let previous = observed.quota.status.clone().unwrap_or_default();
    let account = Account::count(observed, &prices, &previous, bookkeeping);
    let patience = SignedDuration::try_from(settings.fail_fast_deadline).unwrap_or_default();
    let overdue = |entry: &&Entry| {
        let until = entry.created_at().saturating_add(patience);
        until.is_ok_and(|until| now >= until)
    };
    let (late, waiting): (Vec<_>, Vec<_>) = observed
        .databases
        .iter()
        .filter(|entry| entry.spec.tier_revision.is_none() && is_present(entry))
        .partition(|entry| entry.spec.admission == Admission::FailFast && overdue(entry));
    let deadlines = waiting
        .iter()
        .filter(|entry| entry.spec.admission == Admission::FailFast)
        .filter_map(|entry| entry.created_at().saturating_add(patience).ok());
    let look_again = deadlines.min();
    let remove = late.into_iter().cloned().collect();
    let Admitted { account, verdicts } = admit(observed, &prices, account, waiting.iter().copied());
    let bind = waiting.into_iter().filter_map(|entry| {
        let reserved = account.reserved(entry.uid())?;
        Some((entry.clone(), reserved.revision.clone()))
    });
    Plan {
        bind: bind.collect(),
        verdicts,
        remove,
        look_again,
        status: status(observed, &previous, account, epoch, now),
    }
}

fn is_present(entry: &Entry) -> bool {
    entry.metadata.deletion_timestamp.is_none()
}

/// What each revision of the tier costs.
struct Prices<'a> {
    costs: BTreeMap<String, Option<Cost>>,
    /// The revision that new databases are bound to.
    offered: Option<&'a str>,
}

impl<'a> Prices<'a> {
    fn of(observed: &'a Observed, bookkeeping: &dyn Bookkeeping) -> Self {
        let price = |revision: &daap_crds::DaapTierRevision| {
            (
                revision.name_any(),
                bookkeeping.cost(&revision.spec.template),
            )
        };
        Self {
            costs: observed.revisions.iter().map(price).collect(),
            offered: observed.tier.found().and_then(offered),
        }
    }

    fn cost(&self, revision: &str) -> Option<Cost> {
        self.costs.get(revision).copied().flatten()
    }
}

/// The revision that a tier offers to new databases, if it offers any.
pub fn offered(tier: &DaapTier) -> Option<&str> {
    let status = tier.status.as_ref()?;
    let looked_at = status.observed_generation == tier.metadata.generation;
    let accepted = condition::is_true(&status.conditions, condition::ACCEPTED);
    (looked_at && accepted && tier.metadata.deletion_timestamp.is_none())
        .then_some(status.current_revision.as_deref())?
}

/// What is charged.
struct Account {
    /// The sum; absent, when it cannot be told.
    allocated: Option<Cost>,
    reservations: Vec<Reservation>,
    /// Databases whose cost is not known.
    uncountable: Vec<String>,
}

impl Account {
    /// The cost of everything that is bound and everything that is reserved, from the beginning.
    fn count(
        observed: &Observed,
        prices: &Prices<'_>,
        previous: &DaapQuotaStatus,
        bookkeeping: &dyn Bookkeeping,
    ) -> Self {
        let by_uid: BTreeMap<&str, &Entry> = observed
            .databases
            .iter()
            .map(|entry| (entry.uid(), entry))
            .collect();
        let stands = |reserved: &&Reservation| match by_uid.get(&*reserved.uid) {
            None => observed.elsewhere.contains(&reserved.uid),
            Some(entry) => match &entry.spec.tier_revision {
                Some(bound) => *bound != reserved.revision && bookkeeping.is_charged(entry),
                // Who was about to bind it looked at an older version, and will fail.
                None => entry.is_undecided(),
            },
        };
        let reservations: Vec<_> = previous
            .reservations
            .iter()
            .filter(stands)
            .cloned()
            .collect();
        // A database that is to move from one revision to another is reserved for and bound at once.
        let mut charges: BTreeMap<&str, Option<Cost>> = reservations
            .iter()
            .map(|reserved| (&*reserved.uid, Some(reserved.cost)))
            .collect();
        let mut uncountable = Vec::new();
        for entry in &observed.databases {
            let Some(revision) = &entry.spec.tier_revision else {
                continue;
            };
            if !bookkeeping.is_charged(entry) {
                continue;
            }
            let recorded = || entry.admission().and_then(|said| said.cost);
            let cost = prices.cost(revision).or_else(recorded);
            if cost.is_none() {
                uncountable.push(label(entry));
            }
            let charge = charges.entry(entry.uid()).or_insert(Some(Cost::ZERO));
            *charge = charge.zip(cost).map(|(one, other)| one.max(other));
        }
        let allocated = charges.into_values().try_fold(Cost::ZERO, |sum, charge| {
            charge.and_then(|cost| sum.checked_add(cost))
        });
        Self {
            allocated,
            reservations,
            uncountable,
        }
    }

    fn reserved(&self, uid: &str) -> Option<&Reservation> {
        self.reservations
            .iter()
            .find(|reserved| reserved.uid == uid)
    }
}

/// The account after those were admitted for whom there is room, and what to say to the others.
struct Admitted {
    account: Account,
    verdicts: Vec<(Entry, AdmissionStatus)>,
}

/// Looks at everyone who waits, in order; who does not fit is passed over.
fn admit<'a>(
    observed: &Observed,
    prices: &Prices<'_>,
    mut account: Account,
    waiting: impl Iterator<Item = &'a Entry>,
) -> Admitted {
    let reserved: BTreeSet<String> = account
        .reservations
        .iter()
        .map(|reserved| reserved.uid.clone())
        .collect();
    let mut queue: Vec<&Entry> = waiting
        .filter(|entry| entry.is_undecided() && !reserved.contains(entry.uid()))
        .collect();
    queue.sort_by(|one, other| one.place().cmp(&other.place()));
    let mut verdicts = Vec::new();
    let mut admitted = 0;
    for entry in queue {
        // What cannot be counted cannot be compared with a limit.
        let Some(allocated) = account.allocated else {
            break;
        };
        let Some(revision) = target(observed, prices, entry) else {
            continue;
        };
        let Some(cost) = prices.cost(revision) else {
            continue;
        };
        let limits = &observed.quota.spec;
        let excess = limits.exceeded_by(&allocated, &cost);
        if !excess.is_empty() {
            let said = refusal(observed, entry, &allocated, cost, &excess);
            if entry.admission().as_ref() != Some(&said) {
                verdicts.push((entry.clone(), said));
            }
            continue;
        }
        let Some(sum) = allocated.checked_add(cost) else {
            continue;
        };
        // The others are looked at again as soon as these are written.
        if admitted == MOST_AT_ONCE {
            break;
        }
        admitted += 1;
        account.allocated = Some(sum);
        account.reservations.push(Reservation {
            uid: entry.uid().to_owned(),
            namespace: entry.namespace().unwrap_or_default(),
            name: entry.name_any(),
            revision: revision.to_owned(),
            cost,
        });
    }
    Admitted { account, verdicts }
}

/// The revision that a database is to be bound to: what a restored one is restored from, or what the tier offers.
fn target<'a>(observed: &'a Observed, prices: &'a Prices<'_>, entry: &Entry) -> Option<&'a str> {
    let offered = prices.offered?;
    let Some(restore) = &entry.spec.restore else {
        return Some(offered);
    };
    let source = observed
        .databases
        .iter()
        .find(|other| other.uid() == restore.source.uid)?;
    source.spec.tier_revision.as_deref()
}

/// What to say to a database for which there is no room.
///
/// What is said to one that waits does not tell how much is used: it would have to be said again with every change.
fn refusal(
    observed: &Observed,
    entry: &Entry,
    allocated: &Cost,
    cost: Cost,
    excess: &[Excess],
) -> AdmissionStatus {
    let tier = observed.quota.name_any();
    let joined = |texts: Vec<String>| texts.join("; ");
    match entry.spec.admission {
        Admission::FailFast => AdmissionStatus {
            message: Some(format!(
                "The quota of the tier '{tier}' has no room for it: {}.",
                joined(excess.iter().map(ToString::to_string).collect())
            )),
            used: Some(*allocated),
            limits: Some(observed.quota.spec.clone()),
            ..AdmissionStatus::new(Verdict::Refused, Some(cost))
        },
        Admission::Wait => {
            let needs = excess.iter().map(|excess| {
                format!(
                    "{} ({} needed)",
                    excess.resource.as_str(),
                    excess.resource.text(excess.requested)
                )
            });
            AdmissionStatus {
                message: Some(format!(
                    "The quota of the tier '{tier}' has no room for it: {}. It is admitted in order when there is room.",
                    joined(needs.collect())
                )),
                queued: Some(entry.place().1),
                ..AdmissionStatus::new(Verdict::Waiting, Some(cost))
            }
        }
    }
}

fn status(
    observed: &Observed,
    previous: &DaapQuotaStatus,
    account: Account,
    epoch: i64,
    now: Timestamp,
) -> DaapQuotaStatus {
    let generation = observed.quota.metadata.generation;
    let fact = within_limits(&observed.quota.spec, &account);
    let said = DaapQuotaStatus {
        observed_generation: generation,
        allocated: account.allocated.unwrap_or(previous.allocated),
        reservations: account.reservations,
        lease_epoch: previous.lease_epoch,
        conditions: condition::conditions(&previous.conditions, &[fact], generation, now),
    };
    // A new leader has nothing new to say.
    if observed.quota.status.is_some() && said == *previous {
        return said;
    }
    DaapQuotaStatus {
        lease_epoch: epoch,
        ..said
    }
}

fn within_limits(limits: &DaapQuotaSpec, account: &Account) -> Fact {
    let fact = |status, reason: &str, message: String| Fact {
        type_: condition::WITHIN_LIMITS,
        status,
        reason: reason.to_owned(),
        message,
    };
    let Some(allocated) = account.allocated else {
        let which = match &account.uncountable[..] {
            [] => "the sum is too large to be written".to_owned(),
            databases => format!(
                "the cost of {} is not known, because its revision is missing",
                databases[..databases.len().min(3)].join(", ")
            ),
        };
        return fact(
            None,
            "Uncountable",
            format!("What is allocated cannot be told: {which}. Nothing is admitted until it can."),
        );
    };
    let excess = limits.exceeded_by(&allocated, &Cost::ZERO);
    if excess.is_empty() {
        let unlimited = Resource::ALL
            .into_iter()
            .all(|resource| limits.limit(resource).is_none());
        let message = if unlimited {
            "There is no limit."
        } else {
            "What is allocated exceeds no limit."
        };
        return fact(Some(true), "WithinLimits", message.to_owned());
    }
    let texts: Vec<_> = excess.iter().map(ToString::to_string).collect();
    fact(
        Some(false),
        "Exceeded",
        format!(
            "More is allocated than the limits allow: {}. Nothing is taken away, and nothing is admitted until there is room.",
            texts.join("; ")
        ),
    )
}

#[cfg(test)]
mod tests;
