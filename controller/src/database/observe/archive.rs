//! What the object store tells of a database's archive. Reads the object store, and only when there is something to ask.
//!
//! In: [`Observed`] and the status before. Out: [`ArchiveLook`]. An object store that does not answer is an answer too.

use std::{collections::BTreeMap, fmt::Write as _};

use daap_crds::{
    cnpg::Backup,
    condition,
    database::{BackupState, BackupStatus},
};

use jiff::{SignedDuration, Timestamp};

use super::{Observed, StoreLookup};
use crate::archive::{ArchiveError, Archives, Segment, Store};

/// What the object store tells of an archive.
#[derive(Debug, Default)]
pub struct ArchiveLook {
    /// The bytes that base backups take, by their ids. Asked for only when one of them is not known.
    pub sizes: BTreeMap<String, i64>,
    /// Why the archive cannot be read, in words. Asked for only while backups fail.
    pub trouble: Option<String>,
}

/// What the object store tells of the archive of the current Cluster.
pub async fn observe_archive(
    archives: &dyn Archives,
    observed: &Observed,
    now: Timestamp,
) -> ArchiveLook {
    let status = observed.database.status.as_ref();
    let incarnation = status.and_then(|status| status.incarnations.last());
    let (Some(incarnation), StoreLookup::Available(store)) = (incarnation, &observed.store) else {
        return ArchiveLook::default();
    };
    let Some(url) = incarnation.backup_url.clone() else {
        return ArchiveLook::default();
    };
    let store = Store {
        url,
        ..Store::clone(store)
    };
    let name = &incarnation.server_name;
    let before = status.and_then(|status| status.backup.as_ref());
    if archiving_fails(observed) || before.is_some_and(|before| before.healthy == Some(false)) {
        return ArchiveLook {
            trouble: trouble(archives, &store, name).await,
            ..ArchiveLook::default()
        };
    }
    if !lacks_size(observed, before, now) {
        return ArchiveLook::default();
    }
    match archives.catalogue(&store, name).await {
        Ok(catalogue) => ArchiveLook {
            sizes: catalogue
                .backups
                .into_iter()
                .filter_map(|backup| Some((backup.id, i64::try_from(backup.bytes).ok()?)))
                .collect(),
            trouble: None,
        },
        Err(error) => {
            // A size is good to know and nothing waits for it.
            tracing::debug!(url = store.url, error = %error, "cannot tell the sizes of base backups");
            ArchiveLook::default()
        }
    }
}

fn archiving_fails(observed: &Observed) -> bool {
    let cluster = observed.children.cluster.found();
    cluster
        .and_then(|cluster| condition::find(cluster.conditions(), "ContinuousArchiving"))
        .is_some_and(|condition| condition.status == "False")
}

/// How long after it was made the size of a base backup is asked for. One that is not found by then never will be.
const CURIOSITY: SignedDuration = SignedDuration::from_hours(1);

/// Whether a base backup that was completed lately has no size yet.
fn lacks_size(observed: &Observed, before: Option<&BackupStatus>, now: Timestamp) -> bool {
    let is_late = |backup: &Backup| {
        let stopped = backup
            .status
            .as_ref()
            .and_then(|status| status.stopped_at.as_ref());
        let made = stopped.or(backup.metadata.creation_timestamp.as_ref());
        made.is_some_and(|made| now.duration_since(made.0) > CURIOSITY)
    };
    let is_sized = |name: Option<&String>| {
        let mut recent = before.iter().flat_map(|before| &before.recent);
        recent.any(|record| Some(&record.name) == name && record.size.is_some())
    };
    observed.children.backups.iter().any(|backup| {
        let is_completed = backup.state() == BackupState::Completed;
        is_completed && !is_late(backup) && !is_sized(backup.metadata.name.as_ref())
    })
}

/// Why an archive cannot be read. One look at one segment is enough to find out.
async fn trouble(archives: &dyn Archives, store: &Store, server_name: &str) -> Option<String> {
    let first = Segment::new(1, 1)?;
    let error = archives
        .has_segment(store, server_name, &first)
        .await
        .err()?;
    Some(cure(&error))
}

/// An error of the object store in a sentence that names what to look at.
fn cure(error: &ArchiveError) -> String {
    let mut sentence = error.to_string();
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let hint = match error {
        ArchiveError::Unreachable(_) => "check its endpoint, and that it runs",
        ArchiveError::Untrusted(_) | ArchiveError::Authority(_) => {
            "check the certificate authority that the object store names"
        }
        ArchiveError::NoCredentials(_) | ArchiveError::BadCredentials(_) => {
            "check the Secret that the object store names"
        }
        ArchiveError::Denied(..) => "check what the access key may do",
        ArchiveError::NoBucket(_) | ArchiveError::Region(_) => {
            "check the URL and the region of the object store"
        }
        ArchiveError::Failed(..)
        | ArchiveError::Stray(_)
        | ArchiveError::NotListed
        | ArchiveError::NotOneDatabase(_)
        | ArchiveError::ServerName(_) => "see the log of the controller",
    };
    // Writing to a text does not fail.
    let _ = write!(sentence, ": {hint}.");
    sentence
}
