//! The answer of everything that fails: a problem document (RFC 9457). Pure.
//!
//! [`error`] carries a failure out of an operation; the server turns it into a response at the last step, where the
//! request id is known. [`problems!`] states in the contract which statuses an operation answers that way.

use daap_crds::cost::Excess;
use poem_openapi::{
    Object,
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaSchema, MetaSchemaRef},
    types::{ToJSON as _, Type as _},
};
use serde_json::Value;

use super::{
    amount::{Decimal, QuotaResource},
    databases::DatabaseStatus,
    date_time::DateTime,
};
use crate::domain::{
    failure::{Bounds, Code, Failure, FieldError},
    quota,
};

/// The bounds that the contract states below: attributes take literals only.
const MAX_ERRORS: usize = 1000;
const MAX_POINTER: usize = 1000;
const MAX_DETAIL: usize = 4000;

/// The media type of problem documents.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong, as described by RFC 9457.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Problem {
    /// Identifies the kind of problem, as a reference relative to this service.
    #[oai(
        rename = "type",
        validator(max_length = 100, pattern = "^/problems/[a-z-]+$")
    )]
    pub kind: String,
    /// The kind of problem in words, the same each time.
    #[oai(validator(max_length = 100))]
    pub title: String,
    /// The HTTP status.
    #[oai(validator(minimum(value = "400"), maximum(value = "599")))]
    pub status: i32,
    /// What went wrong this time.
    #[oai(validator(max_length = 4000))]
    pub detail: String,
    /// A stable code for programs.
    #[oai(validator(max_length = 60, pattern = "^[a-z-]+$"))]
    pub code: String,
    /// Identifies the request in the logs of the service. Give it to the platform team when you ask for help.
    #[oai(validator(max_length = 128))]
    pub request_id: String,
    /// What is wrong, field by field.
    #[oai(validator(max_items = 1000))]
    pub errors: Option<Vec<FieldProblem>>,
    /// The databases that stand in the way: how many have each status.
    #[oai(validator(max_items = 6))]
    pub databases: Option<Vec<StatusCount>>,
    /// The tier whose quota has no room.
    #[oai(validator(max_length = 40))]
    pub tier: Option<String>,
    /// Every limit of the quota that would be exceeded.
    #[oai(validator(max_items = 4))]
    pub exceeded: Option<Vec<ExceededLimit>>,
    /// What can be restored, when something else was asked for.
    pub window: Option<RestorableWindow>,
}

/// The instants of a database that can be restored: all between these, both included.
#[derive(Debug, Clone, Object)]
pub struct RestorableWindow {
    /// The first.
    pub from: DateTime,
    /// The last.
    pub until: DateTime,
}

/// How many databases have a status.
#[derive(Debug, Clone, Object)]
pub struct StatusCount {
    /// The status.
    pub status: DatabaseStatus,
    /// How many have it.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub count: i32,
}

/// What is wrong with one field of the body, or with one query parameter or header.
#[derive(Debug, Clone, Object)]
pub struct FieldProblem {
    /// The field, as a JSON pointer (RFC 6901) into the body; or a query parameter, as its name after '?'; or a header, as its name.
    #[oai(validator(max_length = 1000))]
    pub pointer: String,
    /// What is wrong and what would be right.
    #[oai(validator(max_length = 4000))]
    pub detail: String,
}

/// A limit of a quota that would be exceeded. All numbers are in the unit that the name of the resource ends with.
#[derive(Debug, Clone, Object)]
pub struct ExceededLimit {
    /// What is limited, named like in the quota.
    pub resource: QuotaResource,
    /// The limit.
    pub limit: Decimal,
    /// What the databases of the tier have already.
    pub used: Decimal,
    /// What was asked for.
    pub requested: Decimal,
    /// What is left.
    pub remaining: Decimal,
}

