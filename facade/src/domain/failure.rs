//! Why something was not done, in words for the caller and, apart from them, a cause for the log. Pure, and free of
//! transport: which HTTP status a [`Code`] has is said at the edge.

use std::{error::Error, fmt, time::Duration};

use daap_crds::Phase;
use jiff::Timestamp;

use super::quota::Refusal;

/// A stable code. Once published, it keeps its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// No key, or none that is valid.
    Unauthenticated,
    /// The role does not allow it.
    Forbidden,
    /// No such thing, or none that the caller may know of.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is in a format that is not accepted.
    UnsupportedMediaType,
    /// The body is too large.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTimeout,
    /// It is no HTTP request.
    MalformedRequest,
    /// The request has too much header.
    HeaderTooLarge,
    /// The body is no JSON of the expected shape.
    MalformedBody,
    /// A parameter is unknown or has no usable value.
    InvalidParameter,
    /// Fields break rules.
    InvalidFields,
    /// The key has sent too many requests.
    RateLimited,
    /// Something of that name exists.
    NameTaken,
    /// The team's namespace exists and is not DAAP's.
    NamespaceConflict,
    /// Databases need the tier.
    TierInUse,
    /// It is being deleted.
    BeingDeleted,
    /// It is protected from deletion.
    DeletionProtected,
    /// It is in a state in which that cannot be done.
    WrongState,
    /// The tier has no backup.
    NoBackup,
    /// There is nothing yet that could be restored.
    NothingRestorable,
    /// The instant is not among those that can be restored.
    OutsideWindow,
    /// The thing is not in the state that the request names.
    PreconditionFailed,
    /// The same request is being worked on.
    RequestRunning,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// Without this platform key there would be none that works.
    LastPlatformKey,
    /// The quota of the tier has no room.
    QuotaExceeded,
    /// Something that is needed does not answer.
    Unavailable,
    /// A mistake of ours.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 29] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UnsupportedMediaType,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::MalformedBody,
        Self::MalformedRequest,
        Self::HeaderTooLarge,
        Self::InvalidParameter,
        Self::InvalidFields,
        Self::RateLimited,
        Self::NameTaken,
        Self::NamespaceConflict,
        Self::TierInUse,
        Self::BeingDeleted,
        Self::DeletionProtected,
        Self::WrongState,
        Self::NoBackup,
        Self::NothingRestorable,
        Self::OutsideWindow,
        Self::PreconditionFailed,
        Self::RequestRunning,
        Self::IdempotencyKeyReused,
        Self::LastPlatformKey,
        Self::QuotaExceeded,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The code as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyTimeout => "body-timeout",
            Self::MalformedBody => "malformed-body",
            Self::MalformedRequest => "malformed-request",
            Self::HeaderTooLarge => "header-too-large",
            Self::InvalidParameter => "invalid-parameter",
            Self::InvalidFields => "invalid-fields",
            Self::RateLimited => "rate-limited",
            Self::NameTaken => "name-taken",
            Self::NamespaceConflict => "namespace-conflict",
            Self::TierInUse => "tier-in-use",
            Self::BeingDeleted => "being-deleted",
            Self::DeletionProtected => "deletion-protected",
            Self::WrongState => "wrong-state",
            Self::NoBackup => "no-backup",
            Self::NothingRestorable => "nothing-restorable",
            Self::OutsideWindow => "outside-restore-window",
            Self::PreconditionFailed => "precondition-failed",
            Self::RequestRunning => "request-running",
            Self::IdempotencyKeyReused => "idempotency-key-reused",
            Self::LastPlatformKey => "last-platform-key",
            Self::QuotaExceeded => "quota-exceeded",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// A short title, the same for every occurrence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "A valid API key is required",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::BodyTooLarge => "Body too large",
            Self::BodyTimeout => "Body not received in time",
            Self::MalformedBody => "Malformed body",
            Self::MalformedRequest => "Malformed request",
            Self::HeaderTooLarge => "Header too large",
            Self::InvalidParameter => "Invalid parameter",
            Self::InvalidFields => "Invalid fields",
            Self::RateLimited => "Too many requests",
            Self::NameTaken => "Name taken",
            Self::NamespaceConflict => "Namespace not usable",
            Self::TierInUse => "Tier in use",
            Self::BeingDeleted => "Being deleted",
            Self::DeletionProtected => "Protected from deletion",
            Self::WrongState => "Not possible in this state",
            Self::NoBackup => "No backup",
            Self::NothingRestorable => "Nothing to restore yet",
            Self::OutsideWindow => "Outside of what can be restored",
            Self::PreconditionFailed => "Changed meanwhile",
            Self::RequestRunning => "Request already running",
            Self::IdempotencyKeyReused => "Idempotency key reused",
            Self::LastPlatformKey => "Last platform key",
            Self::QuotaExceeded => "Quota exceeded",
            Self::Unavailable => "Temporarily unavailable",
            Self::Internal => "Internal error",
        }
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as a JSON pointer into the body, the name of a parameter after `?`, or the name of a header.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl FieldError {
    /// A field and what is wrong with it.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// What would have been possible, where something was asked for that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounds {
    /// Which limits of which quota are exceeded.
    Quota(Refusal),
    /// Which instants can be restored.
    Window {
        /// The first.
        from: Timestamp,
        /// The last.
        until: Timestamp,
    },
}

