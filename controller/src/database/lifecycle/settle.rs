//! What a database is after its operation went on. Pure: [`Assessment`] and [`Progress`] in, [`Assessment`] out.

use daap_crds::{
    Phase,
    database::{BackupStatus, Operation, OperationKind, OperationResult},
    retention::Retention,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    super::plan::{Assessment, Health},
    advance::Progress,
    deed::Stage,
};

/// What a database is after its operation went on.
///
/// A restored database gets its incarnation here, under `server_name`, before its Cluster can be made.
pub fn settle(
    mut assessment: Assessment,
    stage: &Stage<'_>,
    progress: Progress,
    server_name: &str,
) -> Assessment {
    let Progress {
        operation,
        ended,
        archived,
        restorable,
        trouble,
    } = progress;
    if let Some(last) = assessment.incarnations.last_mut() {
        // A freeze may end without a fence. One of before says nothing of what was committed since, and an archive of
        // what is frozen would take it for the end.
        if stage.begins_freeze() {
            last.fence = None;
        }
        if let Some(fence) = archived {
            if let Some(backup) = &mut assessment.backup {
                backup.restorable_until = Some(fence.time.clone());
            }
            last.fence = Some(fence);
        }
    }
    if restorable && let Some(incarnation) = stage.restored_incarnation(server_name) {
        assessment.incarnations.push(incarnation);
    }
    if ended == Some(Phase::Archived) {
        assessment.archived_until = archived_until(stage);
    }
    let is_abandoned = operation.kind == OperationKind::Restore
        && operation.result == Some(OperationResult::Failed);
    if is_abandoned {
        assessment.abandoned_at.clone_from(&operation.finished_at);
    }
    if ended == Some(Phase::Deleted) || is_abandoned {
        // There is nothing that could be restored.
        let configured = assessment
            .backup
            .as_ref()
            .is_some_and(|backup| backup.configured);
        assessment.backup = Some(BackupStatus {
            configured,
            ..BackupStatus::default()
        });
    }
    if let Some(phase) = ended {
        assessment.health = Health::Resting(phase);
    }
    if trouble.is_some() {
        assessment.health = Health::Failed;
        assessment.trouble = trouble;
    }
    assessment.look_again = operation
        .result
        .is_none()
        .then(|| look_again(stage, &operation));
    assessment.operation = Some(operation);
    assessment
}

/// When an archived database is purged: in so many calendar days, weeks or months.
fn archived_until(stage: &Stage<'_>) -> Option<Time> {
    let text = stage.template.destruction.archive_retention.as_deref()?;
    let retention: Retention = text.parse().ok()?;
    retention.end_from(stage.now).map(Time)
}

/// When a step is tried again: soon at first, and less and less often.
fn look_again(stage: &Stage<'_>, operation: &Operation) -> Timestamp {
    const PAUSES: [(i64, i64); 3] = [(20, 1), (120, 3), (600, 10)];
    let age = stage.now.duration_since(operation.since.0).as_secs();
    let pause = PAUSES.iter().find(|(until, _)| age < *until);
    let pause = SignedDuration::from_secs(pause.map_or(30, |(_, pause)| *pause));
    stage.now.saturating_add(pause).unwrap_or(stage.now)
}
