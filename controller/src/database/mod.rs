//! Databases. Each run goes the same way, whatever woke it up:
//!
//! ```text
//! observe → Observed → decide → Plan → build → Objects → apply → Applied → report → status
//! ```
//!
//! [`observe`] is the only reader and reads live; [`decide`] and [`build`] are pure; [`apply`] is the only writer
//! of children; [`report`] writes one status, if it differs. Where an operation is under way, [`lifecycle`] takes one step
//! of it between applying and reporting; it removes children, but for
//! the objects of failed base backups.

pub mod apply;
pub mod build;
pub mod decide;
pub mod lifecycle;
pub mod observe;
pub mod plan;
pub mod report;

use std::time::Duration;

use daap_crds::label;
use kube::{ResourceExt as _, runtime::controller::Action};
use rand::{Rng as _, TryRngCore as _, distr::Alphanumeric, rngs::OsRng};
use serde_json::json;
use thiserror::Error;

use self::{
    apply::{Applied, ApplyError, Refusal},
    build::BuildError,
    decide::{Chance, decide},
    lifecycle::{advance::advance, carry_out::carry_out, deed::Stage, settle::settle, step::Step},
    observe::{ObserveError, Observed, observe, observe_archive},
    plan::{Assessment, Claim, Converge, Deed, Password, Plan},
    report::Report,
};
use crate::{context::Context, k8s::error::CallError};

/// How soon what was just written is looked at.
const AFTER_WRITE: Duration = Duration::from_secs(1);
/// How soon a webhook that did not answer is asked again.
const WEBHOOK_PAUSE: Duration = Duration::from_secs(15);
/// How many letters and digits a password has: more than 256 bits.
const PASSWORD_LENGTH: usize = 48;

