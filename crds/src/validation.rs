//! The CRDs' own rules, run without an API server. Pure.
//!
//! The rules are stated once, on the resource types. [`Rules`] evaluates what the API server would evaluate: the
//! structural schema first and, when that holds, the CEL rules, on create and on update. A test runs the same
//! table of objects through both and compares the verdicts.

use std::fmt;

use kube::{
    CustomResourceExt,
    core::cel::{CompiledSchema, Validator, compile_schema},
};
use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::manifest;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, as a JSON pointer (RFC 6901) into the object, such as `/spec/storage/size`.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.pointer, self.message)
    }
}

/// A kind whose schema cannot be compiled. No kind of this crate is one: a test compiles them all.
#[derive(Debug, Error)]
#[error("the schema of {kind} cannot be compiled: {cause}")]
pub struct SchemaError {
    kind: String,
    cause: String,
}

/// The structural schema of any CRD, compiled once: fields, types, bounds, and no field that it does not have.
pub struct Structure(jsonschema::Validator);

impl Structure {
    /// Compiles the `openAPIV3Schema` of a kind's version.
    ///
    /// # Errors
    /// [`SchemaError`] when it is no schema.
    pub fn new(kind: &str, schema: Value) -> Result<Self, SchemaError> {
        jsonschema::options()
            .should_validate_formats(true)
            .build(&strict(schema))
            .map(Self)
            .map_err(|cause| SchemaError {
                kind: kind.to_owned(),
                cause: cause.to_string(),
            })
    }

    /// Every place where `object` does not fit.
    pub fn violations(&self, object: &Value) -> Vec<Violation> {
        let errors = self.0.iter_errors(object);
        errors.map(|error| structural_violation(&error)).collect()
    }
}

/// The rules of one kind, compiled once.
pub struct Rules {
    structure: Structure,
    expressions: CompiledSchema,
}

impl Rules {
    /// Compiles the rules of a kind.
    ///
    /// # Errors
    /// [`SchemaError`] when the CRD's schema is no schema.
    pub fn of<K: CustomResourceExt>() -> Result<Self, SchemaError> {
        let kind = K::crd().spec.names.kind;
        let schema = manifest::schema::<K>();
        let expressions = compile_schema(&schema);
        if let Some(cause) = expressions.compilation_errors().first() {
            let cause = cause.to_string();
            return Err(SchemaError { kind, cause });
        }
        let structure = Structure::new(&kind, schema)?;
        Ok(Self {
            structure,
            expressions,
        })
    }

    /// Every rule that `object` breaks; with `old`, every rule that the change from `old` to `object` breaks.
    pub fn violations(&self, object: &Value, old: Option<&Value>) -> Vec<Violation> {
        let structural = self.structure.violations(object);
        if !structural.is_empty() {
            return structural;
        }
        let verdict = Validator::new().validate_compiled(&self.expressions, object, old);
        let broken = verdict
            .err()
            .map(|errors| errors.into_vec())
            .unwrap_or_default();
        broken
            .into_iter()
            .map(|error| Violation {
                pointer: pointer(&error.field_path),
                message: error.message,
            })
            .collect()
    }

    /// The same for typed objects.
    ///
    /// # Errors
    /// When an object cannot be written as JSON.
    pub fn violations_of<K: Serialize>(
        &self,
        object: &K,
        old: Option<&K>,
    ) -> Result<Vec<Violation>, serde_json::Error> {
        let object = serde_json::to_value(object)?;
        let old = old.map(serde_json::to_value).transpose()?;
        Ok(self.violations(&object, old.as_ref()))
    }
}

fn structural_violation(error: &jsonschema::ValidationError<'_>) -> Violation {
    Violation {
        pointer: error.instance_path().to_string(),
        message: error.to_string(),
    }
}

/// `spec.storage.size` or `.spec.items[0]` as a JSON pointer.
///
/// A rule at the root without a path is about the name: Kubernetes allows no path into `metadata`.
fn pointer(field_path: &str) -> String {
    if field_path.is_empty() {
        return "/metadata/name".to_owned();
    }
    field_path
        .split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .map(|part| {
            format!(
                "/{}",
                part.trim_matches('"').replace('~', "~0").replace('/', "~1")
            )
        })
        .collect()
}