impl Problem {
    /// The document that tells of a failure.
    pub fn new(failure: &Failure, request_id: &str) -> Self {
        let errors = failure
            .errors
            .iter()
            .take(MAX_ERRORS)
            .map(|error| FieldProblem {
                pointer: printable(&error.pointer, MAX_POINTER),
                detail: printable(&error.detail, MAX_DETAIL),
            });
        let (refusal, window) = match failure.bounds.as_deref() {
            Some(Bounds::Quota(refusal)) => (Some(refusal), None),
            Some(Bounds::Window { from, until }) => {
                let (from, until) = (DateTime(*from), DateTime(*until));
                (None, Some(RestorableWindow { from, until }))
            }
            None => (None, None),
        };
        let databases = failure.databases.iter().map(|(phase, count)| StatusCount {
            status: (*phase).into(),
            count: i32::try_from(*count).unwrap_or(i32::MAX),
        });
        Self {
            kind: format!("/problems/{}", failure.code.as_str()),
            title: failure.code.title().to_owned(),
            status: i32::from(status(failure.code)),
            detail: printable(&failure.detail, MAX_DETAIL),
            code: failure.code.as_str().to_owned(),
            request_id: request_id.to_owned(),
            errors: (!failure.errors.is_empty()).then(|| errors.collect()),
            databases: (!failure.databases.is_empty()).then(|| databases.collect()),
            tier: refusal.map(|refusal| refusal.tier.clone()),
            exceeded: refusal.map(|refusal| refusal.exceeded.iter().map(Into::into).collect()),
            window,
        }
    }
}

impl From<&Excess> for ExceededLimit {
    fn from(excess: &Excess) -> Self {
        let decimal = |amount| Decimal(quota::number(excess.resource, amount));
        Self {
            resource: excess.resource.into(),
            limit: decimal(excess.limit),
            used: decimal(excess.used),
            requested: decimal(excess.requested),
            remaining: decimal(excess.remaining()),
        }
    }
}

/// Text that may repeat what a client sent, within what the contract says of it.
fn printable(text: &str, max_length: usize) -> String {
    let is_text = |letter: char| !letter.is_control() || "\t\n\r".contains(letter);
    text.chars()
        .take(max_length)
        .map(|letter| if is_text(letter) { letter } else { '\u{fffd}' })
        .collect()
}

/// The HTTP status of a code.
pub const fn status(code: Code) -> u16 {
    match code {
        Code::MalformedBody | Code::MalformedRequest | Code::InvalidParameter => 400,
        Code::Unauthenticated => 401,
        Code::Forbidden => 403,
        Code::NotFound => 404,
        Code::MethodNotAllowed => 405,
        Code::BodyTimeout => 408,
        Code::NameTaken
        | Code::NamespaceConflict
        | Code::TierInUse
        | Code::BeingDeleted
        | Code::RequestRunning
        | Code::LastPlatformKey
        | Code::DeletionProtected
        | Code::WrongState
        | Code::NoBackup
        | Code::NothingRestorable => 409,
        Code::PreconditionFailed => 412,
        Code::BodyTooLarge => 413,
        Code::UnsupportedMediaType => 415,
        Code::InvalidFields
        | Code::IdempotencyKeyReused
        | Code::QuotaExceeded
        | Code::OutsideWindow => 422,
        Code::RateLimited => 429,
        Code::HeaderTooLarge => 431,
        Code::Internal => 500,
        Code::Unavailable => 503,
    }
}

/// A failure on its way out of an operation.
pub fn error(failure: Failure) -> poem::Error {
    let status = http::StatusCode::from_u16(status(failure.code)).unwrap_or_default();
    poem::Error::new(failure, status)
}

/// How the contract describes the failures that are answered with these statuses.
pub fn responses(statuses: &[u16]) -> Vec<MetaResponse> {
    statuses
        .iter()
        .map(|status| MetaResponse {
            description: description(*status),
            status: Some(*status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: CONTENT_TYPE,
                schema: Problem::schema_ref(),
            }],
            headers: headers(*status),
        })
        .collect()
}

/// How the contract describes the failures that are answered with a status, as JSON.
pub fn response(status: u16) -> Value {
    let response = responses(&[status]).pop();
    response
        .and_then(|response| serde_json::to_value(response).ok())
        .unwrap_or_default()
}

/// A problem document as it may be answered with a status. Absent: nothing is answered with it.
pub fn example(status: u16) -> Option<Value> {
    let code = Code::ALL
        .into_iter()
        .find(|code| self::status(*code) == status)?;
    let errors = match status {
        400 => vec![FieldError::new("?limit", "must be at most 200")],
        422 => vec![FieldError::new("/tier", "there is no such tier")],
        _ => Vec::new(),
    };
    let failure = Failure {
        errors,
        ..Failure::new(code, description(status))
    };
    Problem::new(&failure, "0198f3a2-5b7c-7d10-9a44-3f0f6f0b6c11").to_json()
}

