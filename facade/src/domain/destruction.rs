//! Destroying a database, and taking that back: what is allowed when, and what comes of it. Pure.
//!
//! Each function changes what is asked for, or leaves it as it is when that is asked for already.

use daap_crds::{
    DaapDatabase, Phase,
    database::{ForcedDestruction, Operation, OperationKind, State},
    retention::Retention,
    tier::{DaapTierSpec, Strategy},
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    actor::Role,
    database::Database,
    failure::{Code, Failure},
    operation,
};

/// Asks for what the strategy of its tier does to a database. `id` is that of the operation.
pub fn destroy(database: &mut DaapDatabase, strategy: Strategy, id: Uuid) -> Result<(), Failure> {
    if database.spec.state == State::Destroyed || phase(database) == Phase::Deleted {
        return Ok(());
    }
    if database.spec.deletion_protection {
        return Err(protected());
    }
    let going = operation::unfinished(database).map(|operation| operation.kind);
    let busy = matches!(
        going,
        Some(OperationKind::Unfreeze | OperationKind::Migrate | OperationKind::Transfer)
    );
    if busy || phase(database) == Phase::Frozen {
        return Err(not_now(database, "It can be deleted when that is over."));
    }
    database.spec.state = State::Destroyed;
    operation::ask(&mut database.metadata, id, kind_of(strategy));
    Ok(())
}

/// Asks for another destruction than the one of its tier, whether or not the database is protected.
pub fn force(
    database: &mut DaapDatabase,
    wanted: &ForcedDestruction,
    has_backup: bool,
    id: Uuid,
) -> Result<(), Failure> {
    let strategy = wanted.strategy;
    let forced = database.spec.destruction.as_ref();
    if database.spec.state == State::Destroyed
        && forced.map(|forced| forced.strategy) == Some(strategy)
    {
        return Ok(());
    }
    let going = operation::unfinished(database).and_then(|operation| strategy_of(operation.kind));
    let least = match phase(database) {
        Phase::Deleted => return Err(not_now(database, "There is nothing left to destroy.")),
        Phase::Archived => Some(Strategy::Hard),
        Phase::Frozen => Some(Strategy::Archive),
        Phase::Provisioning | Phase::Ready | Phase::Error => None,
    };
    if going.is_some_and(|going| rank(strategy) < rank(going)) {
        return Err(not_now(
            database,
            "A destruction can be forced on to a farther one only.",
        ));
    }
    if least.is_some_and(|least| rank(strategy) < rank(least)) {
        return Err(not_now(
            database,
            "It can be destroyed farther only: frozen, then archived, then deleted.",
        ));
    }
    if strategy == Strategy::Archive && !has_backup {
        return Err(no_backup());
    }
    database.spec.state = State::Destroyed;
    database.spec.destruction = Some(wanted.clone());
    operation::ask(&mut database.metadata, id, kind_of(strategy));
    Ok(())
}

/// Asks for a frozen database back, or for the end of a destruction that can still be called off.
pub fn unfreeze(database: &mut DaapDatabase, role: Role, id: Uuid) -> Result<(), Failure> {
    let going = operation::unfinished(database);
    let is_frozen = phase(database) == Phase::Frozen;
    if database.spec.state == State::Active {
        let is_asked = going.is_some_and(|going| going.kind == OperationKind::Unfreeze);
        return if is_frozen || is_asked {
            Ok(())
        } else {
            Err(not_frozen(database))
        };
    }
    let allowed = match &going {
        Some(going) => going.cancellable,
        None => is_frozen,
    };
    if !allowed {
        return Err(not_frozen(database));
    }
    if database.spec.destruction.is_some() && role != Role::Platform {
        return Err(Failure::new(
            Code::Forbidden,
            "A platform team forced this destruction. Only a platform team can take it back.",
        ));
    }
    database.spec.state = State::Active;
    database.spec.destruction = None;
    operation::ask(&mut database.metadata, id, OperationKind::Unfreeze);
    Ok(())
}

/// The status of a database.
fn phase(database: &DaapDatabase) -> Phase {
    let status = database.status.as_ref();
    status.and_then(|status| status.phase).unwrap_or_default()
}

/// The database is in a state in which this cannot be done: which one, and what can be done.
pub fn wrong_state(database: &Database, allowed: &str) -> Failure {
    in_state(database.status, database.operation.as_ref(), allowed)
}

