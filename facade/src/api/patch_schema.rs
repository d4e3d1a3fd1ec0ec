//! The schema of a JSON merge patch, made from the schema of what it changes. Pure.
//!
//! Nothing is required, there are no defaults, and null is allowed where a field can be absent. So that there is one
//! source for both, the contract does not repeat the fields.

use serde_json::{Map, Value, json};

/// What the schema of a patch adds to the name of the one it changes.
const SUFFIX: &str = "Patch";
const PREFIX: &str = "#/components/schemas/";

/// Turns the schema of this name into the schema of its patch, and adds those of the objects in it.
pub fn make_patch(schemas: &mut Map<String, Value>, name: &str) {
    if let Some(schema) = schemas.get(name).cloned() {
        let patch = patch_of(schemas, &schema);
        schemas.insert(name.to_owned(), patch);
    }
}

/// The schema of a patch of an object with these properties.
fn patch_of(schemas: &mut Map<String, Value>, schema: &Value) -> Value {
    let mut patch = schema.clone();
    let Some(fields) = patch.as_object_mut() else {
        return patch;
    };
    let required = fields.remove("required").unwrap_or_default();
    let is_required = |name: &str| {
        let mut names = required.as_array().into_iter().flatten();
        names.any(|required| required == name)
    };
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            *property = field_of_patch(schemas, property, !is_required(name));
        }
    }
    patch
}

fn field_of_patch(schemas: &mut Map<String, Value>, property: &Value, removable: bool) -> Value {
    let mut field = property.clone();
    if let Some(members) = field.as_object_mut() {
        members.remove("default");
    }
    if let Some(name) = referenced(property) {
        let target = schemas.get(&name).cloned().unwrap_or_default();
        let description = property
            .get("description")
            .or_else(|| target.get("description"))
            .cloned();
        if target.get("properties").is_some() {
            let patch_name = format!("{name}{SUFFIX}");
            if !schemas.contains_key(&patch_name) {
                let mut patch = patch_of(schemas, &target);
                patch["title"] = json!(patch_name);
                schemas.insert(patch_name.clone(), patch);
            }
            // 'nullable' has a meaning beside a type only.
            let reference = format!("{PREFIX}{patch_name}");
            field = json!({"type": "object", "allOf": [{"$ref": reference}]});
        } else {
            field = target;
        }
        field["description"] = description.unwrap_or_default();
    }
    if let Some(values) = field
        .get_mut("additionalProperties")
        .filter(|values| values.is_object())
    {
        values["nullable"] = json!(true);
    }
    if removable {
        field["nullable"] = json!(true);
        if let Some(values) = field.get_mut("enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
        }
    }
    field
}

/// The name of the schema that a property refers to, directly or beside a description of its own.
fn referenced(property: &Value) -> Option<String> {
    let reference = property
        .get("$ref")
        .or_else(|| property.pointer("/allOf/0/$ref"))?;
    reference.as_str()?.strip_prefix(PREFIX).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_required_and_what_is_optional_can_be_removed() {
        let schemas = json!({
            "Thing": {"type": "object", "required": ["name", "part"], "properties": {
                "name": {"type": "string", "maxLength": 3},
                "note": {"type": "string", "default": "none"},
                "part": {"$ref": "#/components/schemas/Part"},
                "color": {"type": "object", "allOf": [{"$ref": "#/components/schemas/Color"}, {"description": "Its color."}], "description": "Its color."},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            }, "additionalProperties": false},
            "Part": {"type": "object", "title": "Part", "description": "A part.", "required": ["size"], "properties": {"size": {"type": "integer"}}},
            "Color": {"type": "string", "enum": ["red", "blue"]},
        });
        let mut schemas = schemas.as_object().unwrap().clone();
        let before = schemas["Part"].clone();
        make_patch(&mut schemas, "Thing");
        assert_eq!(
            schemas["Thing"],
            json!({"type": "object", "properties": {
                "name": {"type": "string", "maxLength": 3},
                "note": {"type": "string", "nullable": true},
                "part": {"type": "object", "allOf": [{"$ref": "#/components/schemas/PartPatch"}], "description": "A part."},
                "color": {"type": "string", "enum": ["red", "blue", null], "description": "Its color.", "nullable": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}, "nullable": true},
            }, "additionalProperties": false})
        );
        assert_eq!(
            schemas["PartPatch"],
            json!({"type": "object", "title": "PartPatch", "description": "A part.", "properties": {"size": {"type": "integer"}}})
        );
        assert_eq!(schemas["Part"], before);
    }
}
