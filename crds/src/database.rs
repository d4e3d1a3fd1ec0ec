//! `DaapDatabase`: a PostgreSQL database that a team asked for. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition, cost::Cost, phase::Phase, quota::DaapQuotaSpec, reason::Reason, tier::Strategy,
};

/// A PostgreSQL database that a team asked for.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "daap.dev",
    version = "v1alpha1",
    kind = "DaapDatabase",
    plural = "daapdatabases",
    shortname = "ddb",
    category = "daap",
    namespaced,
    status = "DaapDatabaseStatus",
    derive = "PartialEq",
    doc = "A PostgreSQL database that a team asked for.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("a database's name must be a DNS label of at most 40 characters that starts with a letter"),
    validation = Rule::new("!self.metadata.name.endsWith('-pooler')").message("a database's name must not end with '-pooler', which names connection poolers"),
    validation = Rule::new("self.spec.state == oldSelf.spec.state || self.spec.state == 'Destroyed' || (has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase == 'frozen') || (has(oldSelf.status) && has(oldSelf.status.operation) && has(oldSelf.status.operation.cancellable) && oldSelf.status.operation.cancellable && !has(oldSelf.status.operation.result))").message("a destroyed database becomes active again only from frozen, or while its archive can still be cancelled").field_path(".spec.state"),
    selectable = ".spec.tier",
    selectable = ".spec.ownerTeam",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Tier","type":"string","jsonPath":".spec.tier"}"#,
    printcolumn = r#"{"name":"Owner","type":"string","jsonPath":".spec.ownerTeam"}"#,
    printcolumn = r#"{"name":"Problem","type":"string","jsonPath":".status.problem.reason"}"#,
    printcolumn = r#"{"name":"Host","type":"string","jsonPath":".status.endpoint.host","priority":1}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".spec.tierRevision","priority":1}"#,
    printcolumn = r#"{"name":"Purpose","type":"string","jsonPath":".spec.purpose","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.tier == oldSelf.tier || (has(self.tierRevision) && (!has(oldSelf.tierRevision) || self.tierRevision != oldSelf.tierRevision))").message("a database keeps its tier: moving it to another is a migration").field_path(".tier"))]
#[x_kube(validation = Rule::new("has(self.restore) == has(oldSelf.restore) && (!has(self.restore) || self.restore == oldSelf.restore)").message("what a database was restored from never changes").field_path(".restore"))]
#[x_kube(validation = Rule::new("!has(oldSelf.tierRevision) || has(self.tierRevision)").message("a bound database stays bound").field_path(".tierRevision"))]
#[x_kube(validation = Rule::new("self.state == 'Active' || !self.deletionProtection || has(self.destruction)").message("deletion protection is on: turn it off first").field_path(".state"))]
#[x_kube(validation = Rule::new("!has(self.destruction) || self.state == 'Destroyed'").message("a forced destruction needs the state Destroyed").field_path(".destruction"))]
pub struct DaapDatabaseSpec {
    /// The name of the tier.
    #[schemars(length(max = 40), regex(pattern = crate::name::PATTERN))]
    pub tier: String,
    /// The team that owns the database.
    #[schemars(length(max = 40), regex(pattern = crate::name::PATTERN))]
    pub owner_team: String,
    /// What it is for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub purpose: Option<String>,
    /// Whether the database is wanted. Destroyed runs the tier's destruction strategy.
    #[serde(default)]
    pub state: State,
    /// Whether destroying is refused.
    #[serde(default)]
    pub deletion_protection: bool,
    /// What to restore. Absent: an empty database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
    /// A destruction that a platform team forces in place of the tier's strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destruction: Option<ForcedDestruction>,
    /// An id. A new one asks for one backup now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub backup_request: Option<String>,
    /// What happens when the quota has no room.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("admission never changes"))]
    pub admission: Admission,
    /// The DaapTierRevision the database is bound to. Set by DAAP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = crate::name::PATTERN))]
    pub tier_revision: Option<String>,
}

impl DaapDatabase {
    /// The request for a base backup that was not carried out yet.
    pub fn pending_backup_request(&self) -> Option<&str> {
        let backup = self
            .status
            .as_ref()
            .and_then(|status| status.backup.as_ref());
        let carried_out = backup.and_then(|backup| backup.carried_out_request.as_deref());
        let request = self.spec.backup_request.as_deref()?;
        (Some(request) != carried_out).then_some(request)
    }

