//! `DaapObjectStore`: an S3 location for backups. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition;

/// An S3 location that tiers send their backups to.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "daap.dev",
    version = "v1alpha1",
    kind = "DaapObjectStore",
    plural = "daapobjectstores",
    shortname = "dstore",
    category = "daap",
    status = "DaapObjectStoreStatus",
    derive = "PartialEq",
    doc = "An S3 location that tiers send their backups to.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("an object store's name must be a DNS label of at most 40 characters that starts with a letter"),
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".spec.url"}"#,
    printcolumn = r#"{"name":"Endpoint","type":"string","jsonPath":".spec.endpoint"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type=='Accepted')].status"}"#,
    printcolumn = r#"{"name":"Reachable","type":"string","jsonPath":".status.conditions[?(@.type=='Reachable')].status"}"#,
    printcolumn = r#"{"name":"In use","type":"integer","jsonPath":".status.inUse"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.url == oldSelf.url").message("the url is where existing backups are: make another object store instead").field_path(".url"))]
pub struct DaapObjectStoreSpec {
    /// Bucket and optional prefix, such as 's3://backups/databases'.
    #[schemars(
        length(max = 500),
        regex(pattern = "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()-]+)*$")
    )]
    pub url: String,
    /// The server, such as 'https://s3.example.com'. Absent: AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 500),
        regex(pattern = "^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")
    )]
    pub endpoint: Option<String>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9-]+$"))]
    pub region: Option<String>,
    /// How instances prove who they are.
    pub credentials: Credentials,
    /// A private certificate authority of the endpoint, in a Secret of DAAP's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
}

/// How instances prove who they are: by a Secret, or by the IAM role of their service account.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secret) != (has(self.inheritFromIAMRole) && self.inheritFromIAMRole)").message("exactly one of secret and inheritFromIAMRole is required"))]
#[x_kube(validation = Rule::new("!has(self.serviceAccountAnnotations) || !has(self.secret)").message("annotations of service accounts are for inheritFromIAMRole").field_path(".serviceAccountAnnotations"))]
#[x_kube(validation = Rule::new("!has(self.serviceAccountAnnotations) || self.serviceAccountAnnotations.all(key, size(key) <= 253 && key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))").message("names of annotations look like eks.amazonaws.com/role-arn").field_path(".serviceAccountAnnotations"))]
pub struct Credentials {
    /// A Secret of DAAP's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<CredentialsSecret>,
    /// Whether the service account's IAM role is used.
    #[serde(
        default,
        rename = "inheritFromIAMRole",
        skip_serializing_if = "Option::is_none"
    )]
    pub inherit_from_iam_role: Option<bool>,
    /// Annotations of the service account of every instance, where a role is found by them, such as
    /// `eks.amazonaws.com/role-arn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub service_account_annotations: Option<BTreeMap<String, String>>,
}

/// A Secret with an access key.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSecret {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key that holds the access key's id.
    #[serde(default = "access_key_id")]
    #[schemars(length(min = 1, max = 253))]
    pub access_key_id_key: String,
    /// The key that holds the secret access key.
    #[serde(default = "secret_access_key")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_access_key_key: String,
}

/// A key of a Secret of DAAP's namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What is known about an object store.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DaapObjectStoreStatus {
    /// The generation this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many tiers name this object store.
    #[serde(default)]
    pub in_use: i32,
    /// `Accepted`: the Secrets it names exist. `Reachable`: it answers and can be written to.
    #[serde(default)]
    #[schemars(schema_with = "condition::schema")]
    pub conditions: Vec<Condition>,
}

fn access_key_id() -> String {
    "accessKeyId".to_owned()
}

fn secret_access_key() -> String {
    "secretAccessKey".to_owned()
}
