//! The operation that restores a database to a new one.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};

use super::{
    Group, body::Body, caller::Caller, databases::Database, date_time::DateTime, problem::problems,
};
use crate::{
    domain::entity_tag::EntityTag,
    service::{Service, restore::RestoreDatabase},
};

/// The operation that restores a database to a new one.
pub struct Restores;

/// What is to be restored.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct NewRestore {
    /// The instant whose data are wanted, with its offset from UTC. Null or absent: the latest possible.
    pub target_time: Option<DateTime>,
    /// The name of the new database. Absent: that of the source with '-restored-' and a number.
    #[oai(validator(
        min_length = 1,
        max_length = 40,
        pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
    ))]
    pub name: Option<String>,
}

/// A database to which another one is restored.
#[derive(ApiResponse)]
pub enum Restored {
    /// The new database exists, and is being restored.
    #[oai(status = 201)]
    Database(
        Json<Box<Database>>,
        /// The path of the new database.
        #[oai(header = "Location")]
        String,
        /// The tag of this state of the new database.
        #[oai(header = "ETag")]
        EntityTag,
    ),
}

problems! {
    /// How restoring a database fails.
    RestoreProblem: 404 409 422
}

#[OpenApi(tag = "Group::Databases")]
impl Restores {
    /// Restore a database
    ///
    /// Makes a new database of the same team and tier with the data that the database had at an instant. The source may
    /// be in use, frozen or archived, and stays as it is. The new one counts in the quota and has credentials of its
    /// own. An instant that cannot be restored is refused, with what can be.
    #[oai(
        path = "/databases/:id/restore",
        method = "post",
        operation_id = "restoreDatabase"
    )]
    async fn restore(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database to restore from.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        body: Body<NewRestore>,
    ) -> Result<Restored, RestoreProblem> {
        let Body(NewRestore { target_time, name }) = body;
        let asked = RestoreDatabase {
            target_time: target_time.map(|instant| instant.0),
            name,
        };
        let database = service
            .restore_database(&caller.actor, &id.0, asked, caller.intent)
            .await?;
        let location = format!("/databases/{}", database.id);
        let tag = database.tag.clone();
        let shown = Database::shown_to(caller.actor.role, database);
        Ok(Restored::Database(Json(Box::new(shown)), location, tag))
    }
}
