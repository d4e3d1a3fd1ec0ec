//! The document as poem-openapi writes it, in fewer words and the usual spelling. Pure; changes no meaning.

use serde_json::{Map, Value, json};

use super::walk::{each_object, entries_mut, operations_mut};

/// What poem-openapi writes although it is the default.
const DEFAULTS: [(&str, bool); 2] = [("deprecated", false), ("explode", true)];

/// What poem-openapi says beside a reference, both in a part of its own and around it.
const BESIDE_REFERENCES: [&str; 2] = ["default", "description"];

/// Tidies the whole document.
pub fn tidy(document: &mut Value) {
    each_object(document, &mut |object| {
        whole_numbers(object);
        one_line(object);
        plain_reference(object);
        default_in_words(object);
        object.retain(|name, value| {
            !DEFAULTS
                .iter()
                .any(|(default, usual)| name == default && *value == json!(usual))
        });
    });
    for operation in operations_mut(document) {
        for (_, response) in entries_mut(&mut operation["responses"]) {
            rename_members(response, "headers", header_name);
            rename_members(response, "content", |name| without_charset(name).to_owned());
        }
    }
}

/// Limits are whole numbers: `200` and not `200.0`.
fn whole_numbers(object: &mut Map<String, Value>) {
    for value in object.values_mut() {
        if let Some(number) = value.as_f64()
            && number.fract() == 0.0
            && number.abs() < 9e15
        {
            *value = json!(number as i64);
        }
    }
}

/// Descriptions come from comments, which are wrapped.
fn one_line(object: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = object.get_mut("description") {
        let paragraphs: Vec<_> = text
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect();
        *text = paragraphs.join("\n\n");
    }
}

/// What is said beside a reference is said once.
fn plain_reference(object: &mut Map<String, Value>) {
    let Some(Value::Array(mut parts)) = object.remove("allOf") else {
        return;
    };
    parts.retain_mut(|part| match part.as_object_mut() {
        Some(part)
            if part
                .keys()
                .all(|name| BESIDE_REFERENCES.contains(&name.as_str())) =>
        {
            for (name, value) in std::mem::take(part) {
                object.entry(name).or_insert(value);
            }
            false
        }
        _ => true,
    });
    object.insert("allOf".to_owned(), Value::Array(parts));
}

/// Generators of clients know defaults of single values only.
fn default_in_words(object: &mut Map<String, Value>) {
    if object.get("default").is_some_and(Value::is_object)
        && let Some(default) = object.remove("default")
        && let Some(Value::String(text)) = object.get_mut("description")
    {
        text.push_str(&format!(" The default is {default}."));
    }
}

fn rename_members(parent: &mut Value, member: &str, name: impl Fn(&str) -> String) {
    if let Some(Value::Object(members)) = parent.get_mut(member) {
        *members = std::mem::take(members)
            .into_iter()
            .map(|(old, value)| (name(&old), value))
            .collect();
    }
}

/// JSON is always UTF-8; the media type has no such parameter.
pub fn without_charset(media_type: &str) -> &str {
    match media_type.split_once(';') {
        Some(("application/json", _)) => "application/json",
        _ => media_type,
    }
}

/// `Location` and not `LOCATION`.
fn header_name(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first
            .into_iter()
            .chain(letters.map(|letter| letter.to_ascii_lowercase()))
            .collect::<String>()
    };
    match name.to_ascii_lowercase().as_str() {
        "etag" => "ETag".to_owned(),
        "www-authenticate" => "WWW-Authenticate".to_owned(),
        "ratelimit" => "RateLimit".to_owned(),
        "ratelimit-policy" => "RateLimit-Policy".to_owned(),
        name => name.split('-').map(word).collect::<Vec<_>>().join("-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_as_usual() {
        for name in [
            "Location",
            "Retry-After",
            "ETag",
            "WWW-Authenticate",
            "RateLimit-Policy",
        ] {
            assert_eq!(header_name(&name.to_uppercase()), name);
        }
        assert_eq!(
            without_charset("application/json; charset=utf-8"),
            "application/json"
        );
        assert_eq!(
            without_charset("text/plain; charset=utf-8"),
            "text/plain; charset=utf-8"
        );
    }

    #[test]
    fn says_the_same_in_fewer_words() {
        let mut document = json!({"paths": {"/a": {"get": {
            "deprecated": false,
            "parameters": [{"schema": {"maximum": 200.0, "minimum": 0.5}}],
            "description": "One\nline.\n\nAnother\none.",
            "responses": {"200": {"headers": {"LOCATION": {}}, "content": {"application/json; charset=utf-8": {
                "schema": {"allOf": [{"$ref": "#/b"}, {"description": "B.", "default": 1}], "description": "B."}
            }}}}
        }}}});
        tidy(&mut document);
        let expected = json!({"paths": {"/a": {"get": {
            "parameters": [{"schema": {"maximum": 200, "minimum": 0.5}}],
            "description": "One line.\n\nAnother one.",
            "responses": {"200": {"headers": {"Location": {}}, "content": {"application/json": {
                "schema": {"allOf": [{"$ref": "#/b"}], "description": "B.", "default": 1}
            }}}}
        }}}});
        assert_eq!(document, expected);
    }
}
