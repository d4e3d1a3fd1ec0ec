//! Base backups of a database: which there are, and when one can be asked for. Pure.

use daap_crds::{
    DaapDatabase, Phase,
    database::{BackupRecord, State},
    name::DatabaseName,
};
use uuid::Uuid;

use super::{
    database::Database,
    destruction::{no_backup, wrong_state},
    failure::Failure,
};

/// A backup as it is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Backup {
    /// It was asked for, and gets this name.
    Requested(String),
    /// It was begun.
    Begun(BackupRecord),
}

/// The newest backups of a database, newest first.
pub fn list(database: &Database) -> Result<Vec<Backup>, Failure> {
    check(database, true)?;
    let begun = database.backup.iter().flat_map(|backup| &backup.recent);
    let is_begun = |name: &String| begun.clone().any(|backup| backup.name == *name);
    let requested = database
        .requested_backup
        .clone()
        .filter(|name| !is_begun(name));
    let requested = requested.map(Backup::Requested).into_iter();
    Ok(requested
        .chain(begun.clone().cloned().map(Backup::Begun))
        .collect())
}

/// Asks for one more backup. One that was asked for and has not begun stands for both.
pub fn request(resource: &mut DaapDatabase, now: &Database, id: Uuid) -> Result<(), Failure> {
    let is_possible = now.status == Phase::Ready && now.desired == State::Active;
    check(now, is_possible)?;
    if now.requested_backup.is_none() {
        resource.spec.backup_request = Some(id.to_string());
    }
    Ok(())
}

/// The name that a backup gets which was asked for and has not begun.
pub fn requested(resource: &DaapDatabase) -> Option<String> {
    name_for(resource, resource.pending_backup_request()?)
}

/// The name of the backup that this id asked for, begun or not, as long as no other was asked for since.
pub fn named(resource: &DaapDatabase, id: Uuid) -> Option<String> {
    let request = resource.spec.backup_request.as_deref()?;
    (request == id.to_string())
        .then(|| name_for(resource, request))
        .flatten()
}

fn name_for(resource: &DaapDatabase, request: &str) -> Option<String> {
    let name = DatabaseName::parse(resource.metadata.name.as_deref()?).ok()?;
    Some(name.requested_backup(request))
}

fn check(database: &Database, is_possible: bool) -> Result<(), Failure> {
    let configured = database.backup.as_ref().map(|backup| backup.configured);
    if configured == Some(false) {
        return Err(no_backup());
    }
    if database.status == Phase::Deleted {
        return Err(wrong_state(database, "Its backups are not kept."));
    }
    if !is_possible {
        return Err(wrong_state(
            database,
            "A backup can be taken while it is ready.",
        ));
    }
    Ok(())
}
