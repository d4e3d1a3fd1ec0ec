//! What breaks a client that was made for the released contract. Pure; in: two OpenAPI documents, out: sentences.
//!
//! Answers may gain and requests may lose: an operation or a field of an answer that is gone, a field of a request that
//! is new and required, and a value that is not accepted any more, break clients. Schemas must not contain themselves.

use serde_json::{Value, json};

use super::CONTRACT;

const RELEASED: &str = include_str!("../../../manifests/openapi.released.json");

/// Which way a value goes.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Sent,
    Answered,
}

/// The two documents, and what was found.
struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    found: Vec<String>,
}

fn breaking_changes(old: &Value, new: &Value) -> Vec<String> {
    let found = Vec::new();
    let mut comparison = Comparison { old, new, found };
    for (path, methods) in members(&old["paths"]) {
        for (method, operation) in members(methods) {
            let now = &new["paths"][path][method];
            comparison.operation(&format!("{method} {path}"), operation, now);
        }
    }
    comparison.found
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What a reference, or the only part of a composition, stands for.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value["$ref"]
        .as_str()
        .or(value["allOf"][0]["$ref"].as_str());
    let pointer = reference.and_then(|reference| reference.strip_prefix('#'));
    pointer
        .and_then(|pointer| document.pointer(pointer))
        .unwrap_or(value)
}

impl Comparison<'_> {
    fn say(&mut self, at: &str, what: &str) {
        self.found.push(format!("{at}: {what}"));
    }

    fn operation(&mut self, at: &str, old: &Value, new: &Value) {
        if new.is_null() {
            return self.say(at, "is gone");
        }
        if old["operationId"] != new["operationId"] {
            self.say(
                at,
                "has another id, which names functions of generated clients",
            );
        }
        if old["security"] == json!([]) && new["security"] != json!([]) {
            self.say(at, "needs a key");
        }
        self.parameters(at, old, new);
        if old["requestBody"].is_null() && new["requestBody"]["required"] == true {
            self.say(at, "needs a body");
        }
        let (old_body, new_body) = (
            &old["requestBody"]["content"],
            &new["requestBody"]["content"],
        );
        self.contents(at, Way::Sent, old_body, new_body);
        for (status, response) in
            members(&old["responses"]).filter(|(status, _)| status.starts_with('2'))
        {
            let at = format!("{at} {status}");
            let response = resolved(self.old, response);
            let now = resolved(self.new, &new["responses"][status]);
            if now.is_null() {
                self.say(&at, "is gone");
                continue;
            }
            for (header, _) in members(&response["headers"]) {
                if now["headers"][header].is_null() {
                    self.say(&format!("{at} {header}"), "is gone");
                }
            }
            self.contents(&at, Way::Answered, &response["content"], &now["content"]);
        }
    }

    fn parameters(&mut self, at: &str, old: &Value, new: &Value) {
        let is_same =
            |one: &Value, other: &Value| one["name"] == other["name"] && one["in"] == other["in"];
        for parameter in elements(&old["parameters"]) {
            let at = format!("{at} {}", parameter["name"]);
            match elements(&new["parameters"]).find(|now| is_same(now, parameter)) {
                Some(now) => self.schema(&at, Way::Sent, &parameter["schema"], &now["schema"]),
                None => self.say(&at, "is gone"),
            }
        }
        for parameter in
            elements(&new["parameters"]).filter(|parameter| parameter["required"] == true)
        {
            let before = elements(&old["parameters"]).find(|before| is_same(before, parameter));
            if before.is_none_or(|before| before["required"] != true) {
                self.say(&format!("{at} {}", parameter["name"]), "is required");
            }
        }
    }

    fn contents(&mut self, at: &str, way: Way, old: &Value, new: &Value) {
        for (media_type, content) in members(old) {
            let at = format!("{at} {media_type}");
            match new.get(media_type) {
                Some(now) => self.schema(&at, way, &content["schema"], &now["schema"]),
                None => self.say(&at, "is gone"),
            }
        }
    }

    fn schema(&mut self, at: &str, way: Way, old: &Value, new: &Value) {
        let (old, new) = (resolved(self.old, old), resolved(self.new, new));
        for member in ["type", "format"] {
            if old[member] != new[member] && !(old[member].is_null() && way == Way::Answered) {
                self.say(
                    at,
                    &format!("{member} was {} and is {}", old[member], new[member]),
                );
            }
        }
        match way {
            Way::Sent => self.narrowed(at, old, new),
            Way::Answered => self.poorer(at, old, new),
        }
        for (name, property) in members(&old["properties"]) {
            let at = format!("{at} {name}");
            match new["properties"].get(name) {
                Some(now) => self.schema(&at, way, property, now),
                None => self.say(&at, "is gone"),
            }
        }
        if !old["items"].is_null() {
            self.schema(&format!("{at} []"), way, &old["items"], &new["items"]);
        }
    }

    /// What was accepted, and is not any more.
    fn narrowed(&mut self, at: &str, old: &Value, new: &Value) {
        for name in elements(&new["required"])
            .filter(|name| !elements(&old["required"]).any(|old| old == *name))
        {
            self.say(&format!("{at} {name}"), "is required");
        }
        for value in
            elements(&old["enum"]).filter(|value| !elements(&new["enum"]).any(|new| new == *value))
        {
            self.say(at, &format!("{value} is not accepted any more"));
        }
        let number = |schema: &Value, member: &str| schema[member].as_f64();
        for member in ["minimum", "minLength", "minItems"] {
            if number(new, member).unwrap_or(f64::MIN) > number(old, member).unwrap_or(f64::MIN) {
                self.say(at, &format!("{member} is higher"));
            }
        }
        for member in ["maximum", "maxLength", "maxItems", "maxProperties"] {
            if number(new, member).unwrap_or(f64::MAX) < number(old, member).unwrap_or(f64::MAX) {
                self.say(at, &format!("{member} is lower"));
            }
        }
        if !new["pattern"].is_null() && old["pattern"] != new["pattern"] {
            self.say(at, "has another pattern");
        }
    }

    /// What was always answered, and is not any more.
    fn poorer(&mut self, at: &str, old: &Value, new: &Value) {
        for name in elements(&old["required"])
            .filter(|name| !elements(&new["required"]).any(|new| new == *name))
        {
            self.say(&format!("{at} {name}"), "may be absent");
        }
    }
}

