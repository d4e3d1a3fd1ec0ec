//! `DaapTier`: a named menu entry that platform teams define and product teams choose. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition,
    quantity::{Bytes, Cpu},
};

/// A tier: the infrastructure behind a name. Changing it affects databases created afterwards; existing ones stay
/// bound to the revision they were created with until they are migrated.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "daap.dev",
    version = "v1alpha1",
    kind = "DaapTier",
    plural = "daaptiers",
    shortname = "dtier",
    category = "daap",
    status = "DaapTierStatus",
    derive = "PartialEq",
    doc = "A tier: the infrastructure behind a name. Changing it affects databases created afterwards; existing ones keep the revision they were created with until they are migrated.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("a tier's name must be a DNS label of at most 40 characters that starts with a letter"),
    printcolumn = r#"{"name":"PostgreSQL","type":"integer","jsonPath":".spec.postgres.major"}"#,
    printcolumn = r#"{"name":"Instances","type":"integer","jsonPath":".spec.availability.instances"}"#,
    printcolumn = r#"{"name":"CPU","type":"string","jsonPath":".spec.compute.cpu"}"#,
    printcolumn = r#"{"name":"Memory","type":"string","jsonPath":".spec.compute.memory"}"#,
    printcolumn = r#"{"name":"Storage","type":"string","jsonPath":".spec.storage.size"}"#,
    printcolumn = r#"{"name":"Destruction","type":"string","jsonPath":".spec.destruction.strategy"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type=='Accepted')].status"}"#,
    printcolumn = r#"{"name":"In use","type":"integer","jsonPath":".status.inUse"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.currentRevision","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.destruction.strategy != 'Archive' || has(self.backup)").message("a tier that archives needs a backup: without one, archiving would destroy the data").field_path(".destruction.strategy"))]
#[x_kube(validation = Rule::new("self.destruction.strategy == 'Archive' || !has(self.destruction.archiveRetention)").message("archiveRetention belongs to the strategy Archive").field_path(".destruction.archiveRetention"))]
pub struct DaapTierSpec {
    /// What a product team gets, in words. Shown to product teams.
    #[schemars(length(min = 1, max = 500))]
    pub description: String,
    /// PostgreSQL itself.
    pub postgres: Postgres,
    /// What one instance gets. Requests equal limits.
    pub compute: Compute,
    /// The volumes of one instance.
    pub storage: Storage,
    /// How many instances, and how they replicate.
    #[serde(default)]
    pub availability: Availability,
    /// Backups and continuous archiving. Absent: no backup at all, and no restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
    /// A connection pooler (PgBouncer). Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// What deleting a database of this tier does.
    pub destruction: Destruction,
}

/// PostgreSQL: version, image and settings.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.image) != has(self.catalog)").message("exactly one of image and catalog is required"))]
#[x_kube(validation = Rule::new(image_rule()).message("the tag of the image must begin with the major version, such as ':17.6'").field_path(".image"))]
pub struct Postgres {
    /// The major version.
    #[schemars(range(min = OLDEST_MAJOR, max = NEWEST_MAJOR))]
    pub major: i32,
    /// The container image of the instances, with a tag that begins with the major version. It must contain pgaudit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300), regex(pattern = IMAGE_PATTERN))]
    pub image: Option<String>,
    /// A CloudNativePG image catalogue that has an image for the major version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<ImageCatalog>,
    /// Settings for postgresql.conf. What DAAP and CloudNativePG control themselves cannot be set here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "parameters_schema")]
    pub parameters: BTreeMap<String, String>,
    /// The extensions that the image offers, for planning of upgrades.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "extensions_schema")]
    pub extensions: Vec<String>,
}

/// The oldest PostgreSQL that CloudNativePG 1.30 runs.
pub const OLDEST_MAJOR: i32 = 14;

/// The newest PostgreSQL that CloudNativePG 1.30 runs.
pub const NEWEST_MAJOR: i32 = 18;

