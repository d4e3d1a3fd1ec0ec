//! `DaapQuota`: what all databases of one tier may cost together. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition,
    cost::Cost,
    quantity::{Bytes, Cpu},
};

/// What all databases of the tier of the same name may cost together. Absent limits are unlimited.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "daap.dev",
    version = "v1alpha1",
    kind = "DaapQuota",
    plural = "daapquotas",
    shortname = "dquota",
    category = "daap",
    status = "DaapQuotaStatus",
    derive = "PartialEq",
    doc = "What all databases of the tier of the same name may cost together. Absent limits are unlimited.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("a quota is named like its tier: a DNS label of at most 40 characters that starts with a letter"),
    printcolumn = r#"{"name":"Databases","type":"integer","jsonPath":".spec.databases"}"#,
    printcolumn = r#"{"name":"Used","type":"integer","jsonPath":".status.allocated.databases"}"#,
    printcolumn = r#"{"name":"CPU","type":"string","jsonPath":".spec.cpu"}"#,
    printcolumn = r#"{"name":"Used CPU","type":"string","jsonPath":".status.allocated.cpu"}"#,
    printcolumn = r#"{"name":"Memory","type":"string","jsonPath":".spec.memory"}"#,
    printcolumn = r#"{"name":"Used memory","type":"string","jsonPath":".status.allocated.memory"}"#,
    printcolumn = r#"{"name":"Storage","type":"string","jsonPath":".spec.storage"}"#,
    printcolumn = r#"{"name":"Used storage","type":"string","jsonPath":".status.allocated.storage"}"#,
    printcolumn = r#"{"name":"Within limits","type":"string","jsonPath":".status.conditions[?(@.type=='WithinLimits')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct DaapQuotaSpec {
    /// How many databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub databases: Option<i64>,
    /// CPU of all instances and poolers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory of all instances and poolers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Storage of all volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Bytes>,
}

/// An admitted database that a recount may not see yet.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The uid of the DaapDatabase.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The revision it was admitted on.
    pub revision: String,
    /// What it costs.
    pub cost: Cost,
}

/// What is allocated.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DaapQuotaStatus {
    /// The generation this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The cost of all admitted databases.
    #[serde(default)]
    pub allocated: Cost,
    /// Admitted databases that a recount may not see yet.
    #[serde(default)]
    #[schemars(schema_with = "reservations_schema")]
    pub reservations: Vec<Reservation>,
    /// The leadership under which this was written: an older one may not write.
    #[serde(default)]
    pub lease_epoch: i64,
    /// `WithinLimits`: what is allocated exceeds no limit.
    #[serde(default)]
    #[schemars(schema_with = "condition::schema")]
    pub conditions: Vec<Condition>,
}

fn reservations_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let item = generator.subschema_for::<Reservation>();
    schemars::json_schema!({
        "type": "array",
        "description": "Admitted databases that a recount may not see yet.",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["uid"],
    })
}
