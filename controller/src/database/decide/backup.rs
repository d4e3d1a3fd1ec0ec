//! How the backups of a database are, and which are to be made and removed. Pure.
//!
//! CloudNativePG's `Ready` says nothing of them: a Cluster whose archive is broken is healthy.

use daap_crds::{
    cnpg::{self, Backup, Cluster, RecoveryWindow},
    condition::{self, Fact},
    database::{BackupRecord, BackupState, BackupStatus, Incarnation, State},
    label,
    tier::DaapTierSpec,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;

use super::{
    super::{
        build,
        observe::{Observed, StoreLookup},
        plan::BackupWork,
    },
    archive::explain,
};

/// How many base backups are told of.
const RECENT: usize = 100;
/// How many failed base backups are kept. Each says little that the one before did not.
const FAILED: usize = 10;

/// What is said when base backups are gone that were there.
const EMPTIED: &str = "No base backup is left in the object store, although there were some: nothing can be restored \
                       until the next one is taken.";

/// What is said of the backups, and what is done about them.
#[derive(Default)]
pub(super) struct Account {
    /// How they are.
    pub status: BackupStatus,
    /// The condition `Archiving`, where there is an archive.
    pub archiving: Option<Fact>,
    /// What is done about them.
    pub work: BackupWork,
}

/// What is said of the backups of a database whose Cluster exists, and what is done about them.
pub(super) fn assess(
    observed: &Observed,
    cluster: &Cluster,
    template: &DaapTierSpec,
    incarnation: &Incarnation,
) -> Account {
    if template.backup.is_none() {
        return Account::default();
    }
    let conditions = cluster.conditions();
    let view = View {
        observed,
        store_trouble: store_trouble(observed),
        window: window(observed, incarnation),
        backups: own(observed),
        previous: previous(observed),
    };
    let archiving = view.archiving(condition::find(conditions, "ContinuousArchiving"));
    let requested = view.requested();
    Account {
        status: BackupStatus {
            carried_out_request: view.carried_out(requested.as_ref()),
            ..view.status(
                &archiving,
                condition::find(conditions, "LastBackupSucceeded"),
                incarnation,
            )
        },
        archiving: Some(archiving),
        work: BackupWork {
            requested,
            surplus: view.surplus(),
        },
    }
}

fn previous(observed: &Observed) -> BackupStatus {
    let status = observed.database.status.as_ref();
    status
        .and_then(|status| status.backup.clone())
        .unwrap_or_default()
}

/// What the plugin says of the archive of this incarnation.
fn window(observed: &Observed, incarnation: &Incarnation) -> RecoveryWindow {
    let store = observed.children.object_store.found();
    store
        .and_then(|store| {
            let windows = &store.status.as_ref()?.server_recovery_window;
            windows.get(&incarnation.server_name).cloned()
        })
        .unwrap_or_default()
}

fn store_trouble(observed: &Observed) -> Option<&str> {
    match &observed.store {
        StoreLookup::Unavailable(trouble) => Some(trouble),
        StoreLookup::NotNeeded | StoreLookup::Available(_) => observed.archive.trouble.as_deref(),
    }
}

/// The base backups of this database, newest first. A namesake that is gone may have left some behind.
fn own(observed: &Observed) -> Vec<&Backup> {
    let identity = &observed.identity;
    let born = observed.database.metadata.creation_timestamp.as_ref();
    let is_own = |backup: &&Backup| {
        let of = backup.labels().get(label::DATABASE_UID);
        let cluster = backup.spec.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.name == identity.name.cluster())
            && of.is_none_or(|uid| *uid == identity.uid)
            && backup.metadata.creation_timestamp.as_ref() >= born
    };
    let mut own: Vec<_> = observed.children.backups.iter().filter(is_own).collect();
    own.sort_by_key(|backup| {
        let created = backup.metadata.creation_timestamp.clone();
        std::cmp::Reverse((created, backup.name_any()))
    });
    own
}

/// The plugin cuts the end of a base backup down to a whole second; what can be restored begins after it.
fn next_second(time: &Time) -> Time {
    let next = time.0.saturating_add(SignedDuration::from_secs(1));
    Time(next.unwrap_or(time.0))
}

