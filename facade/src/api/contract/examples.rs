//! Examples of every body, answer and parameter, put together from [examples of single values](VALUES). Pure.
//!
//! The example of an object has all of its fields, except those that are [left out](LEFT_OUT). Tests check that every
//! example obeys its schema, and that no text lacks one.

use serde_json::{Map, Value, json};

use super::walk::{elements, entries, entries_mut, operations_mut, schema_name};

/// What texts and numbers hold. `Schema.field` comes before `field`; parameters and whole answers stand under the id of
/// their operation, as `operation.parameter` and `operation.answer`.
#[rustfmt::skip]
const VALUES: &[(&str, &str)] = &[
    // Quotas
    ("max_databases", "20"),
    ("cpu_cores", "12.5"),
    ("memory_gib", "48"),
    ("storage_gib", "500"),
    ("Quota.additional_databases", "8"),
    ("ExceededLimit.resource", "cpu_cores"),
    ("ExceededLimit.limit", "12.5"),
    ("ExceededLimit.used", "12"),
    ("ExceededLimit.requested", "1.5"),
    ("ExceededLimit.remaining", "0.5"),
    // Databases
    ("id", UUID),
    ("limit", "50"),
    ("owner_team", "shop"),
    ("purpose", "Orders of the web shop"),
    ("tier", "standard"),
    ("tier_revision", "standard-4f2a9c01d7"),
    ("Database.name", "orders"),
    ("Database.status", "ready"),
    ("NewDatabase.name", "orders"),
    ("next_cursor", "6f0b6c11"),
    ("listDatabases.status", "ready"),
    ("listDatabases.q", "ord"),
    ("Connection.database", "app"),
    ("Connection.host", "orders-rw.daap-team-shop.svc"),
    ("Connection.pooler_host", "orders-pooler.daap-team-shop.svc"),
    ("Connection.port", "5432"),
    ("namespace", "daap-team-shop"),
    ("ConnectionSecret.name", "orders-conn"),
    ("ConnectionSecretKeys.username", "username"),
    ("ConnectionSecretKeys.password", "password"),
    ("ConnectionSecretKeys.uri", "uri"),
    ("ConnectionSecretKeys.pooler_uri", "pooler-uri"),
    ("SecretKey.name", "orders-conn"),
    ("SecretKey.key", "ca.crt"),
    ("EnabledExtension.database", "app"),
    ("EnabledExtension.name", "pgcrypto"),
    ("EnabledExtension.version", "1.3"),
    ("NewRestore.name", "orders-restored-1"),
    // Destroying a database
    ("NewDestruction.reason", "The team does not exist any more."),
    ("DestructionPlan.strategy", "archive"),
    ("DestructionPlan.effect", "The database is removed. Its backups stay, and a new database can be restored from them."),
    ("DestructionPlan.removed", "the instances and their volumes"),
    ("DestructionPlan.kept", "the backups, which can be restored to a new database"),
    ("Operation.kind", "archive"),
    ("Operation.status", "succeeded"),
    ("Operation.step", "Lockout"),
    ("Operation.attempts", "1"),
    ("Operation.cancellable", "false"),
    ("OperationStep.name", "Lockout"),
    ("BaseBackup.name", "orders-backup-20260309020000"),
    ("BaseBackup.state", "completed"),
    ("size_bytes", "734003200"),
    ("Removal.kind", "Cluster"),
    ("Removal.name", "orders"),
    // What changed in a database
    ("Change.change", "status"),
    ("Change.before", "provisioning"),
    ("Change.after", "ready"),
    ("ChangeAuthor.manager", "daap-controller"),
    // Why a database is not what was asked for
    ("DatabaseProblem.reason", "Unschedulable"),
    ("DatabaseProblem.message", "No node has 4Gi of memory left."),
    ("DatabaseProblem.hint", "Add a node, or remove what is not needed any more; the database continues by itself."),
    // Tiers
    ("Tier.id", "standard"),
    ("Tier.name", "standard"),
    ("Tier.description", "For most applications. Daily backups, a connection pooler; deleting it freezes it."),
    ("Tier.postgres_version", "17"),
    ("NewTier.name", "standard"),
    ("NewTier.description", "For most applications. Daily backups, a connection pooler; deleting it freezes it."),
    ("TierChange.description", "For most applications. Daily backups, a connection pooler; deleting it freezes it."),
    ("TierDeletion.id", "standard"),
    ("TierDeletion.detail", "The tier goes as soon as its revisions have been cleared up, usually within moments."),
    ("changeTier.id", "standard"),
    ("deleteTier.id", "standard"),
    ("StatusCount.count", "2"),
    ("extensions", "pgcrypto"),
    ("getTier.id", "standard"),
    ("BackupGuarantee.frequency", "0 2 * * *"),
    ("retention", "14d"),
    ("DestructionGuarantee.effect", "The database becomes inaccessible. Its data stay, and it can be unfrozen."),
    ("TierState.current_revision", "standard-4f2a9c01d7"),
    ("TierState.in_use", "12"),
    // What is behind a tier
    ("major", "17"),
    ("image", "registry.example.com/postgresql:17.6"),
    ("parameters", r#"{"work_mem": "16MB"}"#),
    ("cpu", "500m"),
    ("memory", "2Gi"),
    ("size", "20Gi"),
    ("class", "fast"),
    ("wal_size", "5Gi"),
    ("instances", "2"),
    ("SynchronousDefinition.number", "1"),
    ("SynchronousDefinitionPatch.number", "1"),
    ("schedule", "0 2 * * *"),
    ("object_store", "main"),
    ("archive_timeout", "5min"),
    ("max_client_connections", "500"),
    ("default_pool_size", "20"),
    // API keys
    ("NewApiKey.name", "continuous integration"),
    ("ApiKey.name", "continuous integration"),
    ("CreatedApiKey.name", "continuous integration"),
    ("CreatedApiKey.key", "daap_t_shown-here-and-never-again"),
    ("Identity.name", "continuous integration"),
    ("Identity.actions", "createDatabase"),
    ("team", "shop"),
    // The audit log
    ("AuditEntry.id", "4711"),
    ("request_id", "0198f3a2-5b7c-7d10-9a44-3f0f6f0b6c11"),
    ("AuditEntry.stage", "outcome"),
    ("AuditEntry.role", "product-team"),
    ("action", "createDatabase"),
    ("AuditEntry.resource_kind", "database"),
    ("resource_id", UUID),
    ("AuditEntry.outcome", "succeeded"),
    ("AuditEntry.status", "201"),
    ("AuditEntry.source", "10.0.0.7"),
    ("AuditEntry.changed_fields", "name"),
    ("AuditEntry.calls", "1"),
    ("BrokenRow.id", "4712"),
    ("BrokenRow.sequence", "4712"),
    ("AuditVerification.verified_rows", "4711"),
    ("AuditVerification.unsealed_rows", "2"),
    ("AuditVerification.anchored_sequence", "4711"),
    // The service itself
    ("Health.status", "ok"),
    ("DependencyReadiness.name", "metadata database"),
    ("getContract.answer", r#"{"openapi": "3.0.0"}"#),
    ("getDocs.answer", "<!doctype html><html lang=\"en\"><head><title>DAAP</title></head><body></body></html>"),
    ("getMetrics.answer", "# HELP daap_facade_http_connections Open connections.\n# TYPE daap_facade_http_connections gauge\ndaap_facade_http_connections 3\n"),
];

/// Fields and parameters that say nothing in an example, contradict others, or would change the answer.
const LEFT_OUT: &[&str] = &[
    "ApiKey.revoked_at",
    "AuditVerification.first_broken",
    "Change.detail",
    "ChangeAuthor.key_id",
    "ChangeAuthor.team",
    "Backup.last_failure_at",
    "Backup.last_failure_message",
    "Backup.message",
    "Database.archived_until",
    "Database.deleted_at",
    "Database.operation",
    "Database.problem",
    "Database.restore",
    "Database.source_database_id",
    "DestructionDefinition.archive_retention",
    "DestructionDefinitionPatch.archive_retention",
    "DestructionGuarantee.archive_retention",
    "PostgresDefinition.catalog",
    "PostgresDefinitionPatch.catalog",
    "Operation.message",
    "Operation.reason",
    "AuditEntry.receipt_sha256",
    "BaseBackup.message",
    "Quota.message",
    "RestoreWindow.message",
    "listDatabases.source_database_id",
    "Removal.count",
    "TierState.message",
    "cursor",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
];

const INSTANT: &str = "2026-03-09T10:15:00Z";
const UUID: &str = "9d8e872d-657c-4380-8b5e-3c6d73c165b8";

/// Adds an example to every body, answer and parameter.
pub fn add(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    for operation in operations_mut(document) {
        let id = operation["operationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let examples = Examples {
            schemas: &schemas,
            owner: &id,
        };
        for parameter in array_mut(operation, "/parameters") {
            let name = parameter["name"].as_str().unwrap_or_default();
            if let Some(example) = examples.field(name, &parameter["schema"]) {
                parameter["example"] = example;
            }
        }
        if let Some(contents) = operation.pointer_mut("/requestBody/content") {
            examples.give(contents);
        }
        for (_, response) in entries_mut(&mut operation["responses"]) {
            if let Some(contents) = response.pointer_mut("/content") {
                examples.give(contents);
            }
        }
    }
}

fn array_mut<'a>(value: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    let array = value.pointer_mut(pointer).and_then(Value::as_array_mut);
    array.into_iter().flatten()
}

/// Makes examples of the schemas of a document, for an operation or for the fields of a schema.
#[derive(Clone, Copy)]
struct Examples<'a> {
    schemas: &'a Value,
    owner: &'a str,
}

