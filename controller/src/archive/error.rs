//! What can go wrong with an object store. Pure.
//!
//! The text of an error is for everyone who may read a status. Its cause is for logs. Neither holds credentials.

use std::fmt;

use thiserror::Error;

/// Why an object store did not do what it was asked for.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Nothing answers, or not in time.
    #[error("the object store does not answer")]
    Unreachable(#[source] Cause),
    /// It answers, but nobody vouches for it.
    #[error("the certificate of the object store is not trusted")]
    Untrusted(#[source] Cause),
    /// The certificate authority is none.
    #[error("the certificate authority of the object store is not in PEM form")]
    Authority(#[source] Cause),
    /// There are no credentials to show.
    #[error("there are no credentials for the object store")]
    NoCredentials(#[source] Cause),
    /// The credentials are wrong.
    #[error("the object store does not take the credentials")]
    BadCredentials(#[source] Cause),
    /// The credentials are right and do not suffice.
    #[error("the credentials do not allow {0}")]
    Denied(Action, #[source] Cause),
    /// There is no such bucket.
    #[error("the bucket does not exist")]
    NoBucket(#[source] Cause),
    /// The bucket is elsewhere.
    #[error("the bucket is in another region")]
    Region(#[source] Cause),
    /// Anything else that an object store may say.
    #[error("the object store failed at {0}")]
    Failed(Action, #[source] Cause),
    /// It answered with something that was not asked for.
    #[error("the object store listed '{0}', which is not below what was asked for")]
    Stray(String),
    /// It took an object and did not list it.
    #[error("the object store does not list what was written to it")]
    NotListed,
    /// A URL that is not the prefix of exactly one database.
    #[error("'{0}' is not the prefix of one database")]
    NotOneDatabase(String),
    /// A server name that would lead out of the database's prefix.
    #[error("'{0}' cannot be the name of a server")]
    ServerName(String),
}

/// What was asked of an object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Listing objects, versions or uploads.
    List,
    /// Reading an object.
    Read,
    /// Writing an object.
    Write,
    /// Deleting an object or a version.
    Delete,
    /// Giving an unfinished upload up.
    Abort,
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::List => "listing",
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Delete => "deleting",
            Self::Abort => "giving up an upload",
        })
    }
}

/// What is behind an error, in words without credentials.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Cause(pub String);

impl ArchiveError {
    /// A CamelCase code, for conditions and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "NoAnswer",
            Self::Untrusted(_) => "CertificateNotTrusted",
            Self::Authority(_) => "InvalidCertificateAuthority",
            Self::NoCredentials(_) => "NoCredentials",
            Self::BadCredentials(_) => "CredentialsRefused",
            Self::Denied(..) => "Denied",
            Self::NoBucket(_) => "NoBucket",
            Self::Region(_) => "OtherRegion",
            Self::Failed(..) => "StoreFailed",
            Self::Stray(_) => "StrayObject",
            Self::NotListed => "NotListed",
            Self::NotOneDatabase(_) | Self::ServerName(_) => "InvalidPrefix",
        }
    }
}
