//! The bounds of values that are the same everywhere, so that every schema is bounded without saying so each time. Pure.
//!
//! What bounds a request is enforced from the same document, and so are these.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::walk::{each_object, entries, entries_mut, operations, operations_mut, schema_name};
use crate::api::pattern;

/// How long a string in a list, a map or a header is at most. A field of its own says itself how long it is.
const MAX_ELEMENT_LENGTH: u32 = 1000;
/// How long an answer in plain text is at most.
const MAX_ANSWER_LENGTH: u32 = 10_000_000;

/// States the bounds that follow from a type, and closes what clients send against unknown fields.
pub fn state(document: &mut Value) {
    close_requests(document);
    for operation in operations_mut(document) {
        for (_, response) in entries_mut(&mut operation["responses"]) {
            for (member, length) in [
                ("headers", MAX_ELEMENT_LENGTH),
                ("content", MAX_ANSWER_LENGTH),
            ] {
                for (_, part) in response.get_mut(member).into_iter().flat_map(entries_mut) {
                    bound_length(part.get_mut("schema"), length);
                }
            }
        }
    }
    each_object(document, &mut |object| {
        for element in ["items", "additionalProperties"] {
            bound_length(object.get_mut(element), MAX_ELEMENT_LENGTH);
        }
        match object.get("type").and_then(Value::as_str) {
            Some("string") => bound_string(object),
            Some("integer") => bound_integer(object),
            _ => {}
        }
    });
}

fn bound_length(schema: Option<&mut Value>, length: u32) {
    if let Some(Value::Object(schema)) = schema
        && schema.get("type").is_some_and(|kind| kind == "string")
        && !schema.contains_key("enum")
    {
        schema.entry("maxLength").or_insert(json!(length));
    }
}

fn bound_string(schema: &mut Map<String, Value>) {
    if schema.get("format").is_some_and(|format| format == "uuid") {
        schema.insert("maxLength".to_owned(), json!(36));
    }
    let restricted = ["format", "enum", "pattern"];
    if !restricted.iter().any(|member| schema.contains_key(*member)) {
        schema.insert("pattern".to_owned(), json!(pattern::TEXT));
    }
}

/// Integers are 32 or 64 bits wide; that they are never negative is a bound, not a format.
fn bound_integer(schema: &mut Map<String, Value>) {
    let (format, least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("int64") => ("int64", i64::MIN, i64::MAX),
        Some("uint64") => ("int64", 0, i64::MAX),
        Some("uint8" | "uint16" | "uint32") => ("int32", 0, i64::from(i32::MAX)),
        _ => ("int32", i64::from(i32::MIN), i64::from(i32::MAX)),
    };
    schema.insert("format".to_owned(), json!(format));
    schema.entry("minimum").or_insert(json!(least));
    schema.entry("maximum").or_insert(json!(most));
}

/// Lets what may be absent be null, where the type is said in place.
fn take_nulls(schema: &mut Map<String, Value>) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| {
        let mut names = required.as_array().into_iter().flatten();
        names.any(|required| required == name)
    };
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if !is_required(name)
            && let Some(property) = property.as_object_mut()
            && property.contains_key("type")
            && !property.contains_key("enum")
        {
            property.insert("nullable".to_owned(), json!(true));
        }
    }
}

/// Says of everything that clients send that unknown fields are refused, which poem-openapi does not say, and that null
/// is as good as absent.
fn close_requests(document: &mut Value) {
    for name in sent_schemas(document) {
        each_object(
            &mut document["components"]["schemas"][&name],
            &mut |object| {
                if object.get("type").is_some_and(|kind| kind == "object")
                    && object.contains_key("properties")
                {
                    object.entry("additionalProperties").or_insert(json!(false));
                    take_nulls(object);
                }
            },
        );
    }
}

/// The schemas of bodies, and all that these refer to.
fn sent_schemas(document: &Value) -> BTreeSet<String> {
    let mut waiting: Vec<String> = operations(document)
        .flat_map(|(_, _, operation)| references(&operation["requestBody"]))
        .collect();
    let mut found = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        waiting.extend(
            references(&document["components"]["schemas"][&name])
                .into_iter()
                .filter(|inner| *inner != name && !found.contains(inner)),
        );
        found.insert(name);
    }
    found
}

/// The schemas that are referred to in `value`.
fn references(value: &Value) -> Vec<String> {
    let own = schema_name(&value["$ref"]).map(str::to_owned);
    let members = entries(value).flat_map(|(_, member)| references(member));
    let elements = value.as_array().into_iter().flatten().flat_map(references);
    own.into_iter().chain(members).chain(elements).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(mut value: Value) -> Value {
        state(&mut value);
        value
    }

    #[test]
    fn a_type_has_the_bounds_of_its_width() {
        assert_eq!(
            bounded(json!({"type": "integer", "format": "uint32", "maximum": 200})),
            json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 200})
        );
        assert_eq!(
            bounded(json!({"type": "integer", "format": "int64", "minimum": 0})),
            json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX})
        );
        assert_eq!(
            bounded(json!({"type": "array", "items": {"type": "string"}})),
            json!({"type": "array", "items": {"type": "string", "maxLength": 1000, "pattern": pattern::TEXT}})
        );
        let kept = json!({"type": "string", "enum": ["a"]});
        assert_eq!(bounded(kept.clone()), kept);
    }

    #[test]
    fn what_is_sent_is_closed_as_deep_as_it_goes() {
        let object = |property: Value| json!({"type": "object", "properties": {"p": property}});
        let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let document = bounded(json!({
            "paths": {"/a": {"post": {"requestBody": {"content": {"application/json": {"schema": reference("Sent")}}}}}},
            "components": {"schemas": {
                "Sent": object(json!({"allOf": [reference("Inner")]})),
                "Inner": object(reference("Inner")),
                "Answered": object(json!({})),
            }}
        }));
        let closed =
            |name: &str| document["components"]["schemas"][name]["additionalProperties"] == false;
        assert!(closed("Sent") && closed("Inner") && !closed("Answered"));
    }
}