impl Examples<'_> {
    /// Adds an example to each media type that has none.
    fn give(self, contents: &mut Value) {
        for (_, content) in entries_mut(contents) {
            if content.get("example").is_none()
                && let Some(example) = self.field("answer", &content["schema"])
            {
                content["example"] = example;
            }
        }
    }

    /// An example of a field or parameter. Absent: it is left out.
    fn field(self, name: &str, schema: &Value) -> Option<Value> {
        let full = format!("{}.{name}", self.owner);
        if LEFT_OUT.contains(&full.as_str()) || LEFT_OUT.contains(&name) {
            return None;
        }
        value_of(&full, schema)
            .or_else(|| self.structure(name, schema))
            .or_else(|| value_of(name, schema))
    }

    /// An example that follows from the schema alone.
    fn structure(self, name: &str, schema: &Value) -> Option<Value> {
        let reference = schema_name(&schema["$ref"]);
        let wrapped = elements(&schema["allOf"]).find_map(|part| schema_name(&part["$ref"]));
        if let Some(inner) = reference.or(wrapped) {
            let examples = Examples {
                owner: inner,
                ..self
            };
            return examples.structure(name, &self.schemas[inner]);
        }
        if let Some(first) = elements(&schema["enum"]).next() {
            return Some(first.clone());
        }
        match (schema["type"].as_str()?, schema["format"].as_str()) {
            ("object", _) => Some(self.object(schema)),
            ("array", _) => {
                let element = self.field(name, &schema["items"])?;
                Some(json!([element]))
            }
            ("boolean", _) => Some(json!(true)),
            ("string", Some("date-time")) => Some(json!(INSTANT)),
            ("string", Some("uuid")) => Some(json!(UUID)),
            _ => None,
        }
    }

    fn object(self, schema: &Value) -> Value {
        let fields = entries(&schema["properties"]).filter_map(|(name, field)| {
            self.field(name, field)
                .map(|example| (name.clone(), example))
        });
        Value::Object(fields.collect::<Map<_, _>>())
    }
}

