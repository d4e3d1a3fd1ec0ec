//! What can go wrong with a call to the API server. Pure.

use std::time::Duration;

use kube::core::Status;
use thiserror::Error;

/// Why a call had no success.
#[derive(Debug, Error)]
pub enum CallError {
    /// The API server took too long.
    #[error("no answer from the API server within {0:?}")]
    Deadline(Duration),
    /// Another replica leads, so this one may not write.
    #[error("this replica does not lead and may not write")]
    NotLeader,
    /// The API server answered with an error, or could not be reached.
    #[error("the API server could not be asked or refused")]
    Api(#[source] Box<kube::Error>),
    /// An object could not be written as JSON.
    #[error("an object cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

impl CallError {
    /// The API server's own account of the error.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(error) => match error.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether someone else wrote in between. Reading again is all that is needed.
    pub fn is_conflict(&self) -> bool {
        self.status()
            .is_some_and(|status| status.is_conflict() || status.is_already_exists())
    }

    /// Whether the API server, a schema or an admission webhook says that the object itself is wrong.
    pub fn is_refusal(&self) -> bool {
        self.status().is_some_and(|status| {
            matches!(status.code, 400 | 422)
                || (status.code == 403 && status.message.contains("denied the request"))
        })
    }

    /// Whether the API server could not reach an admission webhook, such as the one of CloudNativePG.
    pub fn is_webhook_failure(&self) -> bool {
        self.status().is_some_and(|status| {
            status.code == 500 && status.message.contains("failed calling webhook")
        })
    }

    /// The error and its causes in one line, for logs.
    pub fn chain(&self) -> String {
        chain(self)
    }

    /// A short stable word for metrics and Events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Deadline(_) => "Deadline",
            Self::NotLeader => "NotLeader",
            Self::Json(_) => "Json",
            Self::Api(_) if self.is_conflict() => "Conflict",
            Self::Api(_) if self.is_webhook_failure() => "Webhook",
            Self::Api(_) if self.is_refusal() => "Refused",
            Self::Api(_) if self.status().is_some_and(|status| status.code == 403) => "Forbidden",
            Self::Api(_) if self.status().is_some_and(|status| status.code == 404) => "NotFound",
            Self::Api(_) if self.status().is_some() => "ApiServer",
            Self::Api(error) if matches!(error.as_ref(), kube::Error::SerdeError(_)) => {
                "Unreadable"
            }
            Self::Api(_) => "Connection",
        }
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, reason: &str, message: &str) -> CallError {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed()).into()
    }

    #[test]
    fn categories() {
        assert_eq!(
            answer(409, "Conflict", "uid mismatch").category(),
            "Conflict"
        );
        assert_eq!(
            answer(409, "AlreadyExists", "exists").category(),
            "Conflict"
        );
        assert_eq!(
            answer(422, "Invalid", "spec.storage: too small").category(),
            "Refused"
        );
        assert_eq!(
            answer(
                403,
                "Forbidden",
                "admission webhook \"v\" denied the request: no"
            )
            .category(),
            "Refused"
        );
        assert_eq!(
            answer(403, "Forbidden", "user cannot patch").category(),
            "Forbidden"
        );
        assert_eq!(
            answer(500, "InternalError", "failed calling webhook \"v\": EOF").category(),
            "Webhook"
        );
        assert_eq!(
            answer(503, "ServiceUnavailable", "later").category(),
            "ApiServer"
        );
        assert_eq!(
            CallError::Deadline(Duration::from_secs(1)).category(),
            "Deadline"
        );
    }
}
