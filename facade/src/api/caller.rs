//! Who asks, as an argument of an operation.
//!
//! An operation with a [`Caller`] needs a key: the contract says so, and the server reads it there and lets nobody
//! through without one. The key itself has been checked before the operation runs.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};
use uuid::Uuid;

use crate::domain::{actor::Actor, failure::Failure};

const SCHEME: &str = "apiKey";

/// Who asks, and the audit intent of the call.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who asks.
    pub actor: Actor,
    /// Binds what the call makes to its rows in the audit log.
    pub intent: Uuid,
}

impl<'a> ApiExtractor<'a> for Caller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some(
                    "An API key of your team, sent as 'Authorization: Bearer <key>'.",
                ),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: Some("DAAP API key"),
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let caller = request.data::<Self>().cloned();
        caller.ok_or_else(|| {
            super::problem::error(Failure::internal(
                "an operation ran before its caller was known",
            ))
        })
    }
}
