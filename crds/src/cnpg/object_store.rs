//! The Barman Cloud plugin's `ObjectStore`: where a Cluster archives to. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::apis::meta::v1::Time};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What DAAP sets.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "barmancloud.cnpg.io",
    version = "v1",
    kind = "ObjectStore",
    plural = "objectstores",
    namespaced,
    status = "ObjectStoreStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStoreSpec {
    /// Where and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<BarmanObjectStore>,
    /// How long backups are kept, such as `30d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<String>,
    /// The container beside each instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_sidecar_configuration: Option<SidecarConfiguration>,
}

/// Where and how.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct BarmanObjectStore {
    /// Bucket and prefix; the server name is appended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_path: Option<String>,
    /// The server.
    #[serde(rename = "endpointURL", skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// The server's private certificate authority.
    #[serde(rename = "endpointCA", skip_serializing_if = "Option::is_none")]
    pub endpoint_ca: Option<SecretKeySelector>,
    /// Credentials for S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_credentials: Option<S3Credentials>,
    /// How write-ahead log is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal: Option<WalBackup>,
    /// How base backups are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataBackup>,
}

/// Credentials for S3.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct S3Credentials {
    /// The access key's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<SecretKeySelector>,
    /// The secret access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<SecretKeySelector>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<SecretKeySelector>,
    /// Whether the service account's IAM role is used.
    #[serde(rename = "inheritFromIAMRole", skip_serializing_if = "Option::is_none")]
    pub inherit_from_iam_role: Option<bool>,
}

/// A key of a Secret of the same namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct SecretKeySelector {
    /// The name of the Secret.
    pub name: String,
    /// The key.
    pub key: String,
}

/// How write-ahead log is stored.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct WalBackup {
    /// The compression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// How many segments at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<i32>,
}

/// How base backups are stored.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DataBackup {
    /// The compression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Whether a backup asks for a checkpoint instead of waiting for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immediate_checkpoint: Option<bool>,
}

/// The container beside each instance.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarConfiguration {
    /// What it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// What DAAP reads.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStoreStatus {
    /// What can be recovered, by server name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub server_recovery_window: BTreeMap<String, RecoveryWindow>,
}

/// What can be recovered.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RecoveryWindow {
    /// The earliest instant: the end of the oldest usable base backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_recoverability_point: Option<Time>,
    /// When the last base backup succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_backup_time: Option<Time>,
    /// When the last base backup failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failed_backup_time: Option<Time>,
}