/// After a release, `manifests/openapi.json` is copied over `manifests/openapi.released.json`.
#[test]
fn nothing_breaks_clients_of_the_released_contract() {
    let [old, new] = [RELEASED, CONTRACT].map(|text| serde_json::from_str(text).unwrap());
    let found = breaking_changes(&old, &new);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_breaks_clients_is_found() {
    let old: Value = serde_json::from_str(CONTRACT).unwrap();
    let new_database = "/components/schemas/NewDatabase";
    let database = "/components/schemas/Database";
    let list = "/paths/~1databases/get";
    let changes: [(&str, String, Value); 9] = [
        ("is gone", "/paths/~1me/get".to_owned(), Value::Null),
        (
            "another id",
            format!("{list}/operationId"),
            json!("databases"),
        ),
        ("is gone", format!("{list}/parameters"), json!([])),
        ("is gone", format!("{database}/properties"), json!({})),
        ("may be absent", format!("{database}/required"), json!([])),
        (
            "is required",
            format!("{new_database}/required"),
            json!(["name", "tier", "purpose"]),
        ),
        (
            "is lower",
            format!("{new_database}/properties/name/maxLength"),
            json!(20),
        ),
        (
            "type was",
            format!("{new_database}/properties/name/type"),
            json!("integer"),
        ),
        (
            "not accepted",
            "/components/schemas/DatabaseStatus/enum".to_owned(),
            json!(["ready"]),
        ),
    ];
    for (expected, pointer, value) in changes {
        let mut new = old.clone();
        *new.pointer_mut(&pointer).unwrap() = value;
        let found = breaking_changes(&old, &new);
        assert!(
            found.iter().any(|found| found.contains(expected)),
            "{pointer}: {found:#?}"
        );
    }
}

#[test]
fn what_is_added_breaks_nobody() {
    let old: Value = serde_json::from_str(CONTRACT).unwrap();
    let mut new = old.clone();
    new["paths"]["/new"] = json!({"get": {}});
    new["components"]["schemas"]["Database"]["properties"]["new"] = json!({"type": "string"});
    new["components"]["schemas"]["NewDatabase"]["properties"]["new"] = json!({"type": "string"});
    new["components"]["schemas"]["NewDatabase"]["properties"]["name"]["maxLength"] = json!(50);
    assert_eq!(breaking_changes(&old, &new), Vec::<String>::new());
}
