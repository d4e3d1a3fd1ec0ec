//! The contract as a page for people. Pure: a document in, HTML out.
//!
//! The page is made here and holds everything: no script, no font, nothing fetched from elsewhere, so that it can be
//! served under a policy that forbids all of it.

use std::fmt::Write as _;

use serde_json::Value;

/// What a browser may do with the page: apply its own style, and nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
h2{margin-top:3rem;border-bottom:2px solid #d0d7de}h3{margin-top:2.5rem}code,pre{font:14px/1.4 ui-monospace,monospace;background:#f3f5f7}\
code{padding:.1em .3em}pre{padding:1rem;overflow-x:auto}table{border-collapse:collapse;width:100%}\
td,th{border:1px solid #d0d7de;padding:.3rem .6rem;text-align:left;vertical-align:top}.method{text-transform:uppercase;font-weight:700}";

/// The methods of a path, in the order in which they are shown.
const METHODS: [&str; 5] = ["post", "get", "put", "patch", "delete"];

/// The page.
pub fn html(document: &Value) -> String {
    let title = text(&document["info"]["title"]);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1><p>{}</p>\
         <p>For programs: <a href=\"/openapi.json\">openapi.json</a>.</p>",
        text(&document["info"]["description"])
    );
    page.push_str(&contents(document));
    for tag in list(&document["tags"]) {
        let name = text(&tag["name"]);
        page += &format!(
            "<h2 id=\"{name}\">{name}</h2><p>{}</p>",
            text(&tag["description"])
        );
        for (path, method, operation) in operations(document, tag) {
            page.push_str(&section(document, path, method, operation));
        }
    }
    page.push_str(&schemas(document));
    page.push_str("</body></html>");
    page
}

fn contents(document: &Value) -> String {
    let mut contents = "<ul>".to_owned();
    for tag in list(&document["tags"]) {
        let name = text(&tag["name"]);
        contents += &format!("<li><a href=\"#{name}\">{name}</a><ul>");
        for (path, method, operation) in operations(document, tag) {
            contents += &format!(
                "<li><a href=\"#{}\">{}</a> <code>{method} {}</code></li>",
                text(&operation["operationId"]),
                text(&operation["summary"]),
                escaped(path)
            );
        }
        contents.push_str("</ul></li>");
    }
    contents + "<li><a href=\"#schemas\">Schemas</a></li></ul>"
}

fn section(document: &Value, path: &str, method: &str, operation: &Value) -> String {
    let mut section = format!(
        "<h3 id=\"{}\">{}</h3><p><code><span class=\"method\">{method}</span> {}</code></p><p>{}</p>",
        text(&operation["operationId"]),
        text(&operation["summary"]),
        escaped(path),
        text(&operation["description"])
    );
    if list(&operation["security"]).next().is_none() {
        section.push_str("<p>Needs no key.</p>");
    }
    let parameters: Vec<_> = list(&operation["parameters"])
        .map(|parameter| resolved(document, parameter))
        .collect();
    if !parameters.is_empty() {
        section.push_str("<table><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>");
        for parameter in parameters {
            section += &format!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["description"])
            );
        }
        section.push_str("</table>");
    }
    section.push_str(&contents_of("Body", &operation["requestBody"]));
    section.push_str("<table><tr><th>Answer</th><th>Meaning</th></tr>");
    for (status, answer) in members(&operation["responses"]) {
        let answer = resolved(document, answer);
        section += &format!(
            "<tr><td><code>{}</code></td><td>{}{}</td></tr>",
            escaped(status),
            text(&answer["description"]),
            contents_of("", answer)
        );
    }
    section + "</table>"
}