fn not_now(database: &DaapDatabase, allowed: &str) -> Failure {
    in_state(
        phase(database),
        operation::unfinished(database).as_ref(),
        allowed,
    )
}

fn in_state(status: Phase, going: Option<&Operation>, allowed: &str) -> Failure {
    let going = going.map_or_else(String::new, |operation| {
        let what = operation::participle(operation.kind);
        format!(" and is being {what} (step '{}')", operation.step)
    });
    let detail = format!("The database is {status}{going}. {allowed}");
    Failure::new(Code::WrongState, detail)
}

/// The tier of the database has no backup.
pub fn no_backup() -> Failure {
    Failure::new(
        Code::NoBackup,
        "The tier of the database has no backup: nothing of it is kept that could be restored.",
    )
}

fn not_frozen(database: &DaapDatabase) -> Failure {
    not_now(
        database,
        "Only a frozen database can be unfrozen, or one whose destruction can still be called off ('operation.cancellable').",
    )
}

fn protected() -> Failure {
    Failure::new(
        Code::DeletionProtected,
        "The database is protected from deletion. Set 'deletion_protection' to false first.",
    )
}

/// How far a strategy goes.
const fn rank(strategy: Strategy) -> u8 {
    match strategy {
        Strategy::Freeze => 0,
        Strategy::Archive => 1,
        Strategy::Hard => 2,
    }
}

const fn kind_of(strategy: Strategy) -> OperationKind {
    match strategy {
        Strategy::Freeze => OperationKind::Freeze,
        Strategy::Archive => OperationKind::Archive,
        Strategy::Hard => OperationKind::Hard,
    }
}

const fn strategy_of(kind: OperationKind) -> Option<Strategy> {
    match kind {
        OperationKind::Freeze => Some(Strategy::Freeze),
        OperationKind::Archive => Some(Strategy::Archive),
        OperationKind::Hard | OperationKind::Purge => Some(Strategy::Hard),
        OperationKind::Unfreeze
        | OperationKind::Restore
        | OperationKind::Migrate
        | OperationKind::Transfer => None,
    }
}

/// What destroying a database does: what goes, what stays, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// The strategy.
    pub strategy: Strategy,
    /// What is not there any more afterwards.
    pub removed: Vec<&'static str>,
    /// What is still there.
    pub kept: Vec<&'static str>,
    /// Until when it is kept at least. Absent: until somebody takes it away.
    pub kept_until: Option<Timestamp>,
}

/// What destroying a database does, by the tier that it is bound to. Of one that was never bound, or whose restore failed
/// for good, nothing is there that could be kept.
pub fn strategy(database: &DaapDatabase, template: Option<&DaapTierSpec>) -> Strategy {
    match template {
        Some(template) if !database.is_abandoned() => template.destruction.strategy,
        _ => Strategy::Hard,
    }
}

/// What destroying a database would do now, by the tier that it is bound to.
pub fn rehearsal(
    database: &DaapDatabase,
    template: Option<&DaapTierSpec>,
    now: Timestamp,
) -> Rehearsal {
    let nothing = |what| Rehearsal {
        strategy: Strategy::Hard,
        removed: vec![what],
        kept: Vec::new(),
        kept_until: None,
    };
    if database.is_abandoned() {
        return nothing("the request: its restore failed, and nothing of it is left");
    }
    let Some(template) = template else {
        return nothing("the request: the database was never admitted");
    };
    let destruction = &template.destruction;
    let (removed, mut kept) = match destruction.strategy {
        Strategy::Freeze => (
            vec!["access: connections end and are refused"],
            vec!["the data", "the credentials", "its part of the quota"],
        ),
        Strategy::Archive => (
            vec![
                "access",
                "the instances and their volumes",
                "its part of the quota",
            ],
            Vec::new(),
        ),
        Strategy::Hard => (
            vec![
                "access",
                "the instances and their volumes",
                "the backups",
                "its part of the quota",
            ],
            Vec::new(),
        ),
    };
    if template.backup.is_some() && destruction.strategy != Strategy::Hard {
        kept.push("the backups, which can be restored to a new database");
    }
    kept.push("the record and its history");
    let retention = destruction.archive_retention.as_deref();
    let days = retention.and_then(|retention| retention.parse().ok());
    let kept_for =
        days.map(|days: Retention| SignedDuration::from_hours(24 * i64::from(days.least_days())));
    Rehearsal {
        strategy: destruction.strategy,
        removed,
        kept,
        kept_until: kept_for.and_then(|time| now.checked_add(time).ok()),
    }
}