/// When a base backup ended, as far as that is known.
fn ended(backup: &Backup) -> Option<Time> {
    let status = backup.status.clone().unwrap_or_default();
    status
        .stopped_at
        .or(status.started_at)
        .or_else(|| backup.metadata.creation_timestamp.clone())
}

/// Everything that is known of the backups of a database.
struct View<'a> {
    observed: &'a Observed,
    /// What is wrong with the object store, in words.
    store_trouble: Option<&'a str>,
    window: RecoveryWindow,
    /// Newest first.
    backups: Vec<&'a Backup>,
    previous: BackupStatus,
}

impl View<'_> {
    fn archiving(&self, condition: Option<&Condition>) -> Fact {
        let fact = |status, reason: &str, message: String| Fact {
            type_: condition::ARCHIVING,
            status,
            reason: reason.to_owned(),
            message,
        };
        match condition.map(|condition| (condition.status.as_str(), condition)) {
            Some(("True", _)) => fact(
                Some(true),
                "Archiving",
                "Write-ahead log reaches the object store.".to_owned(),
            ),
            Some(("False", condition)) => {
                let cause = explain(&condition.message, self.store_trouble);
                let message = format!("Write-ahead log does not reach the object store. {cause}");
                fact(Some(false), "ArchivingFails", message)
            }
            _ => fact(
                None,
                "NotYetTried",
                "No segment of write-ahead log was closed yet.".to_owned(),
            ),
        }
    }

    fn status(
        &self,
        archiving: &Fact,
        last_backup: Option<&Condition>,
        incarnation: &Incarnation,
    ) -> BackupStatus {
        let success = self.last_success();
        let (failure, why) = self.last_failure();
        let (healthy, message) = match (archiving.status, self.base_backup(last_backup)) {
            (Some(false), _) => (Some(false), Some(archiving.message.clone())),
            (_, Some(false)) if failure.is_none() && self.is_emptied() => {
                (Some(false), Some(EMPTIED.to_owned()))
            }
            (_, Some(false)) => (Some(false), Some(failed_message(why.as_deref()))),
            (Some(true), Some(true)) => (Some(true), None),
            _ => (None, None),
        };
        let fence = incarnation.fence.as_ref().map(|fence| fence.time.clone());
        BackupStatus {
            configured: true,
            healthy,
            message,
            last_success_at: success.max(self.previous.last_success_at.clone()),
            last_failure_message: why.or_else(|| self.previous.last_failure_message.clone()),
            last_failure_at: failure.max(self.previous.last_failure_at.clone()),
            next_at: self.next(),
            restorable_from: self
                .window
                .first_recoverability_point
                .as_ref()
                .map(next_second),
            restorable_until: fence.or_else(|| self.previous.restorable_until.clone()),
            recent: self.recent(),
            carried_out_request: None,
        }
    }

    fn last_success(&self) -> Option<Time> {
        let completed = self.of_state(BackupState::Completed).filter_map(ended);
        completed
            .chain(self.window.last_successful_backup_time.clone())
            .max()
    }

    fn last_failure(&self) -> (Option<Time>, Option<String>) {
        let mut failed = self.of_state(BackupState::Failed);
        let newest = failed.next();
        let at = newest.and_then(ended);
        (
            at.max(self.window.last_failed_backup_time.clone()),
            newest.map(|backup| self.why(backup)),
        )
    }

    fn of_state(&self, wanted: BackupState) -> impl Iterator<Item = &Backup> {
        let backups = self.backups.iter().copied();
        backups.filter(move |backup| backup.state() == wanted)
    }

    /// Why a base backup failed. What was made out once stays so: the object store may be ill for another reason by now.
    fn why(&self, backup: &Backup) -> String {
        let known = self
            .known(backup)
            .and_then(|record| record.message.as_ref());
        if let Some(message) = known {
            return message.clone();
        }
        let said = backup
            .status
            .as_ref()
            .and_then(|status| status.error.as_deref());
        explain(said.unwrap_or("No reason was given."), self.store_trouble)
    }

    /// Whether the last base backup succeeded; nothing, when there was none. The object store knows best, and the
    /// Cluster's condition fills the gaps; a backup that just started says nothing.
    fn base_backup(&self, condition: Option<&Condition>) -> Option<bool> {
        match (self.last_success(), self.last_failure().0) {
            (None, None) => match condition {
                Some(condition) if condition.reason == "LastBackupFailed" => Some(false),
                Some(condition) if condition.status == "True" => Some(!self.is_emptied()),
                _ => None,
            },
            (success, failure) => Some(success >= failure),
        }
    }

    /// Whether there were base backups, and none is left. Where a bucket is gone, Barman makes it anew and archives on,
    /// and the plugin takes away the objects of what it does not find any more.
    fn is_emptied(&self) -> bool {
        self.previous.last_success_at.is_some() && self.last_success().is_none()
    }

    /// When the next base backup is due, unless the schedule rests.
    fn next(&self) -> Option<Time> {
        let schedule = self.observed.children.scheduled_backup.found()?;
        if schedule.spec.suspend == Some(true) {
            return None;
        }
        schedule.status.as_ref()?.next_schedule_time.clone()
    }

    fn recent(&self) -> Vec<BackupRecord> {
        let newest = self.backups.iter().take(RECENT);
        newest.map(|backup| self.record(backup)).collect()
    }

    fn record(&self, backup: &Backup) -> BackupRecord {
        let (state, status) = (backup.state(), backup.status.clone().unwrap_or_default());
        BackupRecord {
            state,
            started_at: status.started_at,
            stopped_at: status.stopped_at,
            size: self.size(backup),
            message: (state == BackupState::Failed).then(|| self.why(backup)),
            name: backup.name_any(),
        }
    }

    /// The bytes a base backup takes. They do not change, so they are asked for once.
    fn size(&self, backup: &Backup) -> Option<i64> {
        let known = self.known(backup).and_then(|record| record.size);
        known.or_else(|| {
            let id = backup.status.as_ref()?.backup_id.as_ref()?;
            self.observed.archive.sizes.get(id).copied()
        })
    }

    /// What was said of a base backup before.
    fn known(&self, backup: &Backup) -> Option<&BackupRecord> {
        let mut recent = self.previous.recent.iter();
        recent.find(|record| Some(&record.name) == backup.metadata.name.as_ref())
    }

    /// The base backup that somebody asked for, unless it was made already. While the schedule rests, nothing is.
    fn requested(&self) -> Option<Backup> {
        let database = &self.observed.database;
        let request = database.pending_backup_request()?;
        let children = &self.observed.children;
        let rests = children
            .scheduled_backup
            .found()
            .is_none_or(|schedule| schedule.spec.suspend == Some(true));
        let is_wanted =
            database.spec.state == State::Active && database.metadata.deletion_timestamp.is_none();
        if rests || !is_wanted || children.requested_backup.found().is_some() {
            return None;
        }
        let identity = &self.observed.identity;
        let name = identity.name.requested_backup(request);
        Some(build::build_backup(identity, name))
    }

    /// The request that is carried out when this run ends well: one whose base backup exists, or is about to.
    fn carried_out(&self, requested: Option<&Backup>) -> Option<String> {
        let pending = self.observed.database.pending_backup_request();
        let exists = self.observed.children.requested_backup.found().is_some();
        match pending {
            Some(request) if exists || requested.is_some() => Some(request.to_owned()),
            _ => self.previous.carried_out_request.clone(),
        }
    }

    /// The failed base backups that are one too many. Those that a person made by hand are the person's.
    fn surplus(&self) -> Vec<Backup> {
        let schedule = self.observed.identity.name.scheduled_backup();
        let is_made = |backup: &&Backup| {
            let labels = backup.labels();
            labels.contains_key(label::DATABASE_UID)
                || labels.get(cnpg::label::SCHEDULED_BACKUP) == Some(&schedule)
        };
        let failed = self.of_state(BackupState::Failed).filter(is_made);
        failed.skip(FAILED).cloned().collect()
    }
}

fn failed_message(why: Option<&str>) -> String {
    match why {
        Some(why) => format!("The last base backup failed. {why}"),
        None => "The last base backup failed.".to_owned(),
    }
}

#[cfg(test)]
mod tests;
