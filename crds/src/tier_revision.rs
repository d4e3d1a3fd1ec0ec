//! `DaapTierRevision`: an immutable copy of a tier's spec. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{condition, tier::DaapTierSpec};

/// What a tier was at one time. Made by DAAP, shared by all databases bound to it, never changed.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "daap.dev",
    version = "v1alpha1",
    kind = "DaapTierRevision",
    plural = "daaptierrevisions",
    shortname = "dtierrev",
    category = "daap",
    status = "DaapTierRevisionStatus",
    derive = "PartialEq",
    doc = "What a tier was at one time. Made by DAAP, shared by all databases bound to it, never changed.",
    selectable = ".spec.tier",
    printcolumn = r#"{"name":"Tier","type":"string","jsonPath":".spec.tier"}"#,
    printcolumn = r#"{"name":"PostgreSQL","type":"integer","jsonPath":".spec.template.postgres.major"}"#,
    printcolumn = r#"{"name":"In use","type":"integer","jsonPath":".status.inUse"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a revision never changes: change the tier, which makes a new one"))]
pub struct DaapTierRevisionSpec {
    /// The tier.
    #[schemars(length(max = 40), regex(pattern = crate::name::PATTERN))]
    pub tier: String,
    /// The tier's spec, as it was.
    pub template: DaapTierSpec,
}

/// What is known about a revision.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DaapTierRevisionStatus {
    /// The generation this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many databases are bound to this revision.
    #[serde(default)]
    pub in_use: i32,
    /// Conditions.
    #[serde(default)]
    #[schemars(schema_with = "condition::schema")]
    pub conditions: Vec<Condition>,
}

/// The name of the revision that has this spec: `<tier>-<hash>`.
///
/// The hash is the first ten hexadecimal digits of the SHA-256 of the spec as JSON. Field order and quantity
/// notation are canonical, so the same tier always has the same revision, across versions of DAAP as long as the
/// fields in use are the same: absent optional fields are not part of the text.
///
/// # Errors
/// When the spec cannot be written as JSON, which no valid spec does.
pub fn revision_name(tier: &str, spec: &DaapTierSpec) -> Result<String, serde_json::Error> {
    let digest = Sha256::digest(serde_json::to_vec(spec)?);
    let hash: String = digest
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("{tier}-{hash}"))
}