/// The schema as JSON Schema that refuses what the API server refuses under strict field validation: `nullable` said
/// as a type, and unknown fields named.
fn strict(mut schema: Value) -> Value {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for name in ["apiVersion", "kind"] {
            properties.insert(name.to_owned(), json!({"type": "string"}));
        }
        properties.insert(
            "metadata".to_owned(),
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        );
    }
    strict_in_place(&mut schema);
    schema
}

fn strict_in_place(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let open = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            if fields.get("type") == Some(&json!("object")) && !open {
                let closed = fields.entry("additionalProperties");
                closed.or_insert(json!(false));
            }
            if fields.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
                fields.insert("type".to_owned(), json!(["integer", "string"]));
            }
            if fields.remove("nullable") == Some(json!(true)) {
                if let Some(type_) = fields.remove("type") {
                    fields.insert("type".to_owned(), json!([type_, "null"]));
                }
                if let Some(values) = fields.get_mut("enum").and_then(Value::as_array_mut) {
                    values.push(Value::Null);
                }
            }
            fields.values_mut().for_each(strict_in_place);
        }
        Value::Array(items) => items.iter_mut().for_each(strict_in_place),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DaapDatabase, DaapObjectStore, DaapQuota, DaapTier, DaapTierRevision};

    #[test]
    fn every_kind_compiles() {
        Rules::of::<DaapDatabase>().unwrap();
        Rules::of::<DaapObjectStore>().unwrap();
        Rules::of::<DaapQuota>().unwrap();
        Rules::of::<DaapTier>().unwrap();
        Rules::of::<DaapTierRevision>().unwrap();
    }

    /// What the API server says in words of its own is understood here too.
    #[test]
    fn a_structure_knows_fields_types_and_values() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"x-kubernetes-int-or-string": true},
            "mode": {"type": "string", "enum": ["session", "transaction"]},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "items": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "nothing": {"type": "object"},
        }}}});
        let structure = Structure::new("Example", schema).unwrap();
        let pointers = |spec: Value| {
            let broken = structure.violations(&json!({"metadata": {"name": "x"}, "spec": spec}));
            let mut pointers: Vec<_> = broken.into_iter().map(|broken| broken.pointer).collect();
            pointers.sort();
            pointers
        };
        let fits = json!({
            "size": "1Gi", "mode": "session", "labels": {"a": "b"}, "items": [{"name": "n"}],
            "template": {"anything": 1}, "nothing": {},
        });
        assert!(pointers(fits).is_empty());
        let broken = json!({
            "size": true, "sizes": 1, "mode": "statement", "labels": {"a": 1},
            "items": [{"name": "n", "nmae": "n"}], "nothing": {"something": 1},
        });
        assert_eq!(
            pointers(broken),
            [
                "/spec",
                "/spec/items/0",
                "/spec/labels/a",
                "/spec/mode",
                "/spec/nothing",
                "/spec/size"
            ]
        );
    }

    #[test]
    fn names_the_field() {
        let rules = Rules::of::<DaapDatabase>().unwrap();
        let object = |name: &str, spec: Value| json!({"apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase", "metadata": {"name": name}, "spec": spec});
        let pointers = |object: &Value| -> Vec<_> {
            rules
                .violations(object, None)
                .into_iter()
                .map(|violation| violation.pointer)
                .collect()
        };
        assert!(
            pointers(&object(
                "orders",
                json!({"tier": "dev", "ownerTeam": "shop"})
            ))
            .is_empty()
        );
        assert_eq!(
            pointers(&object(
                "orders",
                json!({"tier": "Dev", "ownerTeam": "shop"})
            )),
            ["/spec/tier"]
        );
        assert_eq!(
            pointers(&object(
                "Orders",
                json!({"tier": "dev", "ownerTeam": "shop"})
            )),
            ["/metadata/name"]
        );
    }
}
