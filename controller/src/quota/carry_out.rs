//! Writes what was decided about a quota.
//!
//! The status of the quota comes first: what is reserved in it may be bound, and nothing else.

use daap_crds::{DaapQuota, database::AdmissionStatus, label};
use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    decide::Plan,
    notice,
    observe::{Entry, label as name_of},
};
use crate::{
    context::Context,
    k8s::{client::Lookup, error::CallError},
};

/// How many databases are written at once.
const AT_ONCE: usize = 8;
/// How often a binding is tried when others write the same database at the same time.
const TRIES: usize = 5;

/// Writes what was decided.
pub(super) async fn carry_out(
    context: &Context,
    quota: DaapQuota,
    plan: Plan,
) -> Result<(), CallError> {
    let Plan {
        status,
        bind,
        verdicts,
        remove,
        look_again: _,
    } = plan;
    if quota.status.as_ref() != Some(&status) {
        context.writer.write_status(&quota, &status).await?;
        if let Some(notice) = notice(quota.status.as_ref(), &status) {
            context.publisher.publish(&quota, notice).await;
        }
    }
    let bound = stream::iter(bind)
        .map(|(entry, revision)| bind_one(context, entry, revision))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let told = stream::iter(verdicts)
        .map(|(entry, said)| tell(context, entry, said))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let removed = stream::iter(remove)
        .map(|entry| remove_one(context, entry))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let (bound, told, removed) = tokio::join!(bound, told, removed);
    bound.into_iter().chain(told).chain(removed).collect()
}

/// Binds a database to the revision that is reserved for it, and gives it our finalizer: from now on it may hold data.
async fn bind_one(context: &Context, mut entry: Entry, revision: String) -> Result<(), CallError> {
    for _ in 1..TRIES {
        match write_binding(context, &entry, &revision).await {
            Err(error) if error.is_conflict() => {}
            result => return result.or_else(gone),
        }
        // Somebody else wrote it, and may have removed it, or bound it.
        let (namespace, name) = (entry.namespace().unwrap_or_default(), entry.name_any());
        let found = context.reader.get_in::<Entry>(&namespace, &name).await?;
        match found {
            Lookup::Found(now) if now.uid() == entry.uid() && now.is_undecided() => entry = now,
            Lookup::Found(_) | Lookup::Absent | Lookup::KindMissing => return Ok(()),
        }
    }
    write_binding(context, &entry, &revision)
        .await
        .or_else(gone)
}

async fn write_binding(context: &Context, entry: &Entry, revision: &str) -> Result<(), CallError> {
    let mut finalizers = entry.finalizers().to_vec();
    if !finalizers
        .iter()
        .any(|finalizer| finalizer == label::DATABASE_FINALIZER)
    {
        finalizers.push(label::DATABASE_FINALIZER.to_owned());
    }
    let changes = json!({
        "metadata": {"finalizers": finalizers},
        "spec": {"tierRevision": revision},
    });
    context.writer.amend(entry, changes).await?;
    tracing::info!(
        database = name_of(entry),
        database.revision = revision,
        "admitted a database"
    );
    Ok(())
}

/// Says why a database is not admitted. Should it have been written meanwhile, that wakes the next run up.
async fn tell(context: &Context, entry: Entry, said: AdmissionStatus) -> Result<(), CallError> {
    let mut status = match &entry.status {
        Value::Object(_) => entry.status.clone(),
        _ => json!({}),
    };
    status["admission"] = serde_json::to_value(&said)?;
    let written = context.writer.write_status(&entry, &status).await.map(drop);
    written.or_else(|error| {
        if error.is_conflict() {
            Ok(())
        } else {
            gone(error)
        }
    })
}

/// Removes a database that was to be admitted at once or not at all, and was not.
async fn remove_one(context: &Context, entry: Entry) -> Result<(), CallError> {
    context.writer.delete(&entry).await.or_else(gone)?;
    tracing::info!(
        database = name_of(&entry),
        "removed a database that was not admitted in its time"
    );
    Ok(())
}

/// What is gone needs nothing any more.
fn gone(error: CallError) -> Result<(), CallError> {
    match error.category() {
        "NotFound" => Ok(()),
        _ => Err(error),
    }
}