/// The image's tag begins with `self.major`. A pattern a major version, since the API server cannot bound the cost of
/// a pattern that is computed.
fn image_rule() -> String {
    let of_major = |major: i32| {
        format!("self.major == {major} && self.image.matches('^[^@]*:{major}[^/@]*(@.*)?$')")
    };
    let alternatives: Vec<_> = (OLDEST_MAJOR..=NEWEST_MAJOR).map(of_major).collect();
    format!("!has(self.image) || {}", alternatives.join(" || "))
}

/// An image whose tag begins with a two-digit major version, with or without a digest. CloudNativePG reads the major
/// version from the tag.
const IMAGE_PATTERN: &str = "^[^@ ]+:[0-9]{2}([._-][A-Za-z0-9._-]*)?(@sha256:[a-f0-9]{64})?$";

/// A reference to a CloudNativePG image catalogue.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ImageCatalog {
    /// The name of a ClusterImageCatalog.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What one instance gets.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Compute {
    /// CPU of one instance.
    #[x_kube(validation = Rule::new("self != '0'").message("must be more than zero"))]
    pub cpu: Cpu,
    /// Memory of one instance.
    #[x_kube(validation = Rule::new("self != '0'").message("must be more than zero"))]
    pub memory: Bytes,
}

/// The volumes of one instance.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The size of the data volume.
    #[x_kube(validation = Rule::new("self != '0'").message("must be more than zero"))]
    pub size: Bytes,
    /// The storage class. Absent: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class: Option<String>,
    /// The size of a volume of its own for the write-ahead log. Absent: it shares the data volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self != '0'").message("must be more than zero"))]
    pub wal_size: Option<Bytes>,
}

/// How many instances, and how they replicate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.synchronous) || self.synchronous.number < self.instances").message("fewer synchronous standbys than instances are possible").field_path(".synchronous"))]
pub struct Availability {
    /// One primary, the others standbys.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 9))]
    pub instances: i32,
    /// Synchronous replication. Absent: asynchronous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synchronous: Option<Synchronous>,
}

impl Default for Availability {
    fn default() -> Self {
        Self {
            instances: one(),
            synchronous: None,
        }
    }
}

/// Synchronous replication.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Synchronous {
    /// How many standbys confirm a commit.
    #[schemars(range(min = 1, max = 8))]
    pub number: i32,
    /// What happens to writes when too few standbys are left.
    #[serde(default)]
    pub durability: Durability,
}

/// What happens to writes when too few standbys are left.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Writes wait.
    #[default]
    Required,
    /// Writes go on without the missing standbys.
    Preferred,
}

/// Backups and continuous archiving.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// When base backups are taken: cron with five fields, or six with seconds first, in UTC.
    #[schemars(length(max = 100), regex(pattern = crate::schedule::PATTERN))]
    pub schedule: String,
    /// How long backups are kept: days, weeks or months, such as '30d'.
    #[schemars(length(max = 5), regex(pattern = crate::retention::PATTERN))]
    pub retention: String,
    /// The name of the DaapObjectStore.
    #[schemars(length(max = 40), regex(pattern = crate::name::PATTERN))]
    pub object_store: String,
    /// How long a quiet database waits until it closes a segment of write-ahead log: the most that can be lost
    /// with all volumes. Seconds or minutes, such as '5min'.
    #[serde(default = "five_minutes")]
    #[schemars(length(max = 7), regex(pattern = "^[1-9][0-9]{0,3}(s|min)$"))]
    pub archive_timeout: String,
}

/// A connection pooler.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.defaultPoolSize <= self.maxClientConnections").message("must not be more than maxClientConnections").field_path(".defaultPoolSize"))]
pub struct Pooling {
    /// When a server connection is given back.
    pub mode: PoolMode,
    /// How many clients one pooler instance accepts.
    #[schemars(range(min = 1, max = 10000))]
    pub max_client_connections: i32,
    /// How many server connections one pooler instance opens for a user and database.
    #[schemars(range(min = 1, max = 1000))]
    pub default_pool_size: i32,
    /// How many pooler instances.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 9))]
    pub instances: i32,
    /// What one pooler instance gets.
    #[serde(default = "pooler_compute")]
    pub compute: Compute,
}