/// Why a run had no success.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// Reading failed.
    #[error("cannot observe the database")]
    Observe(#[from] ObserveError),
    /// The children cannot be told.
    #[error("cannot build the children of the database")]
    Build(#[from] BuildError),
    /// Writing a child failed.
    #[error("cannot apply the children of the database")]
    Apply(#[from] ApplyError),
    /// Writing the database itself failed.
    #[error("cannot write the database")]
    Write(#[source] CallError),
    /// The namespace is gone.
    #[error("the namespace of the database does not exist")]
    NoNamespace,
}

impl DatabaseError {
    /// A short stable word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Observe(ObserveError::Call(call)) | Self::Write(call) => call.category(),
            Self::Observe(ObserveError::Name(_)) => "Name",
            Self::Build(_) => "Build",
            Self::Apply(error) => error.call().category(),
            Self::NoNamespace => "NoNamespace",
        }
    }
}

/// One run for one database.
///
/// # Errors
/// When the API server does not answer or does not take a write. Everything else is said in the status.
pub async fn reconcile(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Action, DatabaseError> {
    let settings = &context.settings;
    let Some(mut observed) = Box::pin(observe(&context.reader, settings, namespace, name)).await?
    else {
        return Ok(Action::await_change());
    };
    let now = context.clock.now();
    observed.archive = observe_archive(&*context.archives, &observed, now).await;
    match decide(&observed, settings, &draw_chance(), now) {
        Plan::Release => release(context, &observed).await,
        Plan::Bury => {
            let database = &observed.database;
            context
                .writer
                .delete(database)
                .await
                .map_err(DatabaseError::Write)?;
            Ok(Action::requeue(AFTER_WRITE))
        }
        Plan::Unmark => {
            let changes = json!({"metadata": {"annotations": {label::READERS: null}}});
            write(context, &observed, changes).await
        }
        Plan::Await(time) => {
            let pause = context.pause(Some(time), settings.resync_interval);
            Ok(Action::requeue(pause))
        }
        Plan::Claim(claim) => write_claim(context, &observed, claim).await,
        Plan::Converge(converge) => Box::pin(run_converge(context, &observed, *converge)).await,
    }
}

async fn release(context: &Context, observed: &Observed) -> Result<Action, DatabaseError> {
    let database = &observed.database;
    let others: Vec<_> = database
        .finalizers()
        .iter()
        .filter(|finalizer| *finalizer != label::DATABASE_FINALIZER)
        .collect();
    if others.len() < database.finalizers().len() {
        let changes = json!({"metadata": {"finalizers": others}});
        context
            .writer
            .amend(database, changes)
            .await
            .map_err(DatabaseError::Write)?;
        tracing::info!(
            database.namespace = database.namespace(),
            database.name = database.name_any(),
            "let a database go"
        );
    }
    Ok(Action::await_change())
}

async fn write_claim(
    context: &Context,
    observed: &Observed,
    claim: Claim,
) -> Result<Action, DatabaseError> {
    let database = &observed.database;
    let changes = json!({"metadata": {"finalizers": claim.finalizers}});
    let action = write(context, observed, changes).await?;
    tracing::info!(
        database.namespace = database.namespace(),
        database.name = database.name_any(),
        "took a database on"
    );
    Ok(action)
}

async fn write(
    context: &Context,
    observed: &Observed,
    changes: serde_json::Value,
) -> Result<Action, DatabaseError> {
    context
        .writer
        .amend(&observed.database, changes)
        .await
        .map_err(DatabaseError::Write)?;
    // The write itself wakes the next run up.
    Ok(Action::requeue(AFTER_WRITE))
}

async fn run_converge(
    context: &Context,
    observed: &Observed,
    plan: Converge,
) -> Result<Action, DatabaseError> {
    let settings = &context.settings;
    let Converge {
        desired,
        backups,
        deed,
        mut assessment,
    } = plan;
    let applied = match desired {
        Some(desired) => {
            let objects = build::build(&desired, settings)?;
            let namespace = observed
                .namespace
                .as_ref()
                .ok_or(DatabaseError::NoNamespace)?;
            Box::pin(apply::apply(
                &context.writer,
                namespace,
                &observed.children,
                objects,
            ))
            .await?
        }
        None => Applied::default(),
    };
    let applied = apply::apply_backups(&context.writer, backups, applied).await?;
    if let Some(deed) = deed {
        assessment = go_on(context, observed, assessment, deed, &applied).await?;
    }
    let (database, identity) = (&observed.database, &observed.identity);
    let report = report::report(
        database,
        identity,
        assessment,
        &applied,
        settings,
        context.clock.now(),
    );
    let reported = report::write(&context.writer, database, &report.status)
        .await
        .map_err(DatabaseError::Write)?;
    context
        .metrics
        .set_phase(&identity.uid, report.status.phase.unwrap_or_default());
    if reported && let Some(notice) = report::notice(database.status.as_ref(), &report.status) {
        tracing::info!(
            database.namespace = database.namespace(),
            database.name = database.name_any(),
            database.phase = %report.status.phase.unwrap_or_default(),
            reason = notice.reason,
            "{}", notice.note
        );
        context.publisher.publish(database, notice).await;
    }
    Ok(Action::requeue(next_look(
        context, &report, &applied, reported,
    )))
}

/// Takes a step of the operation, and tells how the database is after it.
async fn go_on(
    context: &Context,
    observed: &Observed,
    assessment: Assessment,
    deed: Deed,
    applied: &Applied,
) -> Result<Assessment, DatabaseError> {
    let (Some(operation), Some(revision)) =
        (assessment.operation.clone(), observed.revision.found())
    else {
        return Ok(assessment);
    };
    let Some(step) = Step::parse(&operation.step) else {
        return Ok(assessment);
    };
    let is_applied = !applied.wrote && applied.refusal.is_none();
    let finding = carry_out(context, deed, is_applied)
        .await
        .map_err(DatabaseError::Write)?;
    let template = &revision.spec.template;
    let now = context.clock.now();
    let stage = Stage::new(observed, template, &context.settings, &operation, now);
    let progress = advance(&stage, step, finding);
    if progress.operation.step != operation.step || progress.operation.result.is_some() {
        tracing::info!(
            database.namespace = observed.identity.namespace,
            database.name = %observed.identity.name,
            operation.id = operation.id,
            operation.kind = ?operation.kind,
            operation.step = progress.operation.step,
            "an operation went on"
        );
    }
    let server_name = uuid::Uuid::new_v4().to_string();
    Ok(settle(assessment, &stage, progress, &server_name))
}

/// When to look again: soon after a write, exactly at a deadline, and at the latest after the resync interval.
fn next_look(context: &Context, report: &Report, applied: &Applied, reported: bool) -> Duration {
    if applied.wrote || reported {
        return AFTER_WRITE;
    }
    let at_most = match applied.refusal {
        Some(Refusal::Unanswered(_)) => WEBHOOK_PAUSE,
        Some(Refusal::Invalid(_)) | None => context.settings.resync_interval,
    };
    context.pause(report.look_again, at_most)
}

fn draw_chance() -> Chance {
    Chance {
        server_name: uuid::Uuid::new_v4().to_string(),
        application_password: draw_password(),
        observer_password: draw_password(),
    }
}

fn draw_password() -> Password {
    Password::new(
        OsRng
            .unwrap_err()
            .sample_iter(Alphanumeric)
            .take(PASSWORD_LENGTH)
            .map(char::from)
            .collect(),
    )
}
