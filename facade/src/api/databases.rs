//! The operations about databases.

use std::sync::Arc;

use daap_crds::{
    Phase, connection_secret,
    database::{BackupStatus, Extension},
};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;

use super::{
    Group, body::Body, caller::Caller, date_time::DateTime, entity_tag::Condition,
    problem::problems,
};
use crate::{
    domain::{
        actor::Role,
        database::{Connection as ConnectionRecord, Database as DatabaseRecord, DatabaseFilter},
        entity_tag::EntityTag,
        failure::Failure,
    },
    service::{
        Service,
        databases::{CreateDatabase, ListDatabases},
    },
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

/// What a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum DatabaseStatus {
    /// Being created, not yet healthy.
    Provisioning,
    /// Healthy: applications can connect.
    Ready,
    /// Failed; 'problem' tells why. It is watched and returns by itself when the cause ends.
    Error,
    /// Inaccessible with its data in place; reversible.
    Frozen,
    /// Removed, recoverable from its backups.
    Archived,
    /// Gone.
    Deleted,
}

/// A database.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Database {
    /// Identifies the database for ever.
    id: Uuid,
    /// The name, unique within the owning team.
    #[oai(validator(max_length = 40))]
    name: String,
    /// The team that owns the database.
    #[oai(validator(max_length = 40))]
    owner_team: String,
    /// What the database is for.
    #[oai(validator(max_length = 500))]
    purpose: Option<String>,
    /// The tier the database was created with.
    #[oai(validator(max_length = 40))]
    tier: String,
    /// The revision of the tier that the database is bound to. Only platform teams see it.
    #[oai(validator(max_length = 63))]
    tier_revision: Option<String>,
    /// What the database is.
    status: DatabaseStatus,
    /// When the database was created.
    created_at: DateTime,
    /// When the last trace of the database had left the cluster.
    deleted_at: Option<DateTime>,
    /// Whether deleting the database is refused.
    deletion_protection: bool,
    /// Where applications connect. Present only while the database is ready.
    connection: Option<Connection>,
    /// The state of the backups. Absent while nothing is known yet.
    backup: Option<Backup>,
    /// The PostgreSQL extensions that are enabled in the database.
    #[oai(validator(max_items = 1000))]
    extensions: Vec<EnabledExtension>,
    /// Why the database is not what was asked for.
    problem: Option<DatabaseProblem>,
}

/// Where applications connect. Connections are accepted over TLS only.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Connection {
    /// The host name, inside the Kubernetes cluster.
    #[oai(validator(max_length = 253))]
    host: String,
    /// The port.
    #[oai(validator(minimum(value = "1"), maximum(value = "65535")))]
    port: i32,
    /// The host name of the connection pooler, when the tier has one. Its port is the same.
    #[oai(validator(max_length = 253))]
    pooler_host: Option<String>,
    /// The name of the PostgreSQL database.
    #[oai(validator(max_length = 63))]
    database: String,
    /// The Secret with what an application needs to connect. Its values are never part of an answer.
    secret: ConnectionSecret,
    /// Where the certificate is that verifies the server's.
    ca: Option<SecretKey>,
}

/// A Kubernetes Secret with what an application needs to connect.
#[derive(Debug, Clone, Object)]
pub struct ConnectionSecret {
    /// The namespace of the Secret.
    #[oai(validator(max_length = 63))]
    namespace: String,
    /// The name of the Secret.
    #[oai(validator(max_length = 253))]
    name: String,
    /// Under which keys of the Secret its values are found.
    keys: ConnectionSecretKeys,
}

/// The keys of a Secret with what an application needs to connect.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ConnectionSecretKeys {
    /// The key of the user name.
    #[oai(validator(max_length = 253))]
    username: String,
    /// The key of the password.
    #[oai(validator(max_length = 253))]
    password: String,
    /// The key of a connection URI that has everything in it.
    #[oai(validator(max_length = 253))]
    uri: String,
    /// The key of a connection URI by way of the pooler, when the tier has one.
    #[oai(validator(max_length = 253))]
    pooler_uri: Option<String>,
}

/// One value of a Kubernetes Secret.
#[derive(Debug, Clone, Object)]
pub struct SecretKey {
    /// The namespace of the Secret.
    #[oai(validator(max_length = 63))]
    namespace: String,
    /// The name of the Secret.
    #[oai(validator(max_length = 253))]
    name: String,
    /// The key of the value.
    #[oai(validator(max_length = 253))]
    key: String,
}

/// The state of a database's backups.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Backup {
    /// Whether the tier has backups at all.
    configured: bool,
    /// Whether the last backup succeeded and changes are archived continuously. Absent while it is not known yet.
    healthy: Option<bool>,
    /// When the last backup succeeded.
    last_success_at: Option<DateTime>,
    /// The earliest instant that can be restored.
    restorable_from: Option<DateTime>,
    /// The latest instant that is known to be restorable.
    restorable_until: Option<DateTime>,
}

/// A PostgreSQL extension that is enabled.
#[derive(Debug, Clone, Object)]
pub struct EnabledExtension {
    /// The PostgreSQL database that it is enabled in.
    #[oai(validator(max_length = 63))]
    database: String,
    /// Its name.
    #[oai(validator(max_length = 63))]
    name: String,
    /// Its version.
    #[oai(validator(max_length = 63))]
    version: String,
}

