//! Tiers: each change makes an immutable revision, and databases hold on to revisions.
//!
//! ```text
//! observe → Observed → decide → Plan → carry_out
//! ```
//!
//! [`observe`] is the only reader, [`decide`] is pure, and what it says is written here.

pub mod decide;
pub mod observe;

use kube::{ResourceExt as _, runtime::controller::Action};
use serde_json::json;
use thiserror::Error;

use self::{decide::Plan, observe::Observed};
use crate::{
    context::Context,
    k8s::{error::CallError, events::Notice},
};

/// Why a run had no success.
#[derive(Debug, Error)]
pub enum TierError {
    /// Reading failed.
    #[error("cannot observe the tier")]
    Observe(#[source] CallError),
    /// The revision cannot be named.
    #[error("cannot decide on the tier")]
    Decide(#[from] serde_json::Error),
    /// Writing failed.
    #[error("cannot write the tier or a revision of it")]
    Write(#[source] CallError),
}

impl TierError {
    /// A short stable word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Observe(call) | Self::Write(call) => call.category(),
            Self::Decide(_) => "Json",
        }
    }
}

/// One run for one tier.
///
/// # Errors
/// When the API server does not answer or does not take a write. Everything else is said in the status.
pub async fn reconcile(context: &Context, name: &str) -> Result<Action, TierError> {
    let Some(observed) = observe::observe(&context.reader, name)
        .await
        .map_err(TierError::Observe)?
    else {
        return Ok(Action::await_change());
    };
    let plan = decide::decide(&observed, context.clock.now())?;
    let look_again = plan.look_again;
    carry_out(context, observed, plan)
        .await
        .map_err(TierError::Write)?;
    Ok(Action::requeue(
        context.pause(look_again, context.settings.resync_interval),
    ))
}

/// Writes what was decided. The revision is there before the status names it, and the finalizer before a database
/// can be bound; the finalizer goes last.
async fn carry_out(context: &Context, observed: Observed, plan: Plan) -> Result<(), CallError> {
    let Plan {
        finalizers,
        create,
        create_quota,
        remove,
        revisions,
        status,
        look_again: _,
    } = plan;
    let writer = &context.writer;
    let mut tier = observed.tier;
    let leaving = tier.metadata.deletion_timestamp.is_some();
    if let Some(finalizers) = finalizers.as_ref().filter(|_| !leaving) {
        tier = writer
            .amend(&tier, json!({"metadata": {"finalizers": finalizers}}))
            .await?;
    }
    if let Some(revision) = create {
        writer.apply(&revision, None).await?;
        tracing::info!(
            tier = tier.name_any(),
            revision = revision.name_any(),
            "made a revision"
        );
    }
    if let Some(quota) = create_quota {
        writer.apply(&quota, None).await?;
        tracing::info!(tier = tier.name_any(), "made a quota without limits");
    }
    for (revision, status) in revisions {
        if revision.status.as_ref() != Some(&status) {
            writer.write_status(&revision, &status).await?;
        }
    }
    for revision in remove {
        writer.delete(&revision).await?;
        tracing::info!(
            tier = tier.name_any(),
            revision = revision.name_any(),
            "removed an unused revision"
        );
    }
    if let Some(finalizers) = finalizers.filter(|_| leaving) {
        return writer
            .amend(&tier, json!({"metadata": {"finalizers": finalizers}}))
            .await
            .map(drop);
    }
    if tier.status.as_ref() != Some(&status) {
        let notice = notice(&tier, &status);
        writer.write_status(&tier, &status).await?;
        if let Some(notice) = notice {
            context.publisher.publish(&tier, notice).await;
        }
    }
    Ok(())
}

/// What is worth an Event in a change of status: that a tier is accepted or not any more.
fn notice(tier: &daap_crds::DaapTier, next: &daap_crds::DaapTierStatus) -> Option<Notice> {
    use daap_crds::condition::{ACCEPTED, find};
    let before = tier
        .status
        .as_ref()
        .and_then(|status| find(&status.conditions, ACCEPTED));
    let now = find(&next.conditions, ACCEPTED)?;
    let same =
        before.is_some_and(|before| (&before.status, &before.reason) == (&now.status, &now.reason));
    (!same).then(|| Notice {
        warning: now.status != "True",
        reason: now.reason.clone(),
        action: "Accept",
        note: now.message.clone(),
    })
}
