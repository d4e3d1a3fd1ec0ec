//! Object stores: whether they can be used, and who uses them.
//!
//! ```text
//! observe → Observed → decide → Plan → carry_out
//! ```
//!
//! [`observe`] is the only reader, of the cluster and of the store itself, [`decide`] is pure, and what it says is written
//! here. [`secrets`] reads what a store names, for databases too.

pub mod decide;
pub mod observe;
pub mod probe_times;
pub mod secrets;

use daap_crds::condition;
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
pub enum ObjectStoreError {
    /// Reading failed.
    #[error("cannot observe the object store")]
    Observe(#[source] CallError),
    /// Writing failed.
    #[error("cannot write the object store")]
    Write(#[source] CallError),
}

impl ObjectStoreError {
    /// A short stable word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Observe(call) | Self::Write(call) => call.category(),
        }
    }
}

/// One run for one object store.
///
/// # Errors
/// When the API server does not answer or does not take a write. What the store itself does is said in the status.
pub async fn reconcile(context: &Context, name: &str) -> Result<Action, ObjectStoreError> {
    let observed = observe::observe(context, name)
        .await
        .map_err(ObjectStoreError::Observe)?;
    let Some(observed) = observed else {
        return Ok(Action::await_change());
    };
    let plan = decide::decide(&observed, context.clock.now());
    let uid = observed.store.uid().unwrap_or_default();
    if observed.probe.is_some() || observed.secrets.is_err() {
        let pause = plan.pause(&context.settings);
        let generation = observed.store.metadata.generation;
        context.probe_times.tried(&uid, generation, pause);
    }
    let wait = context.probe_times.wait(&uid);
    carry_out(context, observed, plan)
        .await
        .map_err(ObjectStoreError::Write)?;
    Ok(Action::requeue(wait))
}

/// Writes what was decided. The finalizer is there before anything is said, and goes last.
async fn carry_out(context: &Context, observed: Observed, plan: Plan) -> Result<(), CallError> {
    let Plan { finalizers, status } = plan;
    let writer = &context.writer;
    let mut store = observed.store;
    if let Some(finalizers) = finalizers {
        let leaving = store.metadata.deletion_timestamp.is_some();
        let changes = json!({"metadata": {"finalizers": finalizers}});
        store = writer.amend(&store, changes).await?;
        if leaving {
            return Ok(());
        }
    }
    if store.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let notice = notice(&store, &status);
    writer.write_status(&store, &status).await?;
    if let Some(notice) = notice {
        tracing::info!(
            object_store = store.name_any(),
            reason = notice.reason,
            "an object store is told of anew"
        );
        context.publisher.publish(&store, notice).await;
    }
    Ok(())
}

/// What is worth an Event in a change of status: that a store can be reached or not any more.
fn notice(
    store: &daap_crds::DaapObjectStore,
    next: &daap_crds::DaapObjectStoreStatus,
) -> Option<Notice> {
    let before = store
        .status
        .as_ref()
        .and_then(|status| condition::find(&status.conditions, condition::REACHABLE));
    let now = condition::find(&next.conditions, condition::REACHABLE)?;
    let same =
        before.is_some_and(|before| (&before.status, &before.reason) == (&now.status, &now.reason));
    (!same).then(|| Notice {
        warning: now.status != "True",
        reason: now.reason.clone(),
        action: "Probe",
        note: now.message.clone(),
    })
}
