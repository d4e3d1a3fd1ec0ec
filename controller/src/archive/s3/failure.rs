//! What an answer of an object store means. Pure.

use std::{error::Error, io, iter};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::archive::error::{Action, ArchiveError, Cause};

/// Codes that say that the credentials are wrong.
const CREDENTIALS: [&str; 8] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidSecurity",
    // versitygw says so of an access key that nobody has.
    "XAdminUserNotFound",
];
/// Codes that say that an object, a version or an upload is not there.
const ABSENT: [&str; 3] = ["NoSuchKey", "NoSuchVersion", "NoSuchUpload"];
/// Codes that say that a request is not known here.
const UNKNOWN: [&str; 4] = [
    "NotImplemented",
    "MethodNotAllowed",
    "UnsupportedOperation",
    "XNotImplemented",
];

/// Whether a store does not know this kind of request at all.
pub(super) fn is_unknown<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    code(error).is_some_and(|code| UNKNOWN.contains(&code))
}

/// Whether what was asked for is not there. Not every 404 says so: the bucket may be missing, or what else a store needs.
pub(super) fn is_absent<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    code(error).is_some_and(|code| ABSENT.contains(&code))
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
}

/// What went wrong.
pub(super) fn failure<E>(action: Action, error: &SdkError<E, HttpResponse>) -> ArchiveError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => ArchiveError::NoCredentials(Cause(told(error))),
        SdkError::DispatchFailure(_) if is_without_credentials(error) => {
            ArchiveError::NoCredentials(Cause(told(error)))
        }
        SdkError::DispatchFailure(_) if is_about_certificates(error) => {
            ArchiveError::Untrusted(Cause(told(error)))
        }
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => {
            ArchiveError::Unreachable(Cause(told(error)))
        }
        SdkError::ServiceError(context) => {
            let code = context.err().code().unwrap_or_default();
            answer(action, code, context.raw().status().as_u16())
        }
        _ => ArchiveError::Failed(action, Cause(told(error))),
    }
}

/// What an answer means, by its code and its status. What a store says in words is left out: it may repeat what it was
/// sent, the name of the access key included.
fn answer(action: Action, code: &str, status: u16) -> ArchiveError {
    let known: String = code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect();
    let cause = Cause(format!("{status} {known}"));
    match (code, status) {
        ("NoSuchBucket", _) => ArchiveError::NoBucket(cause),
        ("PermanentRedirect" | "TemporaryRedirect", _) | (_, 301 | 307 | 308) => {
            ArchiveError::Region(cause)
        }
        (code, _) if CREDENTIALS.contains(&code) => ArchiveError::BadCredentials(cause),
        (_, 401) => ArchiveError::BadCredentials(cause),
        (_, 403) => ArchiveError::Denied(action, cause),
        _ => ArchiveError::Failed(action, cause),
    }
}

/// An error and its causes in one line. They are about connections, and know of no credentials.
fn told(error: &(dyn Error + 'static)) -> String {
    crate::k8s::error::chain(error)
}

/// Whether nobody gave this process credentials: those of a role are asked for with the first request.
fn is_without_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<CredentialsError>())
}

/// Whether an error comes from the verification of a certificate.
fn is_about_certificates(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .find_map(|cause| cause.downcast_ref())
        .is_some_and(|tls| {
            matches!(
                tls,
                rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
            )
        })
}

/// An error and all behind it. Errors of input and output leave what they wrap out of their own chain.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&current| {
        let inner = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match inner {
            Some(inner) => Some(inner),
            None => current.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let reason = |code, status| answer(Action::Write, code, status).reason();
        assert_eq!(reason("NoSuchBucket", 404), "NoBucket");
        assert_eq!(reason("InvalidAccessKeyId", 403), "CredentialsRefused");
        assert_eq!(reason("SignatureDoesNotMatch", 403), "CredentialsRefused");
        assert_eq!(reason("AccessDenied", 403), "Denied");
        assert_eq!(reason("", 301), "OtherRegion");
        assert_eq!(reason("SlowDown", 503), "StoreFailed");
        assert_eq!(reason("", 500), "StoreFailed");
    }

    #[test]
    fn certificates_are_found_behind_errors_of_input_and_output() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = io::Error::other(io::Error::other(tls));
        assert!(is_about_certificates(&error));
        assert!(!is_about_certificates(&io::Error::other("refused")));
    }
}
