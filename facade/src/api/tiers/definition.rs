//! Everything behind the guarantees of a tier, as it is read and written. Pure.
//!
//! Each field of a DaapTier has its field here, with the same bounds and defaults; a test compares them.

use std::collections::BTreeMap;

use poem_openapi::{Enum, Object};

/// A tier to be created.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct NewTier {
    /// The name, by which product teams choose the tier. It cannot be changed.
    #[oai(validator(
        min_length = 1,
        max_length = 40,
        pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
    ))]
    pub name: String,
    /// What a product team gets, in words. Product teams see it.
    #[oai(validator(min_length = 1, max_length = 500))]
    pub description: String,
    /// Everything behind the guarantees. Product teams do not see it.
    pub definition: TierDefinition,
}

/// What of a tier can be changed, as a JSON merge patch (RFC 7396): members replace what is there, null removes it,
/// and what is not mentioned stays.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct TierChange {
    /// What a product team gets, in words. Product teams see it.
    #[oai(validator(min_length = 1, max_length = 500))]
    pub description: String,
    /// Everything behind the guarantees. Product teams do not see it.
    pub definition: TierDefinition,
}

/// Everything behind the guarantees of a tier.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct TierDefinition {
    /// PostgreSQL itself.
    pub postgres: PostgresDefinition,
    /// What one instance gets.
    pub compute: ComputeDefinition,
    /// The volumes of one instance.
    pub storage: StorageDefinition,
    /// How many instances, and how they replicate.
    #[oai(default)]
    pub availability: AvailabilityDefinition,
    /// Backups and continuous archiving. Absent: no backup at all, and no restore.
    pub backup: Option<BackupDefinition>,
    /// The connection pooler. Absent: none.
    pub pooling: Option<PoolingDefinition>,
    /// What deleting a database does.
    pub destruction: DestructionDefinition,
}

/// PostgreSQL: version, image and settings.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct PostgresDefinition {
    /// The major version.
    #[oai(validator(minimum(value = "14"), maximum(value = "18")))]
    pub major: i32,
    /// The container image of the instances, with a tag that begins with the major version. It must contain pgaudit.
    /// Either this or a catalogue is required.
    #[oai(validator(
        min_length = 1,
        max_length = 300,
        pattern = "^[^@ ]+:[0-9]{2}([._-][A-Za-z0-9._-]*)?(@sha256:[a-f0-9]{64})?$"
    ))]
    pub image: Option<String>,
    /// The name of the image catalogue that has an image for the major version.
    #[oai(validator(min_length = 1, max_length = 253))]
    pub catalog: Option<String>,
    /// Settings for postgresql.conf. What DAAP and CloudNativePG control themselves cannot be set here.
    #[oai(default, validator(max_properties = 100))]
    pub parameters: BTreeMap<String, String>,
    /// The extensions that the image offers, for the planning of upgrades.
    #[oai(default, validator(max_items = 200))]
    pub extensions: Vec<String>,
}

/// CPU and memory of one instance.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields)]
pub struct ComputeDefinition {
    /// Whole cores such as '2', or thousandths such as '500m'.
    #[oai(validator(max_length = 11, pattern = "^(0|[1-9][0-9]{0,8}m?)$"))]
    pub cpu: String,
    /// A whole number with Mi, Gi or Ti, such as '4Gi'.
    #[oai(validator(max_length = 11, pattern = "^(0|[1-9][0-9]{0,8}[MGT]i)$"))]
    pub memory: String,
}

/// The volumes of one instance.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct StorageDefinition {
    /// The size of the data volume: a whole number with Mi, Gi or Ti, such as '50Gi'.
    #[oai(validator(max_length = 11, pattern = "^(0|[1-9][0-9]{0,8}[MGT]i)$"))]
    pub size: String,
    /// The storage class. Absent: the cluster's default.
    #[oai(validator(min_length = 1, max_length = 253))]
    pub class: Option<String>,
    /// The size of a volume of its own for the write-ahead log. Absent: it shares the data volume.
    #[oai(validator(max_length = 11, pattern = "^(0|[1-9][0-9]{0,8}[MGT]i)$"))]
    pub wal_size: Option<String>,
}