const fn description(status: u16) -> &'static str {
    match status {
        400 => "The request is malformed, or a parameter is unknown or has no usable value.",
        401 => "No valid API key was sent.",
        403 => "The role of the key, or its team, does not allow this.",
        404 => "There is no such thing, or it belongs to another team.",
        408 => "The body did not arrive in time.",
        409 => "This conflicts with something that exists.",
        412 => "It is not in the state that 'If-Match' names.",
        413 => "The body is larger than 1 MiB.",
        415 => "The body is not in an accepted media type.",
        422 => "One or more fields break a rule, or the quota has no room.",
        429 => "Too many requests in a short time.",
        503 => {
            "Something that is needed does not answer at the moment. Nothing was done, or what was done is kept: try again."
        }
        _ => "A mistake on the side of the service.",
    }
}

fn headers(status: u16) -> Vec<MetaHeader> {
    let header = |name: &str, description: &str, schema| MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(schema)),
    };
    match status {
        401 => {
            let schema = MetaSchema {
                max_length: Some(100),
                ..MetaSchema::new("string")
            };
            vec![header("WWW-Authenticate", "How to authenticate.", schema)]
        }
        429 | 503 => {
            let schema = MetaSchema {
                minimum: Some(0.0),
                maximum: Some(3600.0),
                ..MetaSchema::new_with_format("integer", "int32")
            };
            vec![header(
                "Retry-After",
                "After how many seconds it makes sense to try again.",
                schema,
            )]
        }
        _ => Vec::new(),
    }
}

/// Defines the failures of one operation, with the statuses that the contract lists for it.
macro_rules! problems {
    ($(#[$doc:meta])* $name:ident: $($status:literal)+) => {
        $(#[$doc])*
        pub struct $name($crate::domain::failure::Failure);

        impl From<$crate::domain::failure::Failure> for $name {
            fn from(failure: $crate::domain::failure::Failure) -> Self {
                Self(failure)
            }
        }

        impl From<$name> for poem::Error {
            fn from($name(failure): $name) -> Self {
                $crate::api::problem::error(failure)
            }
        }

        impl poem_openapi::ApiResponse for $name {
            fn meta() -> poem_openapi::registry::MetaResponses {
                poem_openapi::registry::MetaResponses { responses: $crate::api::problem::responses(&[$($status),+]) }
            }

            fn register(registry: &mut poem_openapi::registry::Registry) {
                <$crate::api::problem::Problem as poem_openapi::types::Type>::register(registry);
            }
        }
    };
}
pub(crate) use problems;

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, so that a change of a published status shows as a change of a line.
    #[test]
    fn statuses() {
        let table = Code::ALL
            .map(|code| format!("{} {} {}", status(code), code.as_str(), code.title()))
            .join("\n");
        insta::assert_snapshot!(table, @r"
        401 unauthenticated A valid API key is required
        403 forbidden Not allowed
        404 not-found Not found
        405 method-not-allowed Method not allowed
        415 unsupported-media-type Unsupported media type
        413 body-too-large Body too large
        408 body-timeout Body not received in time
        400 malformed-body Malformed body
        400 malformed-request Malformed request
        431 header-too-large Header too large
        400 invalid-parameter Invalid parameter
        422 invalid-fields Invalid fields
        429 rate-limited Too many requests
        409 name-taken Name taken
        409 namespace-conflict Namespace not usable
        409 tier-in-use Tier in use
        409 being-deleted Being deleted
        409 deletion-protected Protected from deletion
        409 wrong-state Not possible in this state
        409 no-backup No backup
        409 nothing-restorable Nothing to restore yet
        422 outside-restore-window Outside of what can be restored
        412 precondition-failed Changed meanwhile
        409 request-running Request already running
        422 idempotency-key-reused Idempotency key reused
        409 last-platform-key Last platform key
        422 quota-exceeded Quota exceeded
        503 unavailable Temporarily unavailable
        500 internal Internal error
        ");
    }

    #[test]
    fn repeats_what_a_client_sent_as_text() {
        let pointer = format!("/a\u{7}{}", "b".repeat(2 * MAX_POINTER));
        let failure =
            Failure::invalid(vec![FieldError::new(pointer, "two\nlines"); MAX_ERRORS + 1]);
        let errors = Problem::new(&failure, "id").errors.unwrap();
        assert_eq!(errors.len(), MAX_ERRORS);
        assert_eq!(errors[0].pointer.chars().count(), MAX_POINTER);
        assert!(errors[0].pointer.starts_with("/a\u{fffd}bb"));
        assert_eq!(errors[0].detail, "two\nlines");
    }

    #[test]
    fn never_tells_the_cause() {
        let failure = Failure::unavailable(
            "The metadata database",
            "password of daap refused at 10.0.0.7",
        );
        let problem = format!("{:?}", Problem::new(&failure, "id"));
        assert!(!problem.contains("10.0.0.7"), "{problem}");
    }
}
