//! What the contract must tell its readers, and that it is the committed one.

use serde_json::{Value, json};

use super::{
    Contract,
    walk::{each_object, elements, entries, operations},
};

const COMMITTED: &str = include_str!("../../../../manifests/openapi.json");

#[test]
fn committed_contract_is_current() {
    let current = Contract::generate().unwrap().text().unwrap();
    assert!(
        COMMITTED == current,
        "manifests/openapi.json is out of date: run `make openapi`"
    );
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

/// A response, or the component that it refers to.
fn resolved<'a>(document: &'a Value, response: &'a Value) -> &'a Value {
    let reference = response["$ref"]
        .as_str()
        .and_then(|text| text.strip_prefix('#'));
    reference.map_or(response, |pointer| document.pointer(pointer).unwrap())
}

#[test]
fn every_operation_is_described() {
    let contract = Contract::generate().unwrap();
    let document = contract.document();
    for (path, method, operation) in operations(document) {
        let name = format!("{method} {path}");
        for member in ["operationId", "summary", "description"] {
            assert!(is_text(&operation[member]), "{name}: {member}");
        }
        assert!(
            elements(&operation["tags"]).next().is_some(),
            "{name}: tags"
        );
        assert!(operation["security"].is_array(), "{name}: security");
        for parameter in elements(&operation["parameters"]) {
            assert!(is_text(&parameter["description"]), "{name}: {parameter}");
        }
        for (media, content) in entries(&operation["requestBody"]["content"]) {
            assert!(!content["example"].is_null(), "{name}: {media}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolved(document, response);
            assert!(is_text(&response["description"]), "{name}: {status}");
            for (media, content) in entries(&response["content"]) {
                assert!(!content["example"].is_null(), "{name}: {status} {media}");
                assert_eq!(
                    media == "application/problem+json",
                    status.starts_with(['4', '5']),
                    "{name}: {status} {media}"
                );
            }
        }
    }
}

/// Every operation names every error that it can answer, whoever added it.
#[test]
fn every_operation_names_its_errors() {
    let contract = Contract::generate().unwrap();
    for (path, method, operation) in operations(contract.document()) {
        let mut expected = vec!["400", "500"];
        if elements(&operation["security"]).next().is_some() {
            expected.extend(["401", "429", "503"]);
        }
        if operation.get("requestBody").is_some() {
            expected.extend(["408", "413", "415"]);
        }
        if path.contains('{') {
            expected.push("404");
        }
        for status in expected {
            assert!(
                !operation["responses"][status].is_null(),
                "{method} {path}: {status}"
            );
        }
    }
}

/// A value without bounds is one that a client can fill a disk with, or a reader cannot allocate for.
#[test]
fn every_value_is_bounded() {
    let mut document = Contract::generate().unwrap().document().clone();
    each_object(&mut document, &mut |schema| {
        let needed: &[&str] = match schema.get("type").and_then(Value::as_str) {
            Some("string") if !schema.contains_key("enum") => &["maxLength"],
            Some("integer") => &["minimum", "maximum", "format"],
            Some("array") => &["maxItems"],
            Some("object") if schema.contains_key("properties") || schema.contains_key("allOf") => {
                &[]
            }
            Some("object") => &["maxProperties", "additionalProperties"],
            _ => &[],
        };
        for member in needed {
            assert!(
                schema.contains_key(*member),
                "{member} is missing: {schema:?}"
            );
        }
    });
}

#[test]
fn every_example_obeys_its_schema() {
    let mut document = Contract::generate().unwrap().document().clone();
    let components = document["components"].clone();
    let mut seen = 0;
    each_object(&mut document, &mut |object| {
        let (Some(schema), Some(example)) = (object.get("schema"), object.get("example")) else {
            return;
        };
        let schema = json!({"allOf": [schema], "components": components});
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        let errors: Vec<_> = validator
            .iter_errors(example)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{example}: {errors:#?}");
        seen += 1;
    });
    assert!(seen > 20, "{seen}");
}

#[test]
fn tells_the_server_what_it_needs() {
    let operations = Contract::generate().unwrap().operations();
    let operation = |id: &str| {
        operations
            .iter()
            .find(|operation| operation.id == id)
            .unwrap()
    };
    let create = operation("createDatabase");
    assert!(create.secured && create.takes_body);
    assert_eq!(
        operation("listDatabases").parameters,
        [
            "limit",
            "cursor",
            "status",
            "tier",
            "owner_team",
            "q",
            "source_database_id",
            "created_from",
            "created_before"
        ]
    );
    assert!(!operation("getHealth").secured);
}

/// A request of the guide: its method, its path and query, and its body.
fn requests_of_the_guide() -> Vec<(String, String, Option<Value>)> {
    let guide = include_str!("../../../../docs/api.md");
    // A body may go on over several lines, which are indented; an answer is not.
    let guide = guide.replace("\n  ", " ");
    let after = |text: &str, mark: &str, end: char| {
        let (_, rest) = text.split_once(mark)?;
        Some(rest.split(end).next()?.to_owned())
    };
    let lines = guide.lines().filter(|line| line.starts_with("$ "));
    lines
        .filter_map(|line| {
            let body =
                after(line, "--json '", '\'').map(|body| serde_json::from_str(&body).unwrap());
            let method = match (after(line, "--request ", ' '), &body) {
                (Some(method), _) => method,
                (None, Some(_)) => "POST".to_owned(),
                (None, None) => "GET".to_owned(),
            };
            Some((method, after(line, "$DAAP_URL", '"')?, body))
        })
        .collect()
}

/// Readers copy what the guide shows, so it has to work.
#[test]
fn the_guide_shows_requests_of_the_contract() {
    let contract = Contract::generate().unwrap();
    let routes = crate::http::routes::Routes::new(contract.operations()).unwrap();
    let requests = requests_of_the_guide();
    assert!(requests.len() > 15, "{requests:?}");
    for (method, target, body) in requests {
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let route = routes.find(&method, path).map(|(route, _)| route);
        let route = route.unwrap_or_else(|failure| panic!("{method} {target}: {failure}"));
        route.check_parameters(Some(query)).unwrap();
        assert_eq!(
            route.operation.takes_body,
            body.is_some(),
            "{method} {target}"
        );
        let Some(body) = body else { continue };
        let (_, _, operation) = operations(contract.document())
            .find(|(_, _, operation)| operation["operationId"] == route.operation.id)
            .unwrap();
        let schema =
            operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
        let name = schema.unwrap().rsplit('/').next().unwrap();
        let rules = contract
            .patch_rules(name)
            .or(contract.body_rules(name))
            .unwrap();
        let errors = rules
            .iter_errors(&body)
            .filter(|error| !error.instance().is_null());
        let errors: Vec<_> = errors.map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{method} {target}: {errors:?}");
    }
}