fn value_of(name: &str, schema: &Value) -> Option<Value> {
    let (_, text) = VALUES.iter().find(|(known, _)| *known == name)?;
    let is_json = ["array", "boolean", "integer", "number", "object"];
    if schema["type"]
        .as_str()
        .is_some_and(|kind| is_json.contains(&kind))
    {
        return serde_json::from_str(text).ok();
    }
    Some(json!(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::contract::{Contract, walk::operations};

    /// Every field and parameter that is neither left out nor has an example.
    fn lacking(document: &Value) -> Vec<String> {
        let schemas = &document["components"]["schemas"];
        let lacks = |owner: &str, name: &str, schema: &Value| {
            let full = format!("{owner}.{name}");
            let examples = Examples { schemas, owner };
            let left_out = LEFT_OUT.contains(&full.as_str()) || LEFT_OUT.contains(&name);
            let lacks = !left_out && examples.field(name, schema).is_none();
            lacks.then_some(full)
        };
        // Those of problems are made from failures, see there.
        let of_problems = ["Problem", "FieldProblem"];
        let schemas_of_values =
            entries(schemas).filter(|(owner, _)| !of_problems.contains(&owner.as_str()));
        let fields = schemas_of_values.flat_map(|(owner, schema)| {
            entries(&schema["properties"])
                .filter_map(move |(name, field)| lacks(owner, name, field))
        });
        let parameters = operations(document).flat_map(|(_, _, operation)| {
            let owner = operation["operationId"].as_str().unwrap();
            elements(&operation["parameters"]).filter_map(move |parameter| {
                lacks(
                    owner,
                    parameter["name"].as_str().unwrap(),
                    &parameter["schema"],
                )
            })
        });
        fields.chain(parameters).collect()
    }

    #[test]
    fn nothing_lacks_an_example() {
        let lacking = lacking(Contract::generate().unwrap().document());
        assert!(
            lacking.is_empty(),
            "add to VALUES or LEFT_OUT in {}: {lacking:#?}",
            file!()
        );
    }

    /// A value for something that is not there any more would mislead.
    #[test]
    fn every_value_is_used() {
        let document = Contract::generate().unwrap().document().clone();
        let named = |owner: &str, name: &str| {
            let field = !document["components"]["schemas"][owner]["properties"][name].is_null();
            let operation = operations(&document)
                .find(|(_, _, operation)| operation["operationId"] == owner)
                .map(|(_, _, operation)| operation);
            let parameter = operation.is_some_and(|operation| {
                name == "answer"
                    || elements(&operation["parameters"]).any(|parameter| parameter["name"] == name)
            });
            field || parameter
        };
        let anywhere = |name: &str| {
            let fields = entries(&document["components"]["schemas"])
                .any(|(_, schema)| !schema["properties"][name].is_null());
            let parameters = operations(&document).any(|(_, _, operation)| {
                elements(&operation["parameters"]).any(|parameter| parameter["name"] == name)
            });
            fields || parameters
        };
        for name in VALUES.iter().map(|(name, _)| name).chain(LEFT_OUT) {
            let used = match name.split_once('.') {
                Some((owner, name)) => named(owner, name),
                None => anywhere(name),
            };
            assert!(used, "{name}");
        }
    }
}
