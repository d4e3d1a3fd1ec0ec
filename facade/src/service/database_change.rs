//! Change a database. Reads and writes through ports.

use daap_crds::{DaapDatabase, DaapDatabaseSpec, database::State};

use super::{
    Service,
    change::{TRIES, Terms, restless},
    ports::Moved,
};
use crate::domain::{
    actor::Actor,
    database::Database,
    destruction::wrong_state,
    entity_tag::check_if_match,
    failure::{Code, Failure},
    intent,
};

/// A change of what is asked for, which may be done more than once.
pub type Change<'a> = &'a (dyn Fn(&mut DaapDatabaseSpec) -> Result<(), Failure> + Send + Sync);

impl Service {
    /// Changes a database. A change that changes nothing writes nothing.
    pub async fn change_database(
        &self,
        actor: &Actor,
        id: &str,
        change: Change<'_>,
        terms: &Terms,
    ) -> Result<Database, Failure> {
        let record = self.database(actor, id).await?;
        for _ in 0..TRIES {
            let (old, now) = self.live_database(actor, &record).await?;
            check_if_match(terms.if_match.as_ref(), &now.tag)?;
            let mut new = old.clone();
            change(&mut new.spec)?;
            if new.spec == old.spec {
                return Ok(now);
            }
            protection_makes_sense(&new.spec, &now)?;
            if let Ok(changed) = self.put_in_place(&old, new, terms).await? {
                return Ok(changed);
            }
        }
        Err(restless("database"))
    }

    /// Stores a database in place of the state it was read in.
    pub(super) async fn put_in_place(
        &self,
        old: &DaapDatabase,
        mut new: DaapDatabase,
        terms: &Terms,
    ) -> Result<Result<Database, Moved>, Failure> {
        intent::mark(&mut new.metadata, terms.intent);
        self.check_database_rules(&new, Some(old))?;
        let databases = &self.ports.live_databases;
        let outcome = databases.replace(&new, terms.intent, terms.dry_run);
        Ok(match outcome.await? {
            Ok(rehearsed) if terms.dry_run => Ok(recorded(rehearsed)?),
            Ok(replaced) => Ok(self.kept(replaced).await?),
            Err(moved) => Err(moved),
        })
    }

    /// The resource as it is stored, and its record: the owner is the one of this moment.
    pub(super) async fn live_database(
        &self,
        actor: &Actor,
        record: &Database,
    ) -> Result<(DaapDatabase, Database), Failure> {
        let databases = &self.ports.live_databases;
        let live = databases.live(&record.namespace, &record.name).await?;
        let now = live.clone().and_then(Database::from_resource);
        let (live, now) = live
            .zip(now)
            .filter(|(_, now)| now.id == record.id)
            .ok_or_else(gone)?;
        if actor
            .scope()
            .is_some_and(|team| *team.as_str() != now.owner_team)
        {
            return Err(Failure::not_found("database"));
        }
        Ok((live, now))
    }
}

/// What is deleted already is protected no more.
fn protection_makes_sense(spec: &DaapDatabaseSpec, now: &Database) -> Result<(), Failure> {
    if spec.state == State::Destroyed && spec.deletion_protection && !now.deletion_protection {
        return Err(wrong_state(
            now,
            "Only a database that is not deleted can be protected from that.",
        ));
    }
    Ok(())
}

fn recorded(resource: DaapDatabase) -> Result<Database, Failure> {
    Database::from_resource(resource)
        .ok_or_else(|| Failure::internal("the API server gave a database without an id"))
}

fn gone() -> Failure {
    Failure::new(
        Code::BeingDeleted,
        "The database is deleted and cannot be changed any more.",
    )
}
