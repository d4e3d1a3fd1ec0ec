//! The OpenAPI document, and what the server reads from it: which operations there are, which of them need a key,
//! which query parameters each one knows, and the schemas of bodies. Pure.
//!
//! poem-openapi writes what the operations say of themselves. What is the same for all of them is added here, so that
//! nobody has to repeat it: [`answers`], [`bounds`], [`examples`]; [`tidy`] brings it into the usual spelling.

mod answers;
mod bounds;
mod examples;
#[cfg(test)]
mod tests;
mod tidy;
mod walk;

use std::collections::{BTreeSet, HashMap};

use poem_openapi::{ContactObject, LicenseObject, OpenApiService};
use serde_json::{Value, json};
use thiserror::Error;

pub(crate) use self::tidy::without_charset;
use self::walk::{elements, operations, schema_name};
use super::{
    audit::Audit, backups::Backups, databases::Databases, destruction::Destructions,
    history::Histories, keys::Keys, merge_patch::MERGE_PATCH, operations::Operations,
    patch_schema::make_patch, quotas::Quotas, restore::Restores, system::System, tiers::Tiers,
};

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
    patches: HashMap<String, jsonschema::Validator>,
}

/// Every group of operations.
type Everything = (
    (
        Databases,
        Destructions,
        Backups,
        Restores,
        Operations,
        Histories,
    ),
    (Tiers, Quotas, Keys, Audit, System),
);

/// The operations, and what the contract says about all of them.
pub(super) fn openapi_service() -> OpenApiService<Everything, ()> {
    let operations = (
        (
            Databases,
            Destructions,
            Backups,
            Restores,
            Operations,
            Histories,
        ),
        (Tiers, Quotas, Keys, Audit, System),
    );
    OpenApiService::new(operations, "DAAP", "1.0.0")
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
        let whole: Value = serde_json::from_str(&openapi_service().spec())?;
        let document = completed(with_patches(whole.clone()));
        // What comes of a patch is judged by the schema of the thing itself, which the document has no more.
        let whole = completed(whole);
        Ok(Self {
            bodies: rules(&whole, names_of_bodies(&whole, |_| true))?,
            patches: rules(&document, names_of_bodies(&document, is_patch))?,
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

    /// The rules of a merge patch, by the name of the schema of what it changes.
    pub fn patch_rules(&self, name: &str) -> Option<&jsonschema::Validator> {
        self.patches.get(name)
    }

    /// Every operation.
    pub fn operations(&self) -> Vec<Operation> {
        operations(&self.document)
            .map(|(path, method, operation)| read_operation(path, method, operation))
            .collect()
    }
}

fn is_patch(media_type: &str) -> bool {
    media_type == MERGE_PATCH
}

/// The document with the schemas of merge patches in the place of those of what they change.
fn with_patches(mut document: Value) -> Value {
    let patched = names_of_bodies(&document, is_patch);
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        for name in &patched {
            make_patch(schemas, name);
        }
    }
    document
}

fn completed(mut document: Value) -> Value {
    // The service runs inside of the organisation whose teams use it.
    document["servers"][0]["x-internal"] = json!(true);
    answers::state(&mut document);
    tidy::tidy(&mut document);
    bounds::state(&mut document);
    examples::add(&mut document);
    document
}

fn read_operation(path: &str, method: &str, operation: &Value) -> Operation {
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        id: operation["operationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        secured: elements(&operation["security"]).next().is_some(),
        takes_body: operation.get("requestBody").is_some(),
        parameters: elements(&operation["parameters"])
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
            .collect(),
    }
}

/// The schemas of the bodies in the media types that `is_meant`.
fn names_of_bodies(document: &Value, is_meant: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let contents = operations(document)
        .flat_map(|(_, _, operation)| walk::entries(&operation["requestBody"]["content"]));
    let schemas = contents
        .filter(|(media_type, _)| is_meant(media_type))
        .filter_map(|(_, content)| schema_name(&content["schema"]["$ref"]));
    schemas.map(str::to_owned).collect()
}

/// The rules of schemas, by name.
fn rules(
    document: &Value,
    names: BTreeSet<String>,
) -> Result<HashMap<String, jsonschema::Validator>, ContractError> {
    let compiled = names.into_iter().map(|name| {
        let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
        // An instant without an offset is none: formats are rules too.
        match jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
        {
            Ok(rules) => Ok((name, rules)),
            Err(error) => Err(ContractError::Schema {
                name,
                cause: error.to_string(),
            }),
        }
    });
    compiled.collect()
}
