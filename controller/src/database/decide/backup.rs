//! How the backups of a database are. Pure.
//!
//! CloudNativePG's `Ready` says nothing of them: a Cluster whose archive is broken is healthy.

use daap_crds::{
    cnpg::{Cluster, RecoveryWindow},
    condition::{self, Fact},
    database::{BackupStatus, Incarnation},
    tier::DaapTierSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::super::{observe::Observed, plan::shortened};

/// The state of the backups, and the condition `Archiving` where there are any.
pub(super) fn assess(
    observed: &Observed,
    cluster: &Cluster,
    template: &DaapTierSpec,
    incarnation: &Incarnation,
) -> (BackupStatus, Option<Fact>) {
    if template.backup.is_none() {
        return (
            BackupStatus {
                configured: false,
                ..BackupStatus::default()
            },
            None,
        );
    }
    let conditions = cluster
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let archiving = archiving(condition::find(conditions, "ContinuousArchiving"));
    let window = observed
        .children
        .object_store
        .found()
        .and_then(|store| {
            store
                .status
                .as_ref()?
                .server_recovery_window
                .get(&incarnation.server_name)
        })
        .cloned()
        .unwrap_or_default();
    let base = base_backup(&window, condition::find(conditions, "LastBackupSucceeded"));
    let (healthy, message) = match (archiving.status, base) {
        (Some(false), _) => (Some(false), Some(archiving.message.clone())),
        (_, Some(Err(message))) => (Some(false), Some(message)),
        (Some(true), Some(Ok(()))) => (Some(true), None),
        _ => (None, None),
    };
    let status = BackupStatus {
        configured: true,
        healthy,
        message,
        last_success_at: window.last_successful_backup_time,
        last_failure_at: window.last_failed_backup_time,
        restorable_from: window.first_recoverability_point,
        restorable_until: observed
            .database
            .status
            .as_ref()
            .and_then(|status| status.backup.as_ref()?.restorable_until.clone()),
        ..BackupStatus::default()
    };
    (status, Some(archiving))
}

fn archiving(condition: Option<&Condition>) -> Fact {
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
            let message = format!(
                "Write-ahead log does not reach the object store: {}",
                condition.message
            );
            fact(Some(false), "ArchivingFails", shortened(&message))
        }
        _ => fact(
            None,
            "NotYetTried",
            "No segment of write-ahead log was closed yet.".to_owned(),
        ),
    }
}

/// Whether the last base backup succeeded; nothing, when there was none. The object store knows best, and the
/// Cluster's condition fills the gaps; a backup that just started says nothing.
fn base_backup(
    window: &RecoveryWindow,
    condition: Option<&Condition>,
) -> Option<Result<(), String>> {
    let failed = || Some(Err("The last base backup failed.".to_owned()));
    match (
        &window.last_successful_backup_time,
        &window.last_failed_backup_time,
    ) {
        (Some(success), Some(failure)) if failure.0 > success.0 => failed(),
        (None, Some(_)) => failed(),
        (Some(_), _) => Some(Ok(())),
        (None, None) => match condition {
            Some(condition) if condition.reason == "LastBackupFailed" => failed(),
            Some(condition) if condition.status == "True" => Some(Ok(())),
            _ => None,
        },
    }
}
