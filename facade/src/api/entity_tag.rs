//! `ETag` in answers, `If-Match` and `If-None-Match` in requests. What they mean is decided in
//! [`crate::domain::entity_tag`].
//!
//! ```ignore
//! async fn patch(&self, …, /// Change it only …
//!     #[oai(name = "If-Match")] if_match: Condition) -> …     // if_match.0: Option<EntityTags>
//!
//! #[oai(status = 200)]
//! Found(Json<Thing>, /// The tag of this state. …
//!     #[oai(header = "ETag")] EntityTag),
//! ```

use std::borrow::Cow;

use http::HeaderValue;
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchema, MetaSchemaRef},
    types::{ToHeader, Type},
};

use super::problem;
use crate::domain::{
    entity_tag::{EntityTag, EntityTags},
    failure::{Code, Failure, FieldError},
};

/// The pattern of a tag, which the contract states.
const TAG: &str = r#"^"[0-9]+-[0-9A-Za-z]+"$"#;
/// The pattern of a condition, which the contract states.
const CONDITION: &str = r#"^(\*|(W/)?"[^"]*"( *, *(W/)?"[^"]*")*)$"#;
/// The longest condition.
const MAX_LENGTH: usize = 1000;

impl Type for EntityTag {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "string_entity-tag".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        text(TAG, 60)
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        Some(self)
    }

    fn raw_element_iter<'a>(
        &'a self,
    ) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ToHeader for EntityTag {
    fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.to_string()).ok()
    }
}

/// The value of `If-Match` or `If-None-Match`, whichever the operation names.
pub struct Condition(pub Option<EntityTags>);

impl Condition {
    /// Whether the caller says in `If-None-Match` that it has this state already.
    pub fn says_known(&self, current: Option<&EntityTag>) -> bool {
        let known = self.0.as_ref().zip(current);
        known.is_some_and(|(tags, current)| tags.include(current))
    }
}

impl<'a> ApiExtractor<'a> for Condition {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = false;
    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(text(CONDITION, MAX_LENGTH))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let values = request.headers().get_all(options.name).iter();
        let lines: Result<Vec<_>, _> = values.map(HeaderValue::to_str).collect();
        let lines = lines.map_err(|_| problem::error(unusable(options.name)))?;
        if lines.is_empty() {
            return Ok(Self(None));
        }
        let value = lines.join(",");
        if value.len() > MAX_LENGTH {
            return Err(problem::error(unusable(options.name)));
        }
        EntityTags::parse(&value)
            .map(|tags| Self(Some(tags)))
            .map_err(|_| problem::error(unusable(options.name)))
    }
}

fn text(pattern: &str, max_length: usize) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(MetaSchema {
        pattern: Some(pattern.to_owned()),
        max_length: Some(max_length),
        ..MetaSchema::new("string")
    }))
}

fn unusable(header: &str) -> Failure {
    let detail = crate::domain::entity_tag::NotEntityTags.to_string();
    Failure {
        errors: vec![FieldError::new(header, detail)],
        ..Failure::new(
            Code::InvalidParameter,
            format!("The header '{header}' cannot be used; see 'errors'."),
        )
    }
}
