//! The OpenAPI document, and what the server reads from it: which operations there are, which of them need a key,
//! which query parameters each one knows, and the schemas of bodies. Pure.

use std::collections::HashMap;

use poem_openapi::{ContactObject, LicenseObject, OpenApiService};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{databases::Databases, history::Histories, system::System, tiers::Tiers};

/// The generated document cannot be used, which a test excludes.
#[derive(Debug, Error)]
pub enum ContractError {
    /// It is no JSON.
    #[error("the contract is not JSON")]
    Json(#[from] serde_json::Error),
    /// A schema of a body is no schema.
    #[error("the schema {name} cannot be compiled: {cause}")]
    Schema {
        /// The schema.
        name: String,
        /// Why.
        cause: String,
    },
}

/// One operation of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The method, in upper case.
    pub method: String,
    /// The path, with names of parameters in braces.
    pub path: String,
    /// The operation id.
    pub id: String,
    /// Whether it needs a key.
    pub secured: bool,
    /// Whether it takes a body.
    pub takes_body: bool,
    /// The query parameters that it knows.
    pub parameters: Vec<String>,
}

/// The contract.
pub struct Contract {
    document: Value,
    bodies: HashMap<String, jsonschema::Validator>,
}

/// Every group of operations.
pub(super) fn openapi_service() -> OpenApiService<(Databases, Histories, Tiers, System), ()> {
    OpenApiService::new((Databases, Histories, Tiers, System), "DAAP", "1.0.0")
        .description(
            "PostgreSQL databases for product teams. Choose a tier, ask for a database, and connect with the \
             credentials in the Secret that its record names. Every failure is a problem document (RFC 9457).",
        )
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        .contact(ContactObject::new().name("Your platform team"))
        .server("/")
}

impl Contract {
    /// The contract of this program.
    ///
    /// # Errors
    /// [`ContractError`] when it cannot be used.
    pub fn generate() -> Result<Self, ContractError> {
        let mut document: Value = serde_json::from_str(&openapi_service().spec())?;
        let bodies = names_of_bodies(&document);
        for name in &bodies {
            close(&mut document, name);
        }
        offer_idempotency(&mut document);
        let bodies = bodies
            .into_iter()
            .map(|name| Ok((name.clone(), rules(&document, &name)?)));
        Ok(Self {
            bodies: bodies.collect::<Result<_, ContractError>>()?,
            document,
        })
    }

    /// The document.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The document as it is committed: pretty, with a newline at its end.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn text(&self) -> Result<String, ContractError> {
        Ok(serde_json::to_string_pretty(&self.document)? + "\n")
    }

    /// The rules of a body by the name of its schema.
    pub fn body_rules(&self, name: &str) -> Option<&jsonschema::Validator> {
        self.bodies.get(name)
    }

    /// Every operation.
    pub fn operations(&self) -> Vec<Operation> {
        let operations = each_operation(&self.document);
        operations
            .map(|(path, method, operation)| read_operation(path, method, operation))
            .collect()
    }
}

fn each_operation(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let operations =
        |(path, item)| entries(item).map(move |(method, operation)| (path, method, operation));
    entries(&document["paths"]).flat_map(operations)
}

/// The members of an object; none of anything else.
fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().map(Map::iter).into_iter().flatten()
}

fn read_operation(path: &str, method: &str, operation: &Value) -> Operation {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let parameters = list(&operation["parameters"]);
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        id: operation["operationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        secured: !list(&operation["security"]).is_empty(),
        takes_body: operation.get("requestBody").is_some(),
        parameters: parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
            .collect(),
    }
}

fn names_of_bodies(document: &Value) -> Vec<String> {
    let references = each_operation(document).filter_map(|(_, _, operation)| {
        operation
            .pointer("/requestBody/content/application~1json/schema/$ref")
            .and_then(Value::as_str)
    });
    references
        .filter_map(|reference| reference.rsplit('/').next().map(str::to_owned))
        .collect()
}

/// Says of a body's schema that unknown fields are refused, which poem-openapi does without saying so.
fn close(document: &mut Value, name: &str) {
    if let Some(schema) = document["components"]["schemas"][name].as_object_mut() {
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
}

/// Every POST that needs a key may be repeated: the server sees to it before the operation runs.
fn offer_idempotency(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let posts = paths.filter_map(|(_, item)| item.get_mut("post"));
    for post in posts.filter(|post| post.get("security").is_some()) {
        let parameter = json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": "Makes the request safe to repeat: for 24 hours, the same key with the same body is answered the \
                same, with 'Idempotency-Replayed: true', and has no second effect. With another body it is refused (422); \
                while the first one runs, too (409). What is shown only once is not shown again.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        });
        match post["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(parameter),
            None => post["parameters"] = json!([parameter]),
        }
    }
}

fn rules(document: &Value, name: &str) -> Result<jsonschema::Validator, ContractError> {
    let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
    jsonschema::validator_for(&schema).map_err(|error| ContractError::Schema {
        name: name.to_owned(),
        cause: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_contract_is_current() {
        let committed = include_str!("../../../manifests/openapi.json");
        let current = Contract::generate().unwrap().text().unwrap();
        assert!(
            committed == current,
            "manifests/openapi.json is out of date: run `make openapi`"
        );
    }

    /// What every operation must tell its readers.
    #[test]
    fn every_operation_is_described() {
        let contract = Contract::generate().unwrap();
        for (path, method, operation) in each_operation(contract.document()) {
            for member in ["operationId", "summary", "description"] {
                assert!(
                    operation[member]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                    "{method} {path}: {member}"
                );
            }
            assert!(
                operation["tags"]
                    .as_array()
                    .is_some_and(|tags| !tags.is_empty()),
                "{method} {path}: tags"
            );
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(
                    response["description"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                    "{method} {path}: {status}"
                );
                let problem = response["content"]
                    .get("application/problem+json")
                    .is_some();
                assert_eq!(
                    problem,
                    status.starts_with(['4', '5']),
                    "{method} {path}: {status}"
                );
            }
        }
    }

    #[test]
    fn tells_the_server_what_it_needs() {
        let operations = Contract::generate().unwrap().operations();
        let create = operations
            .iter()
            .find(|operation| operation.id == "createDatabase")
            .unwrap();
        assert!(create.secured && create.takes_body);
        let list = operations
            .iter()
            .find(|operation| operation.id == "listDatabases")
            .unwrap();
        assert_eq!(
            list.parameters,
            [
                "limit",
                "cursor",
                "status",
                "tier",
                "owner_team",
                "q",
                "created_from",
                "created_before"
            ]
        );
        assert!(
            !operations
                .iter()
                .find(|operation| operation.id == "getHealth")
                .unwrap()
                .secured
        );
    }
}
