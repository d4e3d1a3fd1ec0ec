//! Ways through an OpenAPI document. Pure.

use serde_json::{Map, Value};

/// Every operation: its path, its method and itself.
pub fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let operations =
        |(path, item)| entries(item).map(move |(method, operation)| (path, method, operation));
    entries(&document["paths"]).flat_map(operations)
}

/// Every operation, to be changed.
pub fn operations_mut(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document.get_mut("paths").into_iter();
    paths
        .flat_map(entries_mut)
        .flat_map(|(_, item)| entries_mut(item).map(|(_, operation)| operation))
}

/// The members of an object; none of anything else.
pub fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().map(Map::iter).into_iter().flatten()
}

/// The members of an object, to be changed.
pub fn entries_mut(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value
        .as_object_mut()
        .map(Map::iter_mut)
        .into_iter()
        .flatten()
}

/// The elements of an array; none of anything else.
pub fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Calls `change` with every object in `value`, inner ones first.
pub fn each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            members
                .values_mut()
                .for_each(|member| each_object(member, change));
            change(members);
        }
        Value::Array(elements) => elements
            .iter_mut()
            .for_each(|element| each_object(element, change)),
        _ => {}
    }
}

/// The name of the schema that a reference leads to.
pub fn schema_name(reference: &Value) -> Option<&str> {
    reference.as_str()?.strip_prefix("#/components/schemas/")
}
