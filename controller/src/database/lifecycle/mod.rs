//! Operations: freezing, unfreezing, archiving, destroying, restoring. Each is a row of steps that is kept in the status
//! of the database, so that whoever runs next goes on where it stands.
//!
//! ```text
//! Observed → course → Course ── deed ──→ Deed → carry_out → Finding → advance → Operation
//! ```
//!
//! | module | subject | may |
//! |---|---|---|
//! | this one | which operation is under way | compute |
//! | [`step`] | the steps and their order | compute |
//! | [`deed`], [`restore`], [`removal`] | what is done at a step | compute |
//! | [`advance`] | where the operation stands after that | compute |
//! | [`settle`] | what the database is then | compute |
//! | [`children`] | what is removed | compute |
//! | [`carry_out`] | doing it | read, write, ask tenants' databases and archives |
//!
//! A run takes at most one step. Nothing is deleted that this very run did not read live, and each removal is bound to
//! what was read (uid and version).

pub mod advance;
pub mod carry_out;
pub mod children;
pub mod deed;
mod removal;
mod restore;
pub mod settle;
pub mod step;

use daap_crds::{
    DaapDatabase, Phase,
    database::{Operation, OperationKind, OperationResult, OperationStep, State},
    label,
    tier::Strategy,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use self::step::{Step, sequence};

/// Which way a database goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Course {
    /// It is wanted and served.
    Serve,
    /// An operation is under way, or begins.
    Run(Operation),
    /// Something else is wanted than what an operation was about.
    Cancel(Operation),
    /// It stays in the phase that an operation brought it to.
    Rest(Phase),
    /// It was to be restored, could not be, and nothing of it is left.
    Unrestorable,
}

/// What a database is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Destruction {
    strategy: Strategy,
    reason: Option<String>,
}

/// Which way a database goes. `strategy` is that of its revision.
pub fn course(
    database: &DaapDatabase,
    strategy: Strategy,
    holds_data: bool,
    now: Timestamp,
) -> Course {
    let status = database.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let last = status.operation;
    let running = last.clone().filter(|operation| operation.result.is_none());
    let begin = |kind, first, reason| {
        let id = operation_id(database, kind, last.as_ref());
        let mut operation = begin(id, kind, first, reason, now);
        operation.annotation = annotation(database);
        Course::Run(operation)
    };
    let wish = destruction(database, strategy);
    match (running, wish) {
        (Some(operation), Some(wish)) => {
            let is_past_return = Step::parse(&operation.step).is_none_or(Step::removes);
            if goes_on(&operation, &wish, holds_data) || is_past_return {
                Course::Run(operation)
            } else {
                Course::Cancel(operation)
            }
        }
        (Some(operation), None) if operation.cancellable => Course::Cancel(operation),
        (Some(operation), None) => Course::Run(operation),
        (None, Some(_)) if database.is_abandoned() && phase != Phase::Deleted => {
            begin(OperationKind::Hard, Step::RemoveChildren, None)
        }
        (None, Some(wish)) => match destroying(phase, &wish, holds_data) {
            Some((kind, first)) => begin(kind, first, wish.reason),
            None if is_expired(&status.archived_until, phase, now) => {
                begin(OperationKind::Purge, Step::RemoveChildren, None)
            }
            None => Course::Rest(phase),
        },
        (None, None) => match phase {
            // The CRD forbids it; what is gone does not come back by a wish.
            Phase::Archived | Phase::Deleted => Course::Rest(phase),
            _ if database.is_abandoned() => Course::Unrestorable,
            // Also when it was frozen before that had begun: woken, it would be an empty one.
            _ if is_to_be_restored(database) => {
                begin(OperationKind::Restore, Step::ClaimSource, None)
            }
            Phase::Frozen => begin(OperationKind::Unfreeze, Step::Wake, None),
            _ => Course::Serve,
        },
    }
}

/// Whether a database is to have the data of another, and no Cluster was about to be made for it yet.
fn is_to_be_restored(database: &DaapDatabase) -> bool {
    let status = database.status.as_ref();
    let has_incarnation = status.is_some_and(|status| !status.incarnations.is_empty());
    database.spec.restore.is_some() && !has_incarnation
}

/// How a database is to be destroyed, if it is.
fn destruction(database: &DaapDatabase, strategy: Strategy) -> Option<Destruction> {
    let forced = database.spec.destruction.as_ref();
    let is_leaving = database.metadata.deletion_timestamp.is_some();
    if database.spec.state == State::Destroyed {
        return Some(Destruction {
            strategy: forced.map_or(strategy, |forced| forced.strategy),
            reason: forced.map(|forced| forced.reason.clone()),
        });
    }
    // Deleting the object destroys the data only where its tier says so, or where there is none.
    (is_leaving && (strategy != Strategy::Freeze || database.is_abandoned())).then_some(
        Destruction {
            strategy,
            reason: None,
        },
    )
}

