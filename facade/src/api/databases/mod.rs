//! The operations about databases.

mod shown;

use std::sync::Arc;

use daap_crds::DaapDatabaseSpec;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use self::shown::DatabaseList;
use uuid::Uuid;

pub use self::shown::{Database, DatabaseStatus};
use super::{
    Group,
    body::Body,
    caller::Caller,
    date_time::DateTime,
    destruction::{Deleted, DestructionProblem, accepted, terms},
    entity_tag::Condition,
    list,
    merge_patch::MergePatch,
    problem::problems,
    staleness::stale_seconds,
};
use crate::{
    domain::{database::DatabaseFilter, entity_tag::EntityTag},
    service::{Service, change::Terms, databases::CreateDatabase},
};

/// The operations about databases.
pub struct Databases;

/// A database to be created.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct NewDatabase {
    /// The name, unique within the owning team. Lower-case letters, digits and '-'; it starts with a letter.
    #[oai(validator(
        min_length = 1,
        max_length = 40,
        pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
    ))]
    pub name: String,
    /// The team that will own the database. Optional with a product team's key, which creates for its own team only.
    #[oai(validator(
        min_length = 1,
        max_length = 40,
        pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
    ))]
    pub owner_team: Option<String>,
    /// What the database is for, in words.
    #[oai(validator(max_length = 500))]
    pub purpose: Option<String>,
    /// The tier, by name. See the list of tiers for what there is.
    #[oai(validator(
        min_length = 1,
        max_length = 40,
        pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
    ))]
    pub tier: String,
}

/// What of a database can be changed.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct DatabaseChange {
    /// What the database is for, in words.
    #[oai(validator(max_length = 500))]
    pub purpose: Option<String>,
    /// Whether deleting the database is refused.
    pub deletion_protection: bool,
}

/// A created database.
#[derive(ApiResponse)]
pub enum Created {
    /// The database would be created like this; nothing was. The id is not the one that it would have.
    #[oai(status = 200)]
    Rehearsed(Json<Box<Database>>),
    /// The database exists and is being provisioned.
    #[oai(status = 201)]
    Database(
        Json<Box<Database>>,
        /// The path of the database.
        #[oai(header = "Location")]
        String,
        /// The tag of this state of the database.
        #[oai(header = "ETag")]
        EntityTag,
    ),
}