/// Why something was not done.
#[derive(Debug)]
pub struct Failure {
    /// The kind of failure.
    pub code: Code,
    /// A sentence for the caller.
    pub detail: String,
    /// What is wrong, field by field.
    pub errors: Vec<FieldError>,
    /// The databases that stand in the way: how many have each status.
    pub databases: Vec<(Phase, usize)>,
    /// What would have been possible.
    pub bounds: Option<Box<Bounds>>,
    /// When it makes sense to try again.
    pub retry_after: Option<Duration>,
    /// The cause, for the log only.
    pub cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure with a sentence for the caller.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            databases: Vec::new(),
            bounds: None,
            retry_after: None,
            cause: None,
        }
    }

    /// No such thing. The same for what does not exist and for what the caller may not know of.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    /// Fields break rules.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(
                Code::InvalidFields,
                "One or more fields break a rule; see 'errors'.",
            )
        }
    }

    /// The quota of a tier has no room.
    pub fn quota_exceeded(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        Self {
            bounds: Some(Box::new(Bounds::Quota(refusal))),
            ..Self::new(Code::QuotaExceeded, detail)
        }
    }

    /// The instant to restore is not among those that can be: between these two.
    pub fn outside_window(detail: String, from: Timestamp, until: Timestamp) -> Self {
        Self {
            errors: vec![FieldError::new("/target_time", detail.clone())],
            bounds: Some(Box::new(Bounds::Window { from, until })),
            ..Self::new(Code::OutsideWindow, detail)
        }
    }

    /// The body has not the expected shape.
    pub fn malformed(detail: impl Into<String>, errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(Code::MalformedBody, detail)
        }
    }

    /// A parameter is unknown or has no usable value.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let errors = vec![FieldError::new(format!("?{name}"), detail)];
        Self {
            errors,
            ..Self::new(
                Code::InvalidParameter,
                "A query parameter cannot be used; see 'errors'.",
            )
        }
    }

    /// A header has no usable value.
    pub fn header(name: &str, detail: impl Into<String>) -> Self {
        Self {
            errors: vec![FieldError::new(name, detail)],
            ..Self::new(
                Code::InvalidParameter,
                format!("The header '{name}' cannot be used; see 'errors'."),
            )
        }
    }

    /// Something that is needed does not answer.
    pub fn unavailable(what: &str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(5)),
            cause: Some(cause.into()),
            ..Self::new(
                Code::Unavailable,
                format!("{what} does not answer at the moment. Try again."),
            )
        }
    }

    /// A mistake of ours.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let detail = "Something went wrong on our side. The platform team finds the cause by the request id.";
        Self {
            cause: Some(cause.into()),
            ..Self::new(Code::Internal, detail)
        }
    }
}

impl Failure {
    /// The cause and everything that caused it, for the log only.
    pub fn cause_text(&self) -> Option<String> {
        let causes = std::iter::successors(self.source(), |&error| error.source());
        let texts: Vec<_> = causes.map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| texts.join(": "))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
