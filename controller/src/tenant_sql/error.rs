//! What can go wrong in a tenant's database. Pure.

use std::{io, time::Duration};

use thiserror::Error;

/// Why nothing is known from a tenant's database.
#[derive(Debug, Error)]
pub enum TenantError {
    /// Nobody answers, the server starts or stops, or the connection broke.
    #[error("the database cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// The server has no TLS, or a certificate that the authority does not vouch for.
    #[error("the database has no connection that can be trusted")]
    Tls(#[source] sqlx::Error),
    /// The server does not let the role in.
    #[error("the database refuses the login")]
    Refused(#[source] sqlx::Error),
    /// The server has no connection left.
    #[error("all connections of the database are in use")]
    Full(#[source] sqlx::Error),
    /// The database took too long.
    #[error("no answer from the database within {0:?}")]
    Deadline(Duration),
    /// A replica answers where the primary should.
    #[error("the primary of the database is changing")]
    Failover,
    /// The database did not do what it was told.
    #[error("the database failed to carry out a statement")]
    Statement(#[source] sqlx::Error),
}

impl TenantError {
    /// The error of a connection that was to answer within `deadline`.
    pub(super) fn new(error: sqlx::Error, deadline: Duration) -> Self {
        match &error {
            sqlx::Error::Database(answer) => match answer.code().unwrap_or_default().as_ref() {
                // Statement timeout.
                "57014" => Self::Deadline(deadline),
                "53300" => Self::Full(error),
                // A transaction that may only read: the server became a replica.
                "25006" => Self::Failover,
                code if code.starts_with("28") => Self::Refused(error),
                code if code.starts_with("57P") => Self::Unreachable(error),
                _ => Self::Statement(error),
            },
            sqlx::Error::Io(cause) if is_tls(cause) => Self::Tls(error),
            sqlx::Error::Tls(_) => Self::Tls(error),
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => Self::Unreachable(error),
            _ => Self::Statement(error),
        }
    }

    /// Whether the same call may succeed later although nobody does anything about it.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Full(_) | Self::Deadline(_) | Self::Failover => true,
            Self::Tls(_) | Self::Refused(_) | Self::Statement(_) => false,
        }
    }

    /// Whether the rules of the server refuse the connection, whatever the password.
    pub(super) fn is_by_rule(&self) -> bool {
        // Either there is a rule that rejects, or there is none. Both messages name the file, in every language; other
        // errors with this code do not.
        matches!(
            self,
            Self::Refused(sqlx::Error::Database(answer))
                if answer.code().as_deref() == Some("28000") && answer.message().contains("pg_hba.conf")
        )
    }

    /// A short stable word for metrics and Events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "Unreachable",
            Self::Tls(_) => "Tls",
            Self::Refused(_) => "Refused",
            Self::Full(_) => "Full",
            Self::Deadline(_) => "Deadline",
            Self::Failover => "Failover",
            Self::Statement(_) => "Statement",
        }
    }
}

/// Whether a connection failed because of TLS. The handshake's errors come as errors of reading and writing.
fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|cause| cause.is::<rustls::Error>())
}
