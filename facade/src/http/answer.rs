//! Responses: what an operation answered, or the problem document of what failed. Pure.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use poem::error::{MethodNotAllowedError, NotFoundError};
use poem_openapi::{
    error::{ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError},
    types::ToJSON as _,
};

use crate::{
    api::{
        contract::without_charset,
        problem::{CONTENT_TYPE, Problem, status},
    },
    domain::failure::{Code, Failure},
};

/// A whole answer.
pub type Answer = Response<Full<Bytes>>;

/// What an operation answered.
pub async fn from_poem(response: poem::Response) -> Result<Answer, Failure> {
    let (parts, body) = response.into_parts();
    let bytes = body.into_bytes().await.map_err(Failure::internal)?;
    let mut answer = Response::new(Full::new(bytes));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    state_json_plainly(answer.headers_mut());
    Ok(answer)
}

/// Answers in JSON have the media type that the contract states.
fn state_json_plainly(headers: &mut HeaderMap) {
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value
            .to_str()
            .is_ok_and(|text| without_charset(text) == "application/json")
    });
    if json {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
}

/// The problem document of a failure.
pub fn from_failure(failure: &Failure, request_id: &str) -> Answer {
    let document = Problem::new(failure, request_id)
        .to_json()
        .unwrap_or_default()
        .to_string();
    let mut answer = Response::new(Full::new(Bytes::from(document)));
    *answer.status_mut() =
        StatusCode::from_u16(status(failure.code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if let Some(wait) = failure.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    if failure.code == Code::Unauthenticated {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"daap\""),
        );
    }
    answer
}

/// The failure behind an error of the framework: ours on its way out, or one of the framework's own.
pub fn failure_of(error: poem::Error) -> Failure {
    let error = match error.downcast::<Failure>() {
        Ok(failure) => return failure,
        Err(error) => error,
    };
    if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
        return Failure::parameter(name, reason.clone());
    }
    if let Some(ParseRequestPayloadError { reason }) = error.downcast_ref() {
        return Failure::malformed(reason.clone(), Vec::new());
    }
    if error.is::<ParsePathError>() || error.is::<NotFoundError>() {
        return Failure::new(Code::NotFound, "There is nothing at this path.");
    }
    if error.is::<MethodNotAllowedError>() {
        return Failure::new(
            Code::MethodNotAllowed,
            "This path does not answer to this method.",
        );
    }
    if error.is::<ContentTypeError>() {
        return Failure::new(
            Code::UnsupportedMediaType,
            "The body is not in an accepted media type.",
        );
    }
    if error.status().is_client_error() {
        return Failure::malformed("The request cannot be understood.", Vec::new());
    }
    Failure::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_framework_keep_their_meaning() {
        let code = |error: poem::Error| failure_of(error).code;
        assert_eq!(
            code(
                ParseParamError {
                    name: "limit",
                    reason: "no number".to_owned()
                }
                .into()
            ),
            Code::InvalidParameter
        );
        assert_eq!(code(NotFoundError.into()), Code::NotFound);
        assert_eq!(code(MethodNotAllowedError.into()), Code::MethodNotAllowed);
        assert_eq!(
            code(ContentTypeError::ExpectContentType.into()),
            Code::UnsupportedMediaType
        );
        assert_eq!(
            code(poem::Error::from_status(StatusCode::IM_A_TEAPOT)),
            Code::MalformedBody
        );
        assert_eq!(
            code(poem::Error::from_status(StatusCode::BAD_GATEWAY)),
            Code::Internal
        );
    }
}
