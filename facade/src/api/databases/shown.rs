//! A database as it is shown, and how it comes from the record. Pure.

use daap_crds::{
    Phase, connection_secret,
    database::{BackupStatus, Extension},
};
use poem_openapi::{Enum, Object};
use uuid::Uuid;

use super::super::{date_time::DateTime, operations::Operation};
use crate::domain::{
    actor::Role,
    database::{Connection as ConnectionRecord, Database as DatabaseRecord},
};

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
    /// What is being done with the database at the moment.
    operation: Option<Operation>,
    /// The database that this one was restored from.
    source_database_id: Option<Uuid>,
    /// What was restored. Present when the database was restored from another one.
    restore: Option<RestoredState>,
    /// Until when an archived database can be restored. Absent: until somebody destroys it.
    archived_until: Option<DateTime>,
    /// The PostgreSQL extensions that are enabled in the database.
    #[oai(validator(max_items = 1000))]
    extensions: Vec<EnabledExtension>,
    /// Why the database is not what was asked for.
    problem: Option<DatabaseProblem>,
}

/// What of another database was restored.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct RestoredState {
    /// The instant. Absent: the latest that was possible.
    target_time: Option<DateTime>,
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
    /// Why it is not healthy.
    #[oai(validator(max_length = 4000))]
    message: Option<String>,
    /// When the last backup succeeded.
    last_success_at: Option<DateTime>,
    /// When the last backup failed.
    last_failure_at: Option<DateTime>,
    /// Why the last backup failed.
    #[oai(validator(max_length = 4000))]
    last_failure_message: Option<String>,
    /// When the next backup is due. Absent: none is, as while the database is frozen.
    next_at: Option<DateTime>,
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
    pub(super) items: Vec<Database>,
    /// Ask for the next slice with this cursor. Absent when there are no more.
    #[oai(validator(max_length = 200))]
    pub(super) next_cursor: Option<String>,
}

impl Database {
    /// The record as a role sees it.
    pub(in crate::api) fn shown_to(role: Role, record: DatabaseRecord) -> Self {
        let source_database_id = record.source_id();
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
            operation: record
                .operation
                .map(|operation| Operation::of(record.id, operation)),
            source_database_id,
            restore: record.restore.map(|restore| RestoredState {
                target_time: restore.target_time.map(Into::into),
            }),
            archived_until: record.archived_until.map(DateTime),
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
            message: status.message,
            last_success_at: status.last_success_at.map(Into::into),
            last_failure_at: status.last_failure_at.map(Into::into),
            last_failure_message: status.last_failure_message,
            next_at: status.next_at.map(Into::into),
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
