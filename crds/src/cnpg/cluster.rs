//! CloudNativePG's `Cluster`: PostgreSQL instances and their volumes. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ResourceRequirements, apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What DAAP sets.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "postgresql.cnpg.io",
    version = "v1",
    kind = "Cluster",
    plural = "clusters",
    namespaced,
    status = "ClusterStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpec {
    /// How many instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<i32>,
    /// The image; not together with a catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    /// The catalogue that has the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_catalog_ref: Option<ImageCatalogRef>,
    /// PostgreSQL's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgresql: Option<PostgresConfiguration>,
    /// How the first instance comes to be; read once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// Whether the role `postgres` can log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_superuser_access: Option<bool>,
    /// Whether there are PodDisruptionBudgets.
    #[serde(rename = "enablePDB", skip_serializing_if = "Option::is_none")]
    pub enable_pdb: Option<bool>,
    /// Roles kept as written here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed: Option<Managed>,
    /// What one instance gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// The data volume of one instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// A volume of its own for the write-ahead log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_storage: Option<Storage>,
    /// Where instances run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// Labels for everything made from the Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inherited_metadata: Option<InheritedMetadata>,
    /// The service account that instances run under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_template: Option<ServiceAccountTemplate>,
    /// Plugins, such as the one that archives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugins: Option<Vec<Plugin>>,
    /// Archives of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_clusters: Option<Vec<ExternalCluster>>,
}

impl Cluster {
    /// What CloudNativePG says of it; nothing, before it was looked at.
    pub fn conditions(&self) -> &[Condition] {
        self.status
            .as_ref()
            .map_or(&[], |status| &status.conditions)
    }
}

/// A catalogue of images.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageCatalogRef {
    /// The API group.
    pub api_group: String,
    /// `ClusterImageCatalog` or `ImageCatalog`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The PostgreSQL major version.
    pub major: i32,
}

/// PostgreSQL's configuration.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PostgresConfiguration {
    /// Settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, String>>,
    /// Lines of pg_hba.conf, after CloudNativePG's own and before its last.
    #[serde(rename = "pg_hba", skip_serializing_if = "Option::is_none")]
    pub pg_hba: Option<Vec<String>>,
    /// Synchronous replication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synchronous: Option<Synchronous>,
}

/// Synchronous replication.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Synchronous {
    /// `any` or `first`.
    pub method: String,
    /// How many standbys confirm a commit.
    pub number: i32,
    /// `required` or `preferred`.
    pub data_durability: String,
}

/// How the first instance comes to be.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Bootstrap {
    /// An empty database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initdb: Option<InitDb>,
    /// A database from an archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// A database from an archive.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Recovery {
    /// The name of the external cluster.
    pub source: String,
    /// The application's database.
    pub database: String,
    /// The application's role.
    pub owner: String,
    /// The role's password from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<LocalObjectReference>,
    /// Where to stop. Absent: at the end of the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_target: Option<RecoveryTarget>,
}

/// Where to stop.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RecoveryTarget {
    /// At this instant, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_time: Option<String>,
}

/// An archive of another cluster.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalCluster {
    /// Its name.
    pub name: String,
    /// The plugin that reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Plugin>,
}

/// An empty database.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct InitDb {
    /// The application's database.
    pub database: String,
    /// The application's role.
    pub owner: String,
    /// The role's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<LocalObjectReference>,
    /// Whether pages have checksums.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_checksums: Option<bool>,
    /// Statements run once in the database `postgres`.
    #[serde(rename = "postInitSQL", skip_serializing_if = "Option::is_none")]
    pub post_init_sql: Option<Vec<String>>,
}

/// An object of the same namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct LocalObjectReference {
    /// The name.
    pub name: String,
}

/// What CloudNativePG keeps inside PostgreSQL.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Managed {
    /// Roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
}

/// A role.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Role {
    /// The name.
    pub name: String,
    /// `present` or `absent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ensure: Option<String>,
    /// Whether it can log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<bool>,
    /// The roles it is a member of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_roles: Option<Vec<String>>,
    /// How many sessions it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<i64>,
    /// Its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<LocalObjectReference>,
}

/// A volume.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// The size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The storage class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

/// Where instances run.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// Whether instances avoid each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_pod_anti_affinity: Option<bool>,
    /// `preferred` or `required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_anti_affinity_type: Option<String>,
    /// What they avoid to share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_key: Option<String>,
}

/// Certificates.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificates {
    /// Further names in the server's certificate.
    #[serde(rename = "serverAltDNSNames", skip_serializing_if = "Option::is_none")]
    pub server_alt_dns_names: Option<Vec<String>>,
}

/// Labels for everything made from the Cluster.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct InheritedMetadata {
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// The service account of a Cluster.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccountTemplate {
    /// Its metadata.
    pub metadata: ServiceAccountMetadata,
}

/// What DAAP sets of a service account's metadata.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccountMetadata {
    /// Annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A plugin.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Plugin {
    /// The name.
    pub name: String,
    /// Whether it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether it archives the write-ahead log.
    #[serde(rename = "isWALArchiver", skip_serializing_if = "Option::is_none")]
    pub is_wal_archiver: Option<bool>,
    /// Its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<PluginParameters>,
}

/// The parameters of the Barman Cloud plugin.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginParameters {
    /// The ObjectStore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barman_object_name: Option<String>,
    /// The name under which it archives there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// What DAAP reads.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterStatus {
    /// One of CloudNativePG's phases, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase_reason: Option<String>,
    /// How many instances there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<i32>,
    /// How many of them are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_instances: Option<i32>,
    /// The pod of the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_primary: Option<String>,
    /// The pod that is to be the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_primary: Option<String>,
    /// The image in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificatesStatus>,
    /// `Ready`, `ContinuousArchiving`, `LastBackupSucceeded`, …
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Certificates in use.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificatesStatus {
    /// Every further name in the server's certificate.
    #[serde(rename = "serverAltDNSNames", skip_serializing_if = "Vec::is_empty")]
    pub server_alt_dns_names: Vec<String>,
}
