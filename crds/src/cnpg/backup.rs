//! CloudNativePG's `Backup`: one base backup. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{LocalObjectReference, PluginConfiguration};
use crate::database::BackupState;

/// What DAAP sets.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "postgresql.cnpg.io",
    version = "v1",
    kind = "Backup",
    plural = "backups",
    namespaced,
    status = "BackupStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupSpec {
    /// The Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<LocalObjectReference>,
    /// `plugin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin_configuration: Option<PluginConfiguration>,
}

impl Backup {
    /// How it is. What CloudNativePG goes on trying is not failed; a definition that it refuses is, because a Backup's
    /// spec never changes.
    pub fn state(&self) -> BackupState {
        let status = self.status.as_ref();
        match status.and_then(|status| status.phase.as_deref()) {
            Some("completed") => BackupState::Completed,
            Some("failed" | "invalid backup definition") => BackupState::Failed,
            _ => BackupState::Running,
        }
    }
}

/// What DAAP reads.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// `completed`, `failed`, or on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Barman's name of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Time>,
    /// The first segment of write-ahead log it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin_wal: Option<String>,
    /// The last segment of write-ahead log it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_wal: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