/// Whether an operation is what is wanted now.
fn goes_on(operation: &Operation, wish: &Destruction, holds_data: bool) -> bool {
    use OperationKind::{Archive, Freeze, Hard, Purge};
    let same = match wish.strategy {
        Strategy::Freeze => operation.kind == Freeze,
        Strategy::Archive if holds_data => matches!(operation.kind, Archive | Purge),
        // What was never initialised has nothing to be archived.
        Strategy::Archive | Strategy::Hard => matches!(operation.kind, Hard | Purge),
    };
    same && operation.reason == wish.reason
}

/// The operation that destroys a database, and where it begins; nothing, when that is done already.
fn destroying(phase: Phase, wish: &Destruction, holds_data: bool) -> Option<(OperationKind, Step)> {
    use OperationKind::{Archive, Freeze, Hard};
    match (phase, wish.strategy) {
        (Phase::Deleted, _)
        | (Phase::Archived, Strategy::Freeze | Strategy::Archive)
        | (Phase::Frozen, Strategy::Freeze) => None,
        (Phase::Archived, Strategy::Hard) => Some((Hard, Step::RemoveChildren)),
        (Phase::Frozen, Strategy::Hard) => Some((Hard, Step::DeleteCluster)),
        (Phase::Frozen, Strategy::Archive) if holds_data => Some((Archive, Step::VerifyAsleep)),
        (_, Strategy::Freeze) => Some((Freeze, Step::Quiesce)),
        (_, Strategy::Archive) if holds_data => Some((Archive, Step::TryArchive)),
        // What was never initialised has nothing to be archived.
        (_, Strategy::Archive | Strategy::Hard) => Some((Hard, Step::Quiesce)),
    }
}

fn is_expired(until: &Option<Time>, phase: Phase, now: Timestamp) -> bool {
    phase == Phase::Archived && until.as_ref().is_some_and(|until| now >= until.0)
}

fn begin(
    id: String,
    kind: OperationKind,
    first: Step,
    reason: Option<String>,
    now: Timestamp,
) -> Operation {
    debug_assert!(first.access().is_some() || sequence(kind).contains(&first));
    Operation {
        id,
        annotation: None,
        kind,
        step: first.to_string(),
        since: Time(now),
        attempts: 0,
        cancellable: first.is_cancellable(),
        message: None,
        reason,
        started_at: Time(now),
        finished_at: None,
        result: None,
        steps: vec![OperationStep {
            name: first.to_string(),
            started_at: Time(now),
        }],
        fence: None,
        backup: None,
        receipt: Vec::new(),
    }
}

/// The destruction of a database for which nothing was made: it is over as it begins.
pub fn nothing_to_destroy(database: &DaapDatabase, now: Timestamp) -> Operation {
    let status = database.status.as_ref();
    let last = status.and_then(|status| status.operation.as_ref());
    if let Some(last) = last.filter(|last| last.result.is_some()) {
        return last.clone();
    }
    let id = operation_id(database, OperationKind::Hard, last);
    let mut operation = begin(id, OperationKind::Hard, Step::Recheck, None, now);
    operation.annotation = annotation(database);
    advance::finish(&mut operation, OperationResult::Succeeded, now);
    operation
}

/// The id of the next operation: what who asks for it said, or one that follows from what asks for it, so that a run
/// after a crash finds the same.
fn operation_id(database: &DaapDatabase, kind: OperationKind, last: Option<&Operation>) -> String {
    let given = last.and_then(|last| last.annotation.as_ref());
    let said = annotation(database)
        .filter(|id| Uuid::parse_str(id).is_ok())
        .filter(|id| given != Some(id) && last.is_none_or(|last| last.id != *id));
    if let Some(id) = said {
        return id;
    }
    let digest = Sha256::new()
        .chain_update(database.uid().unwrap_or_default())
        .chain_update(format!("{kind:?}"))
        .chain_update(
            database
                .metadata
                .generation
                .unwrap_or_default()
                .to_be_bytes(),
        )
        .chain_update(last.map_or("", |last| &last.id))
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn annotation(database: &DaapDatabase) -> Option<String> {
    database.annotations().get(label::OPERATION).cloned()
}

#[cfg(test)]
mod tests;
