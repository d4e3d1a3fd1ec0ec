//! The operation of the contract that shows what is done with a database, or was.

use std::sync::Arc;

use daap_crds::database::{
    Operation as OperationRecord, OperationKind as KindRecord, OperationResult,
    Removal as RemovalRecord,
};
use poem::web::Data;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, param::Path, payload::Json};
use uuid::Uuid;

use super::{
    Group, caller::Caller, date_time::DateTime, problem::problems, staleness::stale_seconds,
};
use crate::{
    domain::operation::{self, Kept, State},
    service::Service,
};

/// The operation of the contract that shows what is done with a database, or was.
pub struct Operations;

/// What an operation does with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum OperationKind {
    /// Makes it inaccessible.
    Freeze,
    /// Makes it accessible again.
    Unfreeze,
    /// Removes it, and keeps its backups.
    Archive,
    /// Removes it with its backups.
    Hard,
    /// Removes the backups of an archived database whose retention is over.
    Purge,
    /// Restores it.
    Restore,
    /// Moves it to another revision of a tier.
    Migrate,
    /// Hands it to another team.
    Transfer,
}

/// How an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum OperationStatus {
    /// It was asked for, and begins within moments.
    Requested,
    /// It goes on.
    Running,
    /// It did what it was to do.
    Succeeded,
    /// It did not, and will not by itself.
    Failed,
    /// It was called off.
    Cancelled,
}

/// Something longer that is done with a database.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Operation {
    /// Identifies the operation.
    #[oai(validator(max_length = 64))]
    id: String,
    /// The database.
    database_id: Uuid,
    /// What it does.
    kind: OperationKind,
    /// How it is.
    status: OperationStatus,
    /// The step that it is at, or ended with.
    #[oai(validator(max_length = 63))]
    step: String,
    /// Since when it is at this step.
    step_started_at: DateTime,
    /// How often this step was tried.
    #[oai(validator(minimum(value = "0")))]
    attempts: i32,
    /// Whether it can still be called off.
    cancellable: bool,
    /// What it waits for, or why it failed.
    #[oai(validator(max_length = 4000))]
    message: Option<String>,
    /// Why a platform team forced it.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
    /// When it began.
    started_at: DateTime,
    /// When it ended.
    finished_at: Option<DateTime>,
    /// The steps that it took, in order.
    #[oai(validator(max_items = 50))]
    steps: Vec<OperationStep>,
    /// Everything that it removed.
    #[oai(validator(max_items = 200))]
    receipt: Vec<Removal>,
}

/// A step that an operation took.
#[derive(Debug, Clone, Object)]
pub struct OperationStep {
    /// Its name.
    #[oai(validator(max_length = 63))]
    name: String,
    /// When it began.
    started_at: DateTime,
}

/// Something that an operation removed.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Removal {
    /// The kind of the object; 'Prefix' for everything below a prefix of an object store.
    #[oai(validator(max_length = 63))]
    kind: String,
    /// The name of the object, or the URL of the prefix.
    #[oai(validator(max_length = 1000))]
    name: String,
    /// How many objects, versions and unfinished uploads there were below a prefix.
    #[oai(validator(minimum(value = "0")))]
    count: Option<i64>,
}

/// A found operation.
#[derive(ApiResponse)]
pub enum Found {
    /// The operation.
    #[oai(status = 200)]
    Operation(
        Json<Box<Operation>>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
}

problems! {
    /// How reading an operation fails.
    GetProblem: 404
}

#[OpenApi(tag = "Group::Databases")]
impl Operations {
    /// Get an operation
    ///
    /// Shows something that is done with a database, or was: a destruction, a restore, a migration. It is kept after the
    /// database is gone, with everything that it removed.
    #[oai(
        path = "/operations/:id",
        method = "get",
        operation_id = "getOperation"
    )]
    async fn get(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the operation.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
    ) -> Result<Found, GetProblem> {
        let stale = stale_seconds(&service)?;
        let Kept {
            database_id,
            operation,
        } = service.operation(&caller.actor, &id.0).await?;
        let shown = Operation::of(database_id, operation);
        Ok(Found::Operation(Json(Box::new(shown)), stale))
    }
}

impl Operation {
    /// An operation of this database.
    pub(super) fn of(database_id: Uuid, record: OperationRecord) -> Self {
        Self {
            status: operation::state(&record).into(),
            id: record.id,
            database_id,
            kind: record.kind.into(),
            step: record.step,
            step_started_at: record.since.into(),
            attempts: record.attempts,
            cancellable: record.cancellable,
            message: record.message,
            reason: record.reason,
            started_at: record.started_at.into(),
            finished_at: record.finished_at.map(Into::into),
            steps: record
                .steps
                .into_iter()
                .map(|step| OperationStep {
                    name: step.name,
                    started_at: step.started_at.into(),
                })
                .collect(),
            receipt: record.receipt.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<RemovalRecord> for Removal {
    fn from(RemovalRecord { kind, name, count }: RemovalRecord) -> Self {
        Self { kind, name, count }
    }
}

impl From<State> for OperationStatus {
    fn from(state: State) -> Self {
        match state {
            State::Requested => Self::Requested,
            State::Running => Self::Running,
            State::Ended(OperationResult::Succeeded) => Self::Succeeded,
            State::Ended(OperationResult::Failed) => Self::Failed,
            State::Ended(OperationResult::Cancelled) => Self::Cancelled,
        }
    }
}

impl From<KindRecord> for OperationKind {
    fn from(kind: KindRecord) -> Self {
        match kind {
            KindRecord::Freeze => Self::Freeze,
            KindRecord::Unfreeze => Self::Unfreeze,
            KindRecord::Archive => Self::Archive,
            KindRecord::Hard => Self::Hard,
            KindRecord::Purge => Self::Purge,
            KindRecord::Restore => Self::Restore,
            KindRecord::Migrate => Self::Migrate,
            KindRecord::Transfer => Self::Transfer,
        }
    }
}
