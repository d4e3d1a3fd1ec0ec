//! Restore a database to a new one, and tell what can be restored. Reads and writes through ports.

use daap_crds::{
    DaapDatabase,
    name::{DatabaseName, TeamName},
};
use jiff::Timestamp;
use uuid::Uuid;

use super::Service;
use crate::domain::{
    actor::Actor,
    database::{Database, NewDatabase},
    destruction::no_backup,
    failure::{Code, Failure, FieldError},
    restore::{self, Window, default_name},
};

/// How many names are tried when none is given.
const NAMES: usize = 100;

/// What somebody asks to be restored.
#[derive(Debug, Clone, Default)]
pub struct RestoreDatabase {
    /// The instant. Absent: the latest possible.
    pub target_time: Option<Timestamp>,
    /// The name of the new database. Absent: one that tells where it comes from.
    pub name: Option<String>,
}

impl Service {
    /// Restores a database to a new one beside it. `intent` is the audit row that says so, already committed.
    pub async fn restore_database(
        &self,
        actor: &Actor,
        id: &str,
        asked: RestoreDatabase,
        intent: Uuid,
    ) -> Result<Database, Failure> {
        let record = self.database(actor, id).await?;
        let (source, now) = self.live_database(actor, &record).await?;
        let name = asked.name.as_deref().map(DatabaseName::parse).transpose();
        let name = name
            .map_err(|error| Failure::invalid(vec![FieldError::new("/name", error.to_string())]))?;
        self.check_restorable(&source, &now, asked.target_time)
            .await?;
        let new = |name| new_database(&source, name, asked.target_time);
        if let Some(name) = name {
            return Box::pin(self.create_restored(&new(name)?, intent)).await;
        }
        for name in (1..=NAMES).map_while(|number| default_name(&record.name, number)) {
            match Box::pin(self.create_restored(&new(name)?, intent)).await {
                Err(failure) if failure.code == Code::NameTaken => {}
                outcome => return outcome,
            }
        }
        let detail = "Every name that would be taken by default is. Give the new database one.";
        Err(Failure {
            errors: vec![FieldError::new("/name", "is required")],
            ..Failure::new(Code::NameTaken, detail)
        })
    }

    /// Which instants of a database can be restored.
    pub async fn restore_window(&self, actor: &Actor, id: &str) -> Result<Window, Failure> {
        let record = self.database(actor, id).await?;
        restore::window(&record, Timestamp::now())
    }

    /// Refuses what is known not to be possible.
    async fn check_restorable(
        &self,
        source: &DaapDatabase,
        record: &Database,
        target: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let now = Timestamp::now();
        let window = restore::window(record, now)?;
        // As long as nothing is known of its backups, its tier tells whether there will be any.
        let template = self.template_of(source).await?;
        if template.is_none_or(|template| template.backup.is_none()) {
            return Err(no_backup());
        }
        window.check(target, now)
    }

    async fn create_restored(&self, new: &NewDatabase, intent: Uuid) -> Result<Database, Failure> {
        self.check_database_rules(&new.resource(intent), None)?;
        self.admitted(new, intent).await
    }
}

/// The database that another one is restored to: of the same team, of the same tier, in the same place.
fn new_database(
    source: &DaapDatabase,
    name: DatabaseName,
    target: Option<Timestamp>,
) -> Result<NewDatabase, Failure> {
    Ok(NewDatabase {
        name,
        owner_team: TeamName::parse(&source.spec.owner_team).map_err(Failure::internal)?,
        namespace: source.metadata.namespace.clone().unwrap_or_default(),
        tier: source.spec.tier.clone(),
        purpose: None,
        restore: Some((restore::origin(source, target), Uuid::now_v7())),
    })
}