    /// Whether its restore failed for good, and nothing of it is left.
    pub fn is_abandoned(&self) -> bool {
        let status = self.status.as_ref();
        status.is_some_and(|status| status.abandoned_at.is_some())
    }
}

/// Whether a database is wanted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// Wanted.
    #[default]
    Active,
    /// To be destroyed by the strategy of its revision.
    Destroyed,
}

/// What happens when the quota has no room.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Admission {
    /// Refused, and removed.
    FailFast,
    /// It waits for room.
    #[default]
    Wait,
}

/// What to restore.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    /// The database to restore from.
    pub source: DatabaseReference,
    /// The instant to restore, with an offset. Absent: the latest possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_time: Option<MicroTime>,
}

/// A database.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseReference {
    /// The namespace. Absent: this database's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The name.
    #[schemars(length(max = 40), regex(pattern = crate::name::PATTERN))]
    pub name: String,
    /// The uid, so that a namesake is never taken for it.
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
}

/// A destruction that a platform team forces.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ForcedDestruction {
    /// The strategy.
    pub strategy: Strategy,
    /// Why.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
}

/// What is known about a database.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DaapDatabaseStatus {
    /// The generation this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the database is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// `Ready`, `Admitted`, `Archiving`, `Degraded`.
    #[serde(default)]
    #[schemars(schema_with = "condition::schema")]
    pub conditions: Vec<Condition>,
    /// Whether the quota admitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionStatus>,
    /// Where applications connect. Only while ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The Secret with what an application needs to connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_secret: Option<SecretReference>,
    /// The Secret whose key 'ca.crt' verifies the server's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretReference>,
    /// Every Cluster that held this database's data, oldest first. The last one is current.
    #[serde(default)]
    #[schemars(schema_with = "incarnations_schema")]
    pub incarnations: Vec<Incarnation>,
    /// Backups. Absent: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupStatus>,
    /// The extensions enabled, as last read from the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<ExtensionsStatus>,
    /// What is going on, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// When an archived database is purged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_until: Option<Time>,
    /// When its restore had failed for good and nothing that was made for it was left. It is charged to no quota since,
    /// and is there only to be destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_at: Option<Time>,
    /// Why the database is not what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Whether the quota admitted a database.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionStatus {
    /// The verdict.
    pub verdict: Verdict,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Where it is in the queue, while it waits: lower is earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<i64>,
    /// What was allocated when it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Cost>,
    /// The limits by which it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<DaapQuotaSpec>,
}

impl AdmissionStatus {
    /// A verdict without a reason.
    pub fn new(verdict: Verdict, cost: Option<Cost>) -> Self {
        Self {
            verdict,
            message: None,
            cost,
            queued: None,
            used: None,
            limits: None,
        }
    }
}

/// The quota's verdict.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Waits for room.
    Waiting,
    /// Admitted.
    Admitted,
    /// Refused.
    Refused,
}

/// Where applications connect.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The host name of the primary, inside the cluster.
    pub host: String,
    /// The port, of the primary and of the pooler.
    pub port: i32,
    /// The host name of the pooler, when the tier pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooler_host: Option<String>,
    /// The name of the PostgreSQL database.
    pub database: String,
}

/// A Secret. Never its contents.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// A Cluster that holds, or held, the data.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Incarnation {
    /// The name under which it archives: a UUID, never used twice.
    pub server_name: String,
    /// The revision it was created with.
    pub revision: String,
    /// The PostgreSQL major version.
    pub postgres_major: i32,
    /// Where its backups are, up to and without the server name. Absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_url: Option<String>,
    /// The uid of the Cluster, once it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// The last fence: what was committed until then is known to be archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The archive that its data was restored from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<RestoredFrom>,
    /// How many connections are kept free for DAAP, so that no application can keep it out. Absent: none. A Cluster keeps
    /// what it was made with, because PostgreSQL restarts to change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_connections: Option<i32>,
}

/// The archive that a Cluster's data was restored from.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestoredFrom {
    /// Where the backups are, up to and without the server name.
    pub backup_url: String,
    /// The name under which the source archived.
    pub server_name: String,
    /// The instant that was restored. Absent: everything that was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_time: Option<MicroTime>,
}