/// When a server connection is given back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client disconnects.
    Session,
    /// At the end of each transaction.
    Transaction,
}

/// What deleting a database does.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Destruction {
    /// The strategy.
    pub strategy: Strategy,
    /// How long an archived database can be restored: days, weeks or months. Absent: until someone deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), regex(pattern = crate::retention::PATTERN))]
    pub archive_retention: Option<String>,
}

/// A destruction strategy.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Inaccessible, data in place, reversible.
    Freeze,
    /// Removed from the cluster, recoverable from backups.
    Archive,
    /// Removed with its backups, irrecoverably.
    Hard,
}

/// What is known about a tier.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DaapTierStatus {
    /// The generation this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The DaapTierRevision that new databases are bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<String>,
    /// How many databases hold a revision of this tier.
    #[serde(default)]
    pub in_use: i32,
    /// `Accepted`: the tier can be served.
    #[serde(default)]
    #[schemars(schema_with = "condition::schema")]
    pub conditions: Vec<Condition>,
}

fn one() -> i32 {
    1
}

fn five_minutes() -> String {
    "5min".to_owned()
}

/// PgBouncer is one small process.
fn pooler_compute() -> Compute {
    Compute {
        cpu: Cpu::from_millicores(100),
        memory: Bytes::from_mebibytes(64).unwrap_or_default(),
    }
}

/// The settings that a tier may not set, because CloudNativePG fixes them or a guarantee of DAAP hangs on them.
///
/// Source: `FixedConfigurationParameters` in CloudNativePG 1.30's `pkg/postgres/configuration.go`, and DAAP's own:
/// TLS versions, password encryption, the archive timeout (a field of its own), and what pgaudit records.
const RESERVED_PARAMETERS: [&str; 34] = [
    "allow_system_table_mods",
    "archive_.*",
    "bonjour.*",
    "cluster_name",
    "config_file",
    "data_directory",
    "data_sync_retry",
    "event_source",
    "external_pid_file",
    "hba_file",
    "hot_standby",
    "ident_file",
    "jit_provider",
    "listen_addresses",
    "log_(destination|directory|file_mode|filename|rotation_.*|truncate_on_rotation)",
    "logging_collector",
    "password_encryption",
    "pg_failover_slots[.].*",
    "pgaudit[.].*",
    "port",
    "primary_.*",
    "promote_trigger_file",
    "recovery_.*",
    "restart_after_crash",
    "restore_command",
    "shared_preload_libraries",
    "ssl.*",
    "stats_temp_directory",
    "synchronous_standby_names",
    "synchronized_standby_slots",
    "syslog_.*",
    "temp_tablespaces",
    "unix_socket_.*",
    "wal_level",
];

fn parameters_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let reserved = format!("^({})$", RESERVED_PARAMETERS.join("|"));
    schemars::json_schema!({
        "type": "object",
        "description": "Settings for postgresql.conf, by name. What DAAP and CloudNativePG control themselves cannot be set here.",
        "additionalProperties": {"type": "string", "maxLength": 1000},
        "maxProperties": 100,
        "x-kubernetes-validations": [
            {"rule": "self.all(name, name.matches('^[a-z_][a-z0-9_]*([.][a-z_][a-z0-9_]*)?$') && name.size() <= 63)", "message": "a setting's name has lower-case letters, digits and '_', and at most one '.'"},
            {"rule": format!("!self.exists(name, name.matches('{reserved}'))"), "message": "a setting that DAAP or CloudNativePG controls cannot be set by a tier"},
        ],
    })
}

fn extensions_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "description": "The extensions that the image offers, for the planning of upgrades.",
        "items": {"type": "string", "maxLength": 63, "pattern": "^[a-z][a-z0-9_-]*$"},
        "maxItems": 200,
        "x-kubernetes-list-type": "set",
    })
}