/// A found database.
#[derive(ApiResponse)]
pub enum Found {
    /// The database.
    #[oai(status = 200)]
    Database(
        Json<Box<Database>>,
        /// The tag of this state of the database.
        #[oai(header = "ETag")]
        EntityTag,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
    /// The database is still in the state that 'If-None-Match' names.
    #[oai(status = 304)]
    Unchanged(
        /// The tag of this state of the database.
        #[oai(header = "ETag")]
        EntityTag,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
}

/// A changed database.
#[derive(ApiResponse)]
pub enum Changed {
    /// The database as it is now, or as it would be after a dry run.
    #[oai(status = 200)]
    Database(
        Json<Box<Database>>,
        /// The tag of this state of the database.
        #[oai(header = "ETag")]
        EntityTag,
    ),
}

/// Found databases.
#[derive(ApiResponse)]
pub enum Listed {
    /// A slice of the databases.
    #[oai(status = 200)]
    Databases(
        Json<DatabaseList>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
}

problems! {
    /// How creating a database fails.
    CreateProblem: 400 401 403 408 409 413 415 422 500 503
}
problems! {
    /// How changing a database fails.
    ChangeProblem: 400 401 404 408 409 412 413 415 422 500 503
}
problems! {
    /// How listing databases fails.
    ListProblem: 400 401 500 503
}
problems! {
    /// How reading a database fails.
    GetProblem: 400 401 404 500 503
}

#[OpenApi(tag = "Group::Databases")]
impl Databases {
    /// Create a database
    ///
    /// Asks for a PostgreSQL database of a tier. The answer comes as soon as the database is on record; it is
    /// provisioned afterwards, and its status tells when it is ready.
    #[oai(path = "/databases", method = "post", operation_id = "createDatabase")]
    async fn create(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// Check everything and change nothing.
        #[oai(default)]
        dry_run: Query<bool>,
        body: Body<NewDatabase>,
    ) -> Result<Created, CreateProblem> {
        let Body(NewDatabase {
            name,
            owner_team,
            purpose,
            tier,
        }) = body;
        let asked = CreateDatabase {
            name,
            owner_team,
            tier,
            purpose,
        };
        let role = caller.actor.role;
        if dry_run.0 {
            let database = service.rehearse_database(&caller.actor, asked).await?;
            let database = Database::shown_to(role, database);
            return Ok(Created::Rehearsed(Json(Box::new(database))));
        }
        let database = service
            .create_database(&caller.actor, asked, caller.intent)
            .await?;
        let location = format!("/databases/{}", database.id);
        let tag = database.tag.clone();
        let database = Database::shown_to(role, database);
        Ok(Created::Database(Json(Box::new(database)), location, tag))
    }

    /// List databases
    ///
    /// Lists the databases of your team, in the order of their creation; platform teams see those of every team.
    /// Deleted databases are listed only with the status 'deleted'.
    #[oai(path = "/databases", method = "get", operation_id = "listDatabases")]
    #[expect(
        clippy::too_many_arguments,
        reason = "poem-openapi takes each query parameter as an argument"
    )]
    async fn list(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// How many databases at once.
        #[oai(
            validator(minimum(value = "1"), maximum(value = "200")),
            default = "list::default_limit"
        )]
        limit: Query<u32>,
        /// The cursor of the slice before, with the same filters.
        #[oai(validator(max_length = 200, pattern = "^[0-9a-f]*$"))]
        cursor: Query<Option<String>>,
        /// Only databases with this status.
        status: Query<Option<DatabaseStatus>>,
        /// Only databases of this tier.
        #[oai(validator(max_length = 40, pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
        tier: Query<Option<String>>,
        /// Only databases of this team.
        #[oai(validator(max_length = 40, pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
        owner_team: Query<Option<String>>,
        /// Only databases with this text in the name or the purpose, in whatever case.
        #[oai(validator(min_length = 1, max_length = 100))]
        q: Query<Option<String>>,
        /// Only databases that were restored from this one.
        source_database_id: Query<Option<Uuid>>,
        /// Only databases created at this instant or later.
        created_from: Query<Option<DateTime>>,
        /// Only databases created before this instant.
        created_before: Query<Option<DateTime>>,
    ) -> Result<Listed, ListProblem> {
        let filter = DatabaseFilter {
            owner_team: owner_team.0,
            status: status.0.map(Into::into),
            tier: tier.0,
            source_id: source_database_id.0,
            text: q.0,
            created_from: created_from.0.map(|instant| instant.0),
            created_before: created_before.0.map(|instant| instant.0),
        };
        let stale = stale_seconds(&service)?;
        let asked = list::ask(filter, limit, cursor);
        let list = service.databases(&caller.actor, asked).await?;
        let role = caller.actor.role;
        let items = list
            .items
            .into_iter()
            .map(|database| Database::shown_to(role, database))
            .collect();
        let list = DatabaseList {
            items,
            next_cursor: list.next_cursor,
        };
        Ok(Listed::Databases(Json(list), stale))
    }

    /// Get a database
    ///
    /// Shows one database: its status, how to connect once it is ready, its backups, and what is wrong if something
    /// is.
    #[oai(path = "/databases/:id", method = "get", operation_id = "getDatabase")]
    async fn get(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Answer only when the database is in another state than these tags name.
        #[oai(name = "If-None-Match")]
        if_none_match: Condition,
    ) -> Result<Found, GetProblem> {
        let stale = stale_seconds(&service)?;
        let database = service.database(&caller.actor, &id.0).await?;
        let tag = database.tag.clone();
        if if_none_match.0.is_some_and(|known| known.include(&tag)) {
            return Ok(Found::Unchanged(tag, stale));
        }
        let database = Database::shown_to(caller.actor.role, database);
        Ok(Found::Database(Json(Box::new(database)), tag, stale))
    }

    /// Change a database
    ///
    /// Changes what is mentioned and leaves the rest (JSON merge patch, RFC 7396; null removes).
    #[oai(
        path = "/databases/:id",
        method = "patch",
        operation_id = "changeDatabase"
    )]
    async fn change(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Only try it out: all checks, and no effect.
        #[oai(default)]
        dry_run: Query<bool>,
        /// Change the database only when what was asked for is still that of the state that one of these tags names.
        #[oai(name = "If-Match")]
        if_match: Condition,
        body: MergePatch<DatabaseChange>,
    ) -> Result<Changed, ChangeProblem> {
        let terms = Terms {
            intent: caller.intent,
            if_match: if_match.0,
            dry_run: dry_run.0,
        };
        let change = |spec: &mut DaapDatabaseSpec| {
            let DatabaseChange {
                purpose,
                deletion_protection,
            } = body.applied_to(&DatabaseChange {
                purpose: spec.purpose.clone(),
                deletion_protection: spec.deletion_protection,
            })?;
            spec.purpose = purpose;
            spec.deletion_protection = deletion_protection;
            Ok(())
        };
        let changed = service.change_database(&caller.actor, &id.0, &change, &terms);
        // It holds a whole database more than once, which is large.
        let database = Box::pin(changed).await?;
        let tag = database.tag.clone();
        let database = Database::shown_to(caller.actor.role, database);
        Ok(Changed::Database(Json(Box::new(database)), tag))
    }

    /// Delete a database
    ///
    /// Does to the database what its tier says: freezes it, archives it, or deletes it with its backups. Deleting again
    /// changes nothing. A dry run tells what would go, what would stay, and until when.
    #[oai(
        path = "/databases/:id",
        method = "delete",
        operation_id = "deleteDatabase"
    )]
    async fn delete(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Only tell what would be done.
        #[oai(default)]
        dry_run: Query<bool>,
        /// Delete the database only when what was asked for is still that of the state that one of these tags names.
        #[oai(name = "If-Match")]
        if_match: Condition,
    ) -> Result<Deleted, DestructionProblem> {
        let terms = terms(&caller, if_match);
        if dry_run.0 {
            let rehearsal = service
                .rehearse_destruction(&caller.actor, &id.0, &terms)
                .await?;
            return Ok(Deleted::Rehearsed(Json(rehearsal.into())));
        }
        let database = service
            .destroy_database(&caller.actor, &id.0, &terms)
            .await?;
        let (shown, tag, location) = accepted(caller.actor.role, database);
        Ok(Deleted::Accepted(shown, tag, location))
    }
}
