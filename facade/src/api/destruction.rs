//! The operations that destroy a database, and that take it back. Deleting one is among the [`databases`](super::databases):
//! all operations of one path stand together.

use std::sync::Arc;

use daap_crds::database::ForcedDestruction;
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};

use super::{
    Group, body::Body, caller::Caller, databases::Database, date_time::DateTime,
    entity_tag::Condition, problem::problems, tiers::definition::Strategy,
};
use crate::{
    domain::{
        actor::Role, database::Database as DatabaseRecord, destruction::Rehearsal,
        entity_tag::EntityTag, tier::destruction_effect,
    },
    service::{Service, change::Terms},
};

/// The operations that destroy a database, and that take it back.
pub struct Destructions;

/// A destruction in place of the one that the tier has.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields)]
pub struct NewDestruction {
    /// What is done.
    pub strategy: Strategy,
    /// Why. It is kept with the operation, and shown to the team that owns the database.
    #[oai(validator(min_length = 1, max_length = 500))]
    pub reason: String,
}

/// What deleting a database would do.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct DestructionPlan {
    /// The strategy of the tier.
    strategy: Strategy,
    /// What it does, in words.
    #[oai(validator(max_length = 400))]
    effect: String,
    /// What is not there any more afterwards.
    #[oai(validator(max_items = 10))]
    removed: Vec<String>,
    /// What is still there.
    #[oai(validator(max_items = 10))]
    kept: Vec<String>,
    /// Until when it is kept at least, if that is limited.
    kept_until: Option<DateTime>,
}

/// A database that is to be destroyed.
#[derive(ApiResponse)]
pub enum Deleted {
    /// What would be done; nothing was.
    #[oai(status = 200)]
    Rehearsed(Json<DestructionPlan>),
    /// It is done from now on. The database is answered as it is now: as long as something is done, 'operation' tells
    /// what, and at which step it is.
    #[oai(status = 202)]
    Accepted(
        Json<Box<Database>>,
        /// The tag of this state of the database.
        #[oai(header = "ETag")]
        EntityTag,
        /// The path of the operation.
        #[oai(header = "Operation-Location")]
        Option<String>,
    ),
}

/// Something that is done with a database from now on.
#[derive(ApiResponse)]
pub enum Accepted {
    /// It is done from now on. The database is answered as it is now: as long as something is done, 'operation' tells
    /// what, and at which step it is.
    #[oai(status = 202)]
    Database(
        Json<Box<Database>>,
        /// The tag of this state of the database.
        #[oai(header = "ETag")]
        EntityTag,
        /// The path of the operation.
        #[oai(header = "Operation-Location")]
        Option<String>,
    ),
}

problems! {
    /// How destroying a database, or taking that back, fails.
    DestructionProblem: 404 409 412 422
}

#[OpenApi(tag = "Group::Databases")]
impl Destructions {
    /// Unfreeze a database
    ///
    /// Makes a frozen database accessible again, with the same data and the same credentials. Also calls off a
    /// destruction as long as that is possible. What a platform team forced, only a platform team takes back.
    #[oai(
        path = "/databases/:id/unfreeze",
        method = "post",
        operation_id = "unfreezeDatabase"
    )]
    async fn unfreeze(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Unfreeze the database only when what was asked for is still that of the state that one of these tags names.
        #[oai(name = "If-Match")]
        if_match: Condition,
    ) -> Result<Accepted, DestructionProblem> {
        let terms = terms(&caller, if_match);
        let database = service
            .unfreeze_database(&caller.actor, &id.0, &terms)
            .await?;
        let (shown, tag, location) = accepted(caller.actor.role, database);
        Ok(Accepted::Database(shown, tag, location))
    }

    /// Force the destruction of a database
    ///
    /// Destroys a database by another strategy than that of its tier, whether or not it is protected. Only platform
    /// teams can, and have to say why. A destruction that is stuck can be forced on, and one that is done be taken
    /// farther: frozen, then archived, then deleted with its backups.
    #[oai(
        path = "/databases/:id/destroy",
        method = "post",
        operation_id = "destroyDatabase"
    )]
    async fn destroy(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Destroy the database only when what was asked for is still that of the state that one of these tags names.
        #[oai(name = "If-Match")]
        if_match: Condition,
        body: Body<NewDestruction>,
    ) -> Result<Accepted, DestructionProblem> {
        let terms = terms(&caller, if_match);
        let Body(NewDestruction { strategy, reason }) = body;
        let wanted = ForcedDestruction {
            strategy: strategy.into(),
            reason,
        };
        let database = service
            .force_destruction(&caller.actor, &id.0, &wanted, &terms)
            .await?;
        let (shown, tag, location) = accepted(caller.actor.role, database);
        Ok(Accepted::Database(shown, tag, location))
    }
}

pub(super) fn terms(caller: &Caller, if_match: Condition) -> Terms {
    Terms {
        intent: caller.intent,
        if_match: if_match.0,
        dry_run: false,
    }
}

/// A database with which something is done now, its tag, and the path of what is done.
pub(super) fn accepted(
    role: Role,
    database: DatabaseRecord,
) -> (Json<Box<Database>>, EntityTag, Option<String>) {
    let operation = database.operation.as_ref();
    let location = operation.map(|operation| format!("/operations/{}", operation.id));
    let tag = database.tag.clone();
    let shown = Database::shown_to(role, database);
    (Json(Box::new(shown)), tag, location)
}

impl From<Rehearsal> for DestructionPlan {
    fn from(rehearsal: Rehearsal) -> Self {
        let texts = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
        Self {
            strategy: rehearsal.strategy.into(),
            effect: destruction_effect(rehearsal.strategy).to_owned(),
            removed: texts(rehearsal.removed),
            kept: texts(rehearsal.kept),
            kept_until: rehearsal.kept_until.map(DateTime),
        }
    }
}
