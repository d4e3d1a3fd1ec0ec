//! CloudNativePG's `ScheduledBackup`. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::LocalObjectReference;

/// What DAAP sets.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "postgresql.cnpg.io",
    version = "v1",
    kind = "ScheduledBackup",
    plural = "scheduledbackups",
    namespaced,
    status = "ScheduledBackupStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduledBackupSpec {
    /// The Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<LocalObjectReference>,
    /// Cron with six fields, seconds first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Whether the first backup is taken at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immediate: Option<bool>,
    /// Whether it rests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// `plugin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin_configuration: Option<PluginConfiguration>,
    /// `none`, `self` or `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_owner_reference: Option<String>,
}

/// A plugin that takes backups.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginConfiguration {
    /// The name.
    pub name: String,
}

/// What DAAP reads.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduledBackupStatus {
    /// The next run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,
    /// Why the definition is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
