//! Does what an operation does at a step. Reads and writes the cluster, and asks tenants' databases and archives.
//!
//! In: a [`Deed`]. Out: a [`Finding`]. What is not answered is a finding too: the operation says so, and tries again.

use daap_crds::label;
use kube::ResourceExt as _;
use serde_json::json;

use super::{
    super::plan::{Archive, Child, Claimed, Deed, Store},
    advance::Finding,
};
use crate::{
    archive::{Left, Segment},
    context::Context,
    k8s::{
        apply::Object,
        error::{CallError, chain},
    },
    tenant_sql::Login,
};

/// How many things one run removes from an archive: what a few seconds are enough for.
const PURGE_BUDGET: usize = 2000;

/// Does what an operation does at a step. `applied` tells whether the children already are as desired.
///
/// # Errors
/// When the API server does not take a write.
pub async fn carry_out(context: &Context, deed: Deed, applied: bool) -> Result<Finding, CallError> {
    Ok(match deed {
        Deed::Wait(message) => Finding::NotYet(message),
        Deed::Proceed => Finding::Done,
        Deed::GiveUp(trouble) => Finding::GaveUp(trouble),
        Deed::List(removals) => Finding::Listed(removals),
        // Nothing is tried on what was only just written.
        _ if !applied => Finding::NotYet("its objects take over what was written".to_owned()),
        Deed::Settle => Finding::Done,
        Deed::Fence(tenant) => match context.tenants.fence(&tenant).await {
            Ok(fence) => Finding::Fenced(fence),
            Err(error) => failed(&error),
        },
        Deed::TryLogin(tenant) => match context.tenants.log_in(&tenant).await {
            Ok(Login::Refused) => Finding::Done,
            Ok(Login::Accepted) => Finding::NotYet("logins are still taken".to_owned()),
            Err(error) => failed(&error),
        },
        Deed::EndSessions(tenant) => match context.tenants.end_sessions(&tenant).await {
            Ok(0) => Finding::Done,
            Ok(left) => Finding::NotYet(format!("{left} sessions are left")),
            Err(error) => failed(&error),
        },
        Deed::FindSegment(archive, segment) => find_segment(context, &archive, &segment).await,
        Deed::Verify(archive, segment) => verify(context, &archive, &segment).await,
        Deed::Back(backup) => {
            context.writer.apply(&*backup, None).await?;
            Finding::NotYet("the last base backup is under way".to_owned())
        }
        Deed::Remove(children) => remove(context, children).await?,
        Deed::Purge(store) => purge(context, &store).await,
        Deed::Claim(claimed) => claim(context, &claimed).await?,
    })
}

/// What was not answered, in the error's own words. The cause goes to the log.
fn failed(error: &(impl std::error::Error + 'static)) -> Finding {
    tracing::info!(
        error = chain(error),
        "a step of an operation was not answered"
    );
    Finding::Failed(error.to_string())
}

async fn find_segment(context: &Context, archive: &Archive, segment: &str) -> Finding {
    let Ok(wanted) = segment.parse::<Segment>() else {
        return Finding::Failed(format!("'{segment}' names no segment"));
    };
    let Archive { store, server_name } = archive;
    match context
        .archives
        .has_segment(store, server_name, &wanted)
        .await
    {
        Ok(true) => Finding::Done,
        Ok(false) => Finding::NotYet(format!(
            "the archive does not have the segment {segment} yet"
        )),
        Err(error) => failed(&error),
    }
}

async fn verify(context: &Context, archive: &Archive, segment: &str) -> Finding {
    let Ok(fence) = segment.parse::<Segment>() else {
        return Finding::Failed(format!("'{segment}' names no segment"));
    };
    let Archive { store, server_name } = archive;
    match context.archives.catalogue(store, server_name).await {
        Ok(catalogue) => match catalogue.restorable(&fence) {
            Ok(_) => Finding::Done,
            Err(missing) => Finding::Incomplete(missing.to_string()),
        },
        Err(error) => failed(&error),
    }
}

async fn purge(context: &Context, store: &Store) -> Finding {
    match context.archives.purge(store, PURGE_BUDGET).await {
        Ok(purged) => Finding::Purged {
            count: i64::try_from(purged.removed).unwrap_or(i64::MAX),
            url: store.url.clone(),
            left: match purged.left {
                Left::Nothing => None,
                Left::More => Some("there is more to be removed".to_owned()),
                Left::Locked { versions, until } => Some(match until {
                    Some(until) => format!(
                        "the object store keeps {versions} locked versions, the first until {until}"
                    ),
                    None => {
                        format!("the object store keeps {versions} versions under a legal hold")
                    }
                }),
            },
        },
        Err(error) => failed(&error),
    }
}

async fn remove(context: &Context, children: Vec<Child>) -> Result<Finding, CallError> {
    for child in children {
        match child {
            Child::Cluster(object) => delete(context, &*object).await?,
            Child::Pooler(object) => delete(context, &*object).await?,
            Child::ScheduledBackup(object) => delete(context, &*object).await?,
            Child::Backup(object) => delete(context, &*object).await?,
            Child::ObjectStore(object) => delete(context, &*object).await?,
            Child::Secret(object) => delete(context, &*object).await?,
            Child::NetworkPolicy(object) => delete(context, &*object).await?,
        }
    }
    Ok(Finding::NotYet("its objects go".to_owned()))
}

async fn delete<K: Object>(context: &Context, object: &K) -> Result<(), CallError> {
    match context.writer.delete(object).await {
        // Somebody was faster; it is gone, and that is what was wanted.
        Err(error) if error.status().is_some_and(|status| status.code == 404) => {}
        outcome => outcome?,
    }
    let (kind, name) = (K::kind(&()), object.name_any());
    tracing::info!(%kind, namespace = object.namespace(), name, "removed a child");
    Ok(())
}

/// Adds a reader to the source's mark, which the source takes away when the reader has read.
async fn claim(context: &Context, claimed: &Claimed) -> Result<Finding, CallError> {
    let Claimed { source, reader } = claimed;
    let marked = source.annotations().get(label::READERS);
    let mut readers: Vec<&str> = marked.map_or(Vec::new(), |text| text.split(',').collect());
    if readers.contains(&&**reader) {
        return Ok(Finding::Done);
    }
    readers.push(reader);
    let changes = json!({"metadata": {"annotations": {label::READERS: readers.join(",")}}});
    context.writer.amend(source, changes).await?;
    Ok(Finding::NotYet("its source is marked".to_owned()))
}