/// A commit whose write-ahead log is in the archive, so that everything committed before it can be restored.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Fence {
    /// The database's own time, read before the commit.
    pub time: MicroTime,
    /// The segment of write-ahead log that has the commit, by its file name.
    #[schemars(regex(pattern = "^[0-9A-F]{24}$"))]
    pub segment: String,
}

/// Backups of a database.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Whether the tier has a backup.
    pub configured: bool,
    /// Whether write-ahead log reaches the object store and the last backup succeeded. Absent: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// Why it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the last base backup succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Time>,
    /// When the last base backup failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_at: Option<Time>,
    /// Why the last base backup failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_message: Option<String>,
    /// When the next base backup is due. Absent: none is, as while the database is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Time>,
    /// The earliest instant that can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restorable_from: Option<Time>,
    /// The latest instant known to be restorable: the time of the last fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restorable_until: Option<MicroTime>,
    /// The `spec.backupRequest` that was carried out last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried_out_request: Option<String>,
    /// The newest base backups, newest first.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub recent: Vec<BackupRecord>,
}

/// One base backup.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupRecord {
    /// Its name, unique among those of the database.
    pub name: String,
    /// How it is.
    pub state: BackupState,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Time>,
    /// The bytes it takes in the object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a base backup is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupState {
    /// Asked for, or under way.
    Running,
    /// Whole, in the object store.
    Completed,
    /// Not to be had.
    Failed,
}

/// The extensions of a database.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionsStatus {
    /// When they last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Time>,
    /// Why they could not be read last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The extensions.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub items: Vec<Extension>,
}

/// An extension.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// The PostgreSQL database.
    pub database: String,
    /// The extension.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// How many things a receipt names: more than the base backups of an hourly schedule in two months.
pub const LONGEST_RECEIPT: usize = 2000;

/// What is going on with a database, or was last.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Its id: what the annotation `daap.dev/operation` said when it began, or one made from what asked for it.
    pub id: String,
    /// What the annotation `daap.dev/operation` said when it began, so that an id is given once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<String>,
    /// What it is.
    pub kind: OperationKind,
    /// Where it is.
    pub step: String,
    /// Since when it is at this step.
    pub since: Time,
    /// How often this step was tried.
    #[serde(default)]
    pub attempts: i32,
    /// Whether it can still be called off.
    #[serde(default)]
    pub cancellable: bool,
    /// What it waits for, or why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why a platform team forced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How it ended. Absent: it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<OperationResult>,
    /// The steps it has behind it, and when each began, in order.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub steps: Vec<OperationStep>,
    /// Its own fence, once there is one; it may not be archived yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The name of its base backup, once it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// What it removed.
    #[serde(default)]
    #[schemars(length(max = LONGEST_RECEIPT))]
    pub receipt: Vec<Removal>,
}

/// A step that an operation took.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OperationStep {
    /// Its name.
    pub name: String,
    /// When it began.
    pub started_at: Time,
}

/// How an operation ended.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationResult {
    /// It did what it was to do.
    Succeeded,
    /// It did not, and will not by itself.
    Failed,
    /// It was called off.
    Cancelled,
}

/// Something that an operation removed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// The kind of the object, such as `Cluster`; `Prefix` for a prefix of an object store.
    pub kind: String,
    /// The name of the object, or the URL of the prefix.
    pub name: String,
    /// How many objects, versions and unfinished uploads there were below a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
}

/// What an operation is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Making it inaccessible.
    Freeze,
    /// Making it accessible again.
    Unfreeze,
    /// Removing it from the cluster, with its backups kept.
    Archive,
    /// Removing it with its backups.
    Hard,
    /// Removing the backups of an archived database whose retention is over.
    Purge,
    /// Restoring it.
    Restore,
    /// Moving it to another revision.
    Migrate,
    /// Handing it to another team.
    Transfer,
}

/// Why a database is not what was asked for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A stable code.
    pub reason: Reason,
    /// The cause, as far as it is known.
    pub message: String,
    /// What can be done.
    pub hint: String,
}

fn incarnations_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let item = generator.subschema_for::<Incarnation>();
    schemars::json_schema!({
        "type": "array",
        "description": "Every Cluster that held this database's data, oldest first. The last one is current.",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["serverName"],
    })
}
