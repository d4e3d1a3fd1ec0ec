//! CloudNativePG's `Pooler`: PgBouncer in front of a Cluster. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::LocalObjectReference;

/// What DAAP sets.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "postgresql.cnpg.io",
    version = "v1",
    kind = "Pooler",
    plural = "poolers",
    namespaced,
    status = "PoolerStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolerSpec {
    /// The Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<LocalObjectReference>,
    /// `rw`, `ro` or `r`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// How many instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<i32>,
    /// What its pods look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<PodTemplateSpec>,
    /// PgBouncer's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgbouncer: Option<PgBouncer>,
}

/// PgBouncer's configuration.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PgBouncer {
    /// `session` or `transaction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_mode: Option<String>,
    /// Settings, as CloudNativePG allows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, String>>,
}

/// What DAAP reads.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolerStatus {
    /// How many pods there are, ready or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<i32>,
    /// `active`, `paused`, `inactive` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase_reason: Option<String>,
    /// Why the definition is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
