//! Destroy a database, and take that back. Reads and writes through ports.
//!
//! The controller does it; here is only decided whether it may be asked for.

use daap_crds::{DaapDatabase, DaapTierSpec, database::ForcedDestruction};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Service,
    change::{TRIES, Terms, restless},
};
use crate::domain::{
    actor::Actor,
    database::Database,
    destruction::{self, Rehearsal},
    entity_tag::check_if_match,
    failure::{Code, Failure},
    intent,
};

impl Service {
    /// Destroys a database by the strategy of the tier that it is bound to. One that is being destroyed, or was, is left
    /// as it is.
    pub async fn destroy_database(
        &self,
        actor: &Actor,
        id: &str,
        terms: &Terms,
    ) -> Result<Database, Failure> {
        let ask = |database: &mut DaapDatabase, template: Option<&DaapTierSpec>, id| {
            let strategy = destruction::strategy(database, template);
            destruction::destroy(database, strategy, id)
        };
        match Box::pin(self.ask_for_operation(actor, id, &ask, terms)).await {
            Err(failure) if failure.code == Code::BeingDeleted => {
                let record = self.database(actor, id).await?;
                let at = record.deleted_at.unwrap_or_else(Timestamp::now);
                Ok(record.gone(at))
            }
            outcome => outcome,
        }
    }

    /// What destroying a database would do. Refused where destroying it would be.
    pub async fn rehearse_destruction(
        &self,
        actor: &Actor,
        id: &str,
        terms: &Terms,
    ) -> Result<Rehearsal, Failure> {
        let record = self.database(actor, id).await?;
        let (mut live, now) = self.live_database(actor, &record).await?;
        check_if_match(terms.if_match.as_ref(), &now.tag)?;
        let template = self.template_of(&live).await?;
        let strategy = destruction::strategy(&live, template.as_ref());
        destruction::destroy(&mut live, strategy, Uuid::nil())?;
        let now = Timestamp::now();
        Ok(destruction::rehearsal(&live, template.as_ref(), now))
    }

    /// Destroys a database by another strategy than that of its tier.
    pub async fn force_destruction(
        &self,
        actor: &Actor,
        id: &str,
        wanted: &ForcedDestruction,
        terms: &Terms,
    ) -> Result<Database, Failure> {
        let ask = |database: &mut DaapDatabase, template: Option<&DaapTierSpec>, id| {
            let has_backup = template.is_some_and(|template| template.backup.is_some());
            destruction::force(database, wanted, has_backup, id)
        };
        Box::pin(self.ask_for_operation(actor, id, &ask, terms)).await
    }

    /// Makes a frozen database accessible again, or calls off a destruction where that is possible.
    pub async fn unfreeze_database(
        &self,
        actor: &Actor,
        id: &str,
        terms: &Terms,
    ) -> Result<Database, Failure> {
        let ask = |database: &mut DaapDatabase, _: Option<&DaapTierSpec>, id| {
            destruction::unfreeze(database, actor.role, id)
        };
        Box::pin(self.ask_for_operation(actor, id, &ask, terms)).await
    }

    /// Asks for an operation that gets a new id. What asks for nothing new writes nothing; neither does what an earlier
    /// try of the same request asked for, however far that has come.
    async fn ask_for_operation(
        &self,
        actor: &Actor,
        id: &str,
        ask: Ask<'_>,
        terms: &Terms,
    ) -> Result<Database, Failure> {
        let record = self.database(actor, id).await?;
        for _ in 0..TRIES {
            let (old, now) = self.live_database(actor, &record).await?;
            if intent::is_marked(&old.metadata, terms.intent) {
                return Ok(now);
            }
            check_if_match(terms.if_match.as_ref(), &now.tag)?;
            let template = self.template_of(&old).await?;
            let mut new = old.clone();
            ask(&mut new, template.as_ref(), Uuid::now_v7())?;
            if new.spec == old.spec {
                return Ok(now);
            }
            if let Ok(changed) = self.put_in_place(&old, new, terms).await? {
                return Ok(changed);
            }
        }
        Err(restless("database"))
    }

    /// The tier as it was when the database was bound to it. Absent: it is not bound to any.
    pub(super) async fn template_of(
        &self,
        database: &DaapDatabase,
    ) -> Result<Option<DaapTierSpec>, Failure> {
        let Some(revision) = &database.spec.tier_revision else {
            return Ok(None);
        };
        let template = self.ports.live_databases.template(revision).await?;
        let missing = || Failure::internal(format!("there is no revision '{revision}'"));
        template.ok_or_else(missing).map(Some)
    }
}

/// Changes what is asked of a database, given its tier as it was bound to it and the id of the operation.
type Ask<'a> = &'a (
        dyn Fn(&mut DaapDatabase, Option<&DaapTierSpec>, Uuid) -> Result<(), Failure> + Send + Sync
    );