/// The schema and the example of a body or an answer.
fn contents_of(title: &str, holder: &Value) -> String {
    let mut shown = String::new();
    for (media_type, content) in members(&holder["content"]) {
        let _ = write!(shown, "<p>{title} <code>{}</code>", escaped(media_type));
        if let Some(name) = schema_name(&content["schema"]) {
            let name = escaped(name);
            let _ = write!(shown, " <a href=\"#schema-{name}\">{name}</a>");
        }
        shown.push_str("</p>");
        if let Some(example) = content.get("example") {
            let pretty = serde_json::to_string_pretty(example).unwrap_or_default();
            let _ = write!(shown, "<pre>{}</pre>", escaped(&pretty));
        }
    }
    shown
}

fn schemas(document: &Value) -> String {
    let mut shown = "<h2 id=\"schemas\">Schemas</h2>".to_owned();
    for (name, schema) in members(&document["components"]["schemas"]) {
        let name = escaped(name);
        let _ = write!(
            shown,
            "<h3 id=\"schema-{name}\">{name}</h3><p>{}</p>",
            text(&schema["description"])
        );
        let values: Vec<_> = list(&schema["enum"]).map(text).collect();
        if !values.is_empty() {
            let _ = write!(
                shown,
                "<p>One of <code>{}</code>.</p>",
                values.join("</code>, <code>")
            );
        }
        let required: Vec<_> = list(&schema["required"])
            .filter_map(Value::as_str)
            .collect();
        let mut rows = String::new();
        for (field, property) in members(&schema["properties"]) {
            let always = if required.contains(&field.as_str()) {
                "always"
            } else {
                ""
            };
            let _ = write!(
                rows,
                "<tr><td><code>{}</code></td><td>{}</td><td>{always}</td><td>{}</td></tr>",
                escaped(field),
                kind(property),
                text(&property["description"])
            );
        }
        if !rows.is_empty() {
            let _ = write!(
                shown,
                "<table><tr><th>Field</th><th>Type</th><th>Present</th><th>Meaning</th></tr>{rows}</table>"
            );
        }
    }
    shown
}

/// The type of a value, with a link where it has a schema of its own.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema_name(schema) {
        let name = escaped(name);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    if schema.get("items").is_some() {
        return format!("list of {}", kind(&schema["items"]));
    }
    match schema["format"].as_str() {
        Some(format) => escaped(format),
        None => text(&schema["type"]),
    }
}

fn schema_name(schema: &Value) -> Option<&str> {
    let reference = |schema: &'_ Value| schema["$ref"].as_str().map(str::len);
    let holder = match reference(schema) {
        Some(_) => schema,
        None => list(&schema["allOf"]).find(|part| reference(part).is_some())?,
    };
    holder["$ref"].as_str()?.rsplit('/').next()
}

/// What a reference into the components stands for.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"]
        .as_str()
        .and_then(|reference| document.pointer(reference.trim_start_matches('#')));
    target.unwrap_or(value)
}

fn operations<'a>(
    document: &'a Value,
    tag: &'a Value,
) -> impl Iterator<Item = (&'a str, &'static str, &'a Value)> {
    members(&document["paths"]).flat_map(move |(path, item)| {
        METHODS.into_iter().filter_map(move |method| {
            let operation = item.get(method)?;
            list(&operation["tags"])
                .any(|name| *name == tag["name"])
                .then_some((path.as_str(), method, operation))
        })
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::contract::Contract;

    #[test]
    fn every_operation_and_schema_is_shown_and_nothing_is_fetched() {
        let contract = Contract::generate().unwrap();
        let page = html(contract.document());
        for operation in contract.operations() {
            assert!(
                page.contains(&format!("<h3 id=\"{}\">", operation.id)),
                "{}",
                operation.id
            );
        }
        for (name, _) in members(&contract.document()["components"]["schemas"]) {
            assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
        }
        for foreign in ["<script", "src=", "@import", "url(", "href=\"http"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn what_the_contract_says_is_text_and_not_markup() {
        let document = serde_json::json!({"info": {"title": "<b>\"&"}});
        assert!(html(&document).contains("<h1>&lt;b&gt;&quot;&amp;</h1>"));
    }
}
