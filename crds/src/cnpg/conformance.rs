//! Whether an object fits the schema of a CRD: a guard against drift between what DAAP emits and what the
//! installed CloudNativePG knows. Pure.

use std::fmt;

use serde_json::Value;

/// A place where an object does not fit a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where, such as `.spec.storage.size`.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The schema has no such field: the API server would drop it.
    UnknownField,
    /// The schema wants another type.
    Type {
        /// The type in the schema.
        expected: String,
    },
    /// The schema lists the allowed values, and this is none of them.
    Value,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::UnknownField => write!(formatter, "{}: not in the schema", self.path),
            Problem::Type { expected } => {
                write!(formatter, "{}: the schema wants {expected}", self.path)
            }
            Problem::Value => write!(formatter, "{}: not an allowed value", self.path),
        }
    }
}

/// Every place where `object` does not fit `schema`, the `openAPIV3Schema` of a CRD's version.
///
/// `apiVersion`, `kind` and `metadata` are the API server's own and are not looked at.
pub fn mismatches(schema: &Value, object: &Value) -> Vec<Mismatch> {
    let mut found = Vec::new();
    for (field, value) in object.as_object().into_iter().flatten() {
        if !matches!(field.as_str(), "apiVersion" | "kind" | "metadata") {
            check_field(schema, field, value, "", &mut found);
        }
    }
    found
}

fn check_field(parent: &Value, field: &str, value: &Value, path: &str, found: &mut Vec<Mismatch>) {
    let path = format!("{path}.{field}");
    match parent["properties"]
        .get(field)
        .or_else(|| parent.get("additionalProperties"))
    {
        Some(schema) => check(schema, value, &path, found),
        None if parent["x-kubernetes-preserve-unknown-fields"] == true => {}
        None => found.push(Mismatch {
            path,
            problem: Problem::UnknownField,
        }),
    }
}

fn check(schema: &Value, value: &Value, path: &str, found: &mut Vec<Mismatch>) {
    if !type_fits(schema, value) {
        let expected = schema["type"].as_str().unwrap_or("another type").to_owned();
        found.push(Mismatch {
            path: path.to_owned(),
            problem: Problem::Type { expected },
        });
        return;
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|allowed| !allowed.contains(value))
    {
        found.push(Mismatch {
            path: path.to_owned(),
            problem: Problem::Value,
        });
    }
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                check_field(schema, field, value, path, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

fn type_fits(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_string() || value.is_i64();
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_unknown_fields_types_and_values() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"x-kubernetes-int-or-string": true},
            "mode": {"type": "string", "enum": ["session", "transaction"]},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "items": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        }}}});
        let fits = json!({"metadata": {"name": "x"}, "spec": {
            "size": "1Gi", "mode": "session", "labels": {"a": "b"}, "items": [{"name": "n"}],
        }});
        assert_eq!(mismatches(&schema, &fits), []);

        let broken = json!({"spec": {
            "sizes": 1, "mode": "statement", "labels": {"a": 1}, "items": [{"name": "n", "nmae": "n"}],
        }});
        let found: Vec<_> = mismatches(&schema, &broken)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                ".spec.items[0].nmae: not in the schema",
                ".spec.labels.a: the schema wants string",
                ".spec.mode: not an allowed value",
                ".spec.sizes: not in the schema",
            ]
        );
    }
}
