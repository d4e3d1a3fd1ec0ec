//! The operations about backups of a database.

use std::sync::Arc;

use daap_crds::database::BackupState as StateRecord;
use poem::web::Data;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, param::Path, payload::Json};

use super::{
    Group, caller::Caller, date_time::DateTime, problem::problems, staleness::stale_seconds,
};
use crate::{
    domain::{backup::Backup as BackupRecord, restore::Window},
    service::{Service, change::Terms},
};

/// The operations about backups of a database.
pub struct Backups;

/// How a base backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum BackupState {
    /// It was asked for, and begins within moments.
    Requested,
    /// It is being taken.
    Running,
    /// It is whole, and in the object store.
    Completed,
    /// It is not to be had.
    Failed,
}

/// A base backup of a database.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct BaseBackup {
    /// Its name, unique among those of the database.
    #[oai(validator(max_length = 253))]
    name: String,
    /// How it is.
    state: BackupState,
    /// When it began.
    started_at: Option<DateTime>,
    /// When it ended.
    stopped_at: Option<DateTime>,
    /// How many bytes it takes in the object store.
    #[oai(validator(minimum(value = "0")))]
    size_bytes: Option<i64>,
    /// Why it failed.
    #[oai(validator(max_length = 4000))]
    message: Option<String>,
    /// The first instant that it allows to restore. Later ones need it and what was archived since.
    restorable_from: Option<DateTime>,
}

/// The newest base backups of a database.
#[derive(Debug, Clone, Object)]
pub struct BaseBackupList {
    /// The backups, newest first.
    #[oai(validator(max_items = 101))]
    items: Vec<BaseBackup>,
}

/// Which instants of a database can be restored now: all between these, both included.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct RestoreWindow {
    /// The first. Absent: none can be restored yet.
    from: Option<DateTime>,
    /// The last. As long as the database is in use and its changes are archived, that is now.
    until: Option<DateTime>,
    /// Why nothing can be restored yet.
    #[oai(validator(max_length = 400))]
    message: Option<String>,
}

/// Found backups.
#[derive(ApiResponse)]
pub enum Listed {
    /// The newest backups.
    #[oai(status = 200)]
    Backups(
        Json<BaseBackupList>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
}

/// A backup that was asked for.
#[derive(ApiResponse)]
pub enum Requested {
    /// The backup is taken from now on.
    #[oai(status = 202)]
    Backup(Json<BaseBackup>),
}

/// What can be restored.
#[derive(ApiResponse)]
pub enum Told {
    /// What can be restored.
    #[oai(status = 200)]
    Window(
        Json<RestoreWindow>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
}

problems! {
    /// How something about backups fails.
    BackupProblem: 404 409
}

#[OpenApi(tag = "Group::Databases")]
impl Backups {
    /// List the backups of a database
    ///
    /// Lists the newest base backups. Between them, every change is archived continuously; the restore window tells
    /// what comes of both.
    #[oai(
        path = "/databases/:id/backups",
        method = "get",
        operation_id = "listBackups"
    )]
    async fn list(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
    ) -> Result<Listed, BackupProblem> {
        let stale = stale_seconds(&service)?;
        let backups = service.backups(&caller.actor, &id.0).await?;
        let items = backups.into_iter().map(Into::into).collect();
        Ok(Listed::Backups(Json(BaseBackupList { items }), stale))
    }

    /// Take a backup
    ///
    /// Asks for a base backup now, beside those that are taken by the schedule of the tier. While one that was asked for
    /// has not begun, it stands for the next ones too.
    #[oai(
        path = "/databases/:id/backups",
        method = "post",
        operation_id = "createBackup"
    )]
    async fn create(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
    ) -> Result<Requested, BackupProblem> {
        let terms = Terms {
            intent: caller.intent,
            if_match: None,
            dry_run: false,
        };
        let name = service.request_backup(&caller.actor, &id.0, &terms).await?;
        Ok(Requested::Backup(Json(
            BackupRecord::Requested(name).into(),
        )))
    }

    /// Get what can be restored
    ///
    /// Tells between which two instants a database can be restored.
    #[oai(
        path = "/databases/:id/restore-window",
        method = "get",
        operation_id = "getRestoreWindow"
    )]
    async fn window(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
    ) -> Result<Told, BackupProblem> {
        let stale = stale_seconds(&service)?;
        let window = service.restore_window(&caller.actor, &id.0).await?;
        Ok(Told::Window(Json(window.into()), stale))
    }
}

impl From<BackupRecord> for BaseBackup {
    fn from(backup: BackupRecord) -> Self {
        match backup {
            BackupRecord::Requested(name) => Self {
                name,
                state: BackupState::Requested,
                started_at: None,
                stopped_at: None,
                size_bytes: None,
                message: None,
                restorable_from: None,
            },
            BackupRecord::Begun(backup) => {
                let stopped_at = backup.stopped_at.map(DateTime::from);
                let is_whole = backup.state == StateRecord::Completed;
                Self {
                    name: backup.name,
                    state: backup.state.into(),
                    started_at: backup.started_at.map(Into::into),
                    stopped_at,
                    size_bytes: backup.size,
                    message: backup.message,
                    restorable_from: stopped_at.filter(|_| is_whole),
                }
            }
        }
    }
}

impl From<StateRecord> for BackupState {
    fn from(state: StateRecord) -> Self {
        match state {
            StateRecord::Running => Self::Running,
            StateRecord::Completed => Self::Completed,
            StateRecord::Failed => Self::Failed,
        }
    }
}

impl From<Window> for RestoreWindow {
    fn from(window: Window) -> Self {
        match window {
            Window::Open { from, until } => Self {
                from: Some(DateTime(from)),
                until: Some(DateTime(until)),
                message: None,
            },
            Window::Closed(reason) => Self {
                from: None,
                until: None,
                message: Some(reason.to_owned()),
            },
        }
    }
}
