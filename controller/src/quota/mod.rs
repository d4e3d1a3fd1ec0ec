//! Quotas: the one place where a database is admitted to its tier, however it was asked for.
//!
//! ```text
//! observe → Observed → decide → Plan → carry_out
//! ```
//!
//! [`observe`] is the only reader and reads live; [`decide`] is pure; what it says is written by [`carry_out`]: first
//! everything that is admitted at once, in one compare-and-swap on the status of the DaapQuota, then each binding.
//!
//! Why the sum of what is admitted never exceeds a limit:
//!
//! - A database is bound only after a reservation of its cost was written to the DaapQuota, and only to the revision
//!   that was reserved.
//! - The DaapQuota is read *before* the databases are listed, and written only if it is still the one that was read.
//!   So a reservation that was dropped before the reading had been seen bound, and is in the list; one that was added
//!   after it makes the writing fail.
//! - A reservation goes when its database is seen bound, or is known to be gone. An object that is not to be admitted
//!   any more is removed first, and its reservation goes after it.
//! - What is removed or bound is removed or bound at the version that was looked at, so that of two who disagree one
//!   fails.
//! - A replica that finds a later leadership recorded than its own writes nothing.

pub mod bookkeeping;
mod carry_out;
pub mod decide;
pub mod observe;

use daap_crds::{DaapQuota, DaapQuotaStatus, condition};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{api::ListParams, core::DeserializeGuard, runtime::controller::Action};
use thiserror::Error;

use self::carry_out::carry_out;
use crate::{
    context::Context,
    k8s::{
        client::{Lookup, Reader},
        error::CallError,
        events::Notice,
    },
    settings::Settings,
};

/// Why a run had no success.
#[derive(Debug, Error)]
pub enum QuotaError {
    /// Reading failed.
    #[error("cannot observe the quota")]
    Observe(#[source] CallError),
    /// Another replica has led since this one began to.
    #[error("the quota was written by a later leadership than this one")]
    Fenced,
    /// Writing failed.
    #[error("cannot write the quota or a database")]
    Write(#[source] CallError),
}

impl QuotaError {
    /// A short stable word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Observe(call) | Self::Write(call) => call.category(),
            Self::Fenced => "NotLeader",
        }
    }
}

/// One run for one quota.
///
/// # Errors
/// When the API server does not answer or does not take a write. Everything else is said in the statuses.
pub async fn reconcile(context: &Context, name: &str) -> Result<Action, QuotaError> {
    let observed = observe::observe(&context.reader, name)
        .await
        .map_err(QuotaError::Observe)?;
    let Some(observed) = observed else {
        return Ok(Action::await_change());
    };
    let bookkeeping = &*context.bookkeeping;
    let recorded = observed
        .quota
        .status
        .as_ref()
        .map_or(0, |status| status.lease_epoch);
    if !bookkeeping.may_write(context.epoch, recorded) {
        return Err(QuotaError::Fenced);
    }
    let now = context.clock.now();
    let plan = decide::decide(
        &observed,
        bookkeeping,
        &context.settings,
        context.epoch,
        now,
    );
    let look_again = plan.look_again;
    carry_out(context, observed.quota, plan)
        .await
        .map_err(QuotaError::Write)?;
    Ok(Action::requeue(
        context.pause(look_again, context.settings.resync_interval),
    ))
}

/// The number of a leadership that just began: higher than that of every one before.
///
/// The Lease counts its holders. Should somebody have removed it, it counts from the beginning; what the quotas have
/// recorded does not.
///
/// # Errors
/// When the API server does not answer.
pub async fn epoch(reader: &Reader, settings: &Settings) -> Result<i64, CallError> {
    let lease: Lookup<Lease> = reader
        .get_in(&settings.system_namespace, &settings.lease_name)
        .await?;
    let held = lease
        .found()
        .and_then(|lease| lease.spec.as_ref()?.lease_transitions);
    let quotas: Vec<DeserializeGuard<DaapQuota>> = reader.list_all(&ListParams::default()).await?;
    let recorded = quotas
        .iter()
        .filter_map(|quota| Some(quota.0.as_ref().ok()?.status.as_ref()?.lease_epoch));
    let next = recorded.max().unwrap_or(0).saturating_add(1);
    Ok(next.max(held.map_or(0, i64::from)))
}

/// What is worth an Event in a change of status: that the limits hold what is allocated, or do not any more.
fn notice(previous: Option<&DaapQuotaStatus>, next: &DaapQuotaStatus) -> Option<Notice> {
    let before =
        previous.and_then(|status| condition::find(&status.conditions, condition::WITHIN_LIMITS));
    let now = condition::find(&next.conditions, condition::WITHIN_LIMITS)?;
    let same = match before {
        Some(before) => before.status == now.status,
        None => now.status == "True",
    };
    (!same).then(|| Notice {
        warning: now.status != "True",
        reason: now.reason.clone(),
        action: "Count",
        note: now.message.clone(),
    })
}