/// How many instances, and how they replicate.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct AvailabilityDefinition {
    /// One primary, the others standbys.
    #[oai(default = "one", validator(minimum(value = "1"), maximum(value = "9")))]
    pub instances: i32,
    /// Synchronous replication. Absent: asynchronous.
    pub synchronous: Option<SynchronousDefinition>,
}

impl Default for AvailabilityDefinition {
    fn default() -> Self {
        Self {
            instances: one(),
            synchronous: None,
        }
    }
}

/// Synchronous replication.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields)]
pub struct SynchronousDefinition {
    /// How many standbys confirm a commit.
    #[oai(validator(minimum(value = "1"), maximum(value = "8")))]
    pub number: i32,
    /// What happens to writes when too few standbys are left.
    #[oai(default)]
    pub durability: Durability,
}

/// What happens to writes when too few standbys are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[oai(rename_all = "lowercase")]
pub enum Durability {
    /// Writes wait.
    #[default]
    Required,
    /// Writes go on without the missing standbys.
    Preferred,
}

/// Backups and continuous archiving.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields)]
pub struct BackupDefinition {
    /// When base backups are taken, in UTC: cron with five fields, or six with seconds first.
    #[oai(validator(
        max_length = 100,
        pattern = "^([0-9A-Za-z*/,?-]+ ){4,5}[0-9A-Za-z*/,?-]+$"
    ))]
    pub schedule: String,
    /// How long backups are kept: days, weeks or months, such as '30d'.
    #[oai(validator(max_length = 5, pattern = "^[1-9][0-9]{0,3}[dwm]$"))]
    pub retention: String,
    /// The name of the object store that they are kept in.
    #[oai(validator(max_length = 40, pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub object_store: String,
    /// How long a quiet database waits until its changes are archived: seconds or minutes, such as '5min'.
    #[oai(
        default = "five_minutes",
        validator(max_length = 7, pattern = "^[1-9][0-9]{0,3}(s|min)$")
    )]
    pub archive_timeout: String,
}

/// A connection pooler.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields)]
pub struct PoolingDefinition {
    /// When a server connection is given back.
    pub mode: PoolMode,
    /// How many clients one pooler instance accepts.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    pub max_client_connections: i32,
    /// How many server connections one pooler instance opens for a user and database.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    pub default_pool_size: i32,
    /// How many pooler instances.
    #[oai(default = "one", validator(minimum(value = "1"), maximum(value = "9")))]
    pub instances: i32,
    /// What one pooler instance gets.
    #[oai(default = "pooler_compute")]
    pub compute: ComputeDefinition,
}

/// When a connection to the database is given back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum PoolMode {
    /// When the client disconnects.
    Session,
    /// At the end of each transaction.
    Transaction,
}

/// What deleting a database does.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct DestructionDefinition {
    /// The strategy.
    pub strategy: Strategy,
    /// How long an archived database can be restored: days, weeks or months. Absent: until somebody deletes it.
    #[oai(validator(max_length = 5, pattern = "^[1-9][0-9]{0,3}[dwm]$"))]
    pub archive_retention: Option<String>,
}

/// A destruction strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum Strategy {
    /// Inaccessible, data in place, reversible.
    Freeze,
    /// Removed, recoverable from backups.
    Archive,
    /// Removed with its backups, irrecoverably.
    Hard,
}

const fn one() -> i32 {
    1
}

fn five_minutes() -> String {
    "5min".to_owned()
}

fn pooler_compute() -> ComputeDefinition {
    ComputeDefinition {
        cpu: "100m".to_owned(),
        memory: "64Mi".to_owned(),
    }
}