/// Why a database is not what was asked for.
#[derive(Debug, Clone, Object)]
pub struct DatabaseProblem {
    /// A stable code.
    #[oai(validator(max_length = 60))]
    reason: String,
    /// The cause, as far as it is known.
    #[oai(validator(max_length = 4000))]
    message: String,
    /// What can be done.
    #[oai(validator(max_length = 1000))]
    hint: String,
}

/// A slice of the databases.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct DatabaseList {
    /// The databases, in the order of their creation.
    #[oai(validator(max_items = 200))]
    items: Vec<Database>,
    /// Ask for the next slice with this cursor. Absent when there are no more.
    #[oai(validator(max_length = 200))]
    next_cursor: Option<String>,
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
            default = "default_limit"
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
        /// Only databases created at this instant or later.
        created_from: Query<Option<DateTime>>,
        /// Only databases created before this instant.
        created_before: Query<Option<DateTime>>,
    ) -> Result<Listed, ListProblem> {
        let filter = DatabaseFilter {
            owner_team: owner_team.0,
            status: status.0.map(Into::into),
            tier: tier.0,
            text: q.0,
            created_from: created_from.0.map(|instant| instant.0),
            created_before: created_before.0.map(|instant| instant.0),
        };
        let stale = stale_seconds(&service)?;
        let limit = usize::try_from(limit.0).ok();
        let list = service
            .databases(
                &caller.actor,
                ListDatabases {
                    filter,
                    limit,
                    cursor: cursor.0,
                },
            )
            .await?;
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
            return Ok(Found::Unchanged(tag));
        }
        let database = Database::shown_to(caller.actor.role, database);
        Ok(Found::Database(Json(Box::new(database)), tag, stale))
    }
}

/// For how many seconds the cluster was not heard, when a reader must know.
pub(super) fn stale_seconds(service: &Service) -> Result<Option<u64>, Failure> {
    Ok(service.staleness()?.map(|age| age.as_secs()))
}

fn default_limit() -> u32 {
    50
}

impl Database {
    /// The record as a role sees it.
    fn shown_to(role: Role, record: DatabaseRecord) -> Self {
        let extensions = record
            .extensions
            .map(|known| known.items)
            .unwrap_or_default();
        Self {
            id: record.id,
            name: record.name,
            owner_team: record.owner_team,
            purpose: record.purpose,
            tier: record.tier,
            tier_revision: record.tier_revision.filter(|_| role == Role::Platform),
            status: record.status.into(),
            created_at: DateTime(record.created_at),
            deleted_at: record.deleted_at.map(DateTime),
            deletion_protection: record.deletion_protection,
            connection: record.connection.map(Into::into),
            backup: record.backup.map(Into::into),
            extensions: extensions.into_iter().map(Into::into).collect(),
            problem: record.problem.map(|problem| DatabaseProblem {
                reason: problem.reason.to_string(),
                message: problem.message,
                hint: problem.hint,
            }),
        }
    }
}

impl From<ConnectionRecord> for Connection {
    fn from(record: ConnectionRecord) -> Self {
        let pooler = record.endpoint.pooler_host;
        let keys = ConnectionSecretKeys {
            username: connection_secret::USERNAME.to_owned(),
            password: connection_secret::PASSWORD.to_owned(),
            uri: connection_secret::URI.to_owned(),
            pooler_uri: pooler
                .as_ref()
                .map(|_| connection_secret::POOLER_URI.to_owned()),
        };
        Self {
            host: record.endpoint.host,
            port: record.endpoint.port,
            pooler_host: pooler,
            database: record.endpoint.database,
            secret: ConnectionSecret {
                namespace: record.secret.namespace,
                name: record.secret.name,
                keys,
            },
            ca: record.ca_secret.map(|secret| SecretKey {
                namespace: secret.namespace,
                name: secret.name,
                key: connection_secret::AUTHORITY.to_owned(),
            }),
        }
    }
}

impl From<BackupStatus> for Backup {
    fn from(status: BackupStatus) -> Self {
        Self {
            configured: status.configured,
            healthy: status.healthy,
            last_success_at: status.last_success_at.map(Into::into),
            restorable_from: status.restorable_from.map(Into::into),
            restorable_until: status.restorable_until.map(Into::into),
        }
    }
}

impl From<Extension> for EnabledExtension {
    fn from(extension: Extension) -> Self {
        Self {
            database: extension.database,
            name: extension.name,
            version: extension.version,
        }
    }
}

impl From<DatabaseStatus> for Phase {
    fn from(status: DatabaseStatus) -> Self {
        match status {
            DatabaseStatus::Provisioning => Self::Provisioning,
            DatabaseStatus::Ready => Self::Ready,
            DatabaseStatus::Error => Self::Error,
            DatabaseStatus::Frozen => Self::Frozen,
            DatabaseStatus::Archived => Self::Archived,
            DatabaseStatus::Deleted => Self::Deleted,
        }
    }
}

impl From<Phase> for DatabaseStatus {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Provisioning => Self::Provisioning,
            Phase::Ready => Self::Ready,
            Phase::Error => Self::Error,
            Phase::Frozen => Self::Frozen,
            Phase::Archived => Self::Archived,
            Phase::Deleted => Self::Deleted,
        }
    }
}
