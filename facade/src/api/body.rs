//! A JSON body, judged by the contract.
//!
//! The schemas that clients read are the ones that bodies are checked against, so that every mistake is told at once
//! and by field. A wrong shape is malformed (400); a right shape with a value that breaks a rule is invalid (422).

use std::sync::Arc;

use jsonschema::{ValidationError, error::ValidationErrorKind};
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{ParseFromJSON, Type},
};
use serde_json::Value;

use super::{contract::Contract, pattern, problem};
use crate::domain::failure::{Code, Failure, FieldError};

/// The media type of a body.
pub const JSON: &str = "application/json";

/// A JSON body.
pub struct Body<T>(pub T);

impl<'a, T: ParseFromJSON + Type> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType {
            content_type: JSON,
            schema: T::schema_ref(),
        }];
        Some(MetaRequest {
            description: None,
            content,
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let value = read(request, body, &[JSON]).await?;
        let contract = contract(request).map_err(problem::error)?;
        parse(contract, value).map(Self).map_err(problem::error)
    }
}

/// The JSON of a body in one of these media types.
pub async fn read(
    request: &Request,
    body: &mut RequestBody,
    accepted: &[&str],
) -> poem::Result<Value> {
    check_content_type(request.content_type(), accepted).map_err(problem::error)?;
    let bytes = body.take()?.into_vec().await.map_err(poem::Error::from)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        problem::error(Failure::malformed(
            format!("The body is not JSON: {error}."),
            Vec::new(),
        ))
    })
}

/// The contract that a request is judged by.
pub fn contract(request: &Request) -> Result<&Arc<Contract>, Failure> {
    let contract = request.data::<Arc<Contract>>();
    contract.ok_or_else(|| Failure::internal("an operation ran without its contract"))
}

fn check_content_type(content_type: Option<&str>, accepted: &[&str]) -> Result<(), Failure> {
    let essence = content_type
        .and_then(|text| text.split(';').next())
        .unwrap_or_default()
        .trim();
    if accepted
        .iter()
        .any(|accepted| essence.eq_ignore_ascii_case(accepted))
    {
        return Ok(());
    }
    Err(Failure::new(
        Code::UnsupportedMediaType,
        format!("Send the body as '{}'.", accepted.join("' or '")),
    ))
}

/// The thing that a JSON value says, when it fits the contract.
pub fn parse<T: ParseFromJSON>(contract: &Contract, value: Value) -> Result<T, Failure> {
    let value = without_nulls(value);
    let rules = contract
        .body_rules(&T::name())
        .ok_or_else(|| Failure::internal("a body has no schema in the contract"))?;
    judge(rules.iter_errors(&value))?;
    T::parse_from_json(Some(value))
        .map_err(|error| Failure::malformed(error.into_message(), Vec::new()))
}

/// A field that is null is a field that is not there.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
        for field in fields.values_mut() {
            *field = without_nulls(field.take());
        }
    }
    value
}

/// Tells every mistake at once.
pub fn judge<'a>(errors: impl Iterator<Item = ValidationError<'a>>) -> Result<(), Failure> {
    let (mut shape, mut rules) = (Vec::new(), Vec::new());
    for error in errors {
        let at = error.instance_path().to_string();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                shape.extend(
                    unexpected
                        .iter()
                        .map(|name| FieldError::new(child(&at, name), "is not a known field")),
                );
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                shape.push(FieldError::new(child(&at, name), "is required"));
            }
            ValidationErrorKind::Type { .. } => {
                shape.push(FieldError::new(at, "has the wrong type"))
            }
            ValidationErrorKind::Pattern { pattern } => {
                rules.push(FieldError::new(at, pattern::in_words(pattern)))
            }
            ValidationErrorKind::MaxLength { limit } => {
                rules.push(FieldError::new(
                    at,
                    format!("must have at most {limit} characters"),
                ));
            }
            ValidationErrorKind::MinLength { limit } => {
                rules.push(FieldError::new(
                    at,
                    format!("must have at least {limit} characters"),
                ));
            }
            ValidationErrorKind::Minimum { limit } => {
                rules.push(FieldError::new(at, format!("must be at least {limit}")))
            }
            ValidationErrorKind::Maximum { limit } => {
                rules.push(FieldError::new(at, format!("must be at most {limit}")))
            }
            ValidationErrorKind::Enum { options } => {
                let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
                let words: Vec<_> = options.iter().filter_map(Value::as_str).collect();
                rules.push(FieldError::new(
                    at,
                    format!("must be one of: {}", words.join(", ")),
                ))
            }
            ValidationErrorKind::Format { format } if format == "date-time" => {
                rules.push(FieldError::new(
                    at,
                    "must be an instant in RFC 3339 with an offset, such as '2026-03-09T10:15:00Z'",
                ));
            }
            _ => rules.push(FieldError::new(at, error.masked_with("it").to_string())),
        }
    }
    if !shape.is_empty() {
        return Err(Failure::malformed(
            "The body does not have the expected fields; see 'errors'.",
            shape,
        ));
    }
    if rules.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid(rules))
    }
}

/// The pointer to a field of what `at` points to.
fn child(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::databases::NewDatabase;

    fn failure_of(body: &str) -> (Code, Vec<String>) {
        let value = serde_json::from_str(body).unwrap();
        let failure = parse::<NewDatabase>(&Contract::generate().unwrap(), value)
            .map(|_| ())
            .unwrap_err();
        let mut pointers: Vec<_> = failure
            .errors
            .into_iter()
            .map(|error| error.pointer)
            .collect();
        pointers.sort();
        (failure.code, pointers)
    }

    #[test]
    fn every_mistake_is_told_by_field() {
        let pointers = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(failure_of("[]"), (Code::MalformedBody, pointers(&[""])));
        assert_eq!(
            failure_of(r#"{"size": 3, "a/b": 1}"#),
            (
                Code::MalformedBody,
                pointers(&["/a~1b", "/name", "/size", "/tier"])
            )
        );
        assert_eq!(
            failure_of(r#"{"name": 3, "tier": "dev"}"#),
            (Code::MalformedBody, pointers(&["/name"]))
        );
        assert_eq!(
            failure_of(r#"{"name": "Orders", "tier": "Dev"}"#),
            (Code::InvalidFields, pointers(&["/name", "/tier"]))
        );
    }

    #[test]
    fn null_is_absent() {
        let contract = Contract::generate().unwrap();
        let new: NewDatabase = parse(
            &contract,
            serde_json::json!({"name": "orders", "tier": "dev", "purpose": null}),
        )
        .unwrap();
        assert_eq!(new.purpose, None);
    }

    #[test]
    fn only_json_is_taken() {
        assert!(check_content_type(Some("application/json; charset=utf-8"), &[JSON]).is_ok());
        for other in [
            None,
            Some("application/xml"),
            Some("text/plain"),
            Some("application/jsonp"),
        ] {
            assert!(check_content_type(other, &[JSON]).is_err(), "{other:?}");
        }
    }
}
