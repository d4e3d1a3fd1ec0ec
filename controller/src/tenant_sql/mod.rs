//! SQL in tenants' databases: fences, refused logins and ended sessions. Connects to PostgreSQL; nothing else of the
//! controller does.
//!
//! In: a [`Tenant`]. Out: a [`Fence`], a [`Login`], a number of sessions, or a [`TenantError`].
//!
//! A trait, so that tests can put something else in the place of a whole fleet of databases.

mod error;
mod postgres;

use std::fmt;

use async_trait::async_trait;
use daap_crds::database::Fence;

use crate::database::plan::Password;

pub use error::TenantError;
pub use postgres::Postgres;

/// A database to log in to.
#[derive(Clone)]
pub struct Tenant {
    /// The name under which its primary is reached, and which the certificate must have.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The certificate authority that vouches for it, as PEM.
    pub authority: Vec<u8>,
    /// The password of the observer role.
    pub observer_password: Password,
    /// The password of the application's role.
    pub application_password: Password,
}

impl fmt::Debug for Tenant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tenant")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// There was a session.
    Accepted,
    /// The rules of the server, its `pg_hba.conf`, do not let anybody in who comes like this. A wrong password, a server
    /// that is full or starts, or a missing role are not meant: those may let somebody else in.
    Refused,
}

/// What is done in tenants' databases. Every call opens one connection, and ends by a deadline.
#[async_trait]
pub trait Tenants: Send + Sync {
    /// Makes a commit, after all that were acknowledged until now, and closes the segment of write-ahead log it is in,
    /// so that the segment goes to the archive.
    ///
    /// Once that segment is in the archive, every instant up to the fence's time can be restored. The segment names a
    /// timeline: after a failover it may never come, and the caller begins again.
    ///
    /// # Errors
    /// [`TenantError::Failover`] when a replica answers; see there for the others.
    async fn fence(&self, tenant: &Tenant) -> Result<Fence, TenantError>;

    /// Tries to log in as the application does.
    ///
    /// # Errors
    /// When neither is known: that the login works, or that the rules of the server refuse it.
    async fn log_in(&self, tenant: &Tenant) -> Result<Login, TenantError>;

    /// Ends the sessions of clients and waits a moment for them to go. Returns how many were still there.
    ///
    /// CloudNativePG's own sessions and the observer's stay. What comes in while others are ended is ended too, so the
    /// number becomes and stays zero once nobody is let in any more. A client whose password is just being checked is not
    /// seen before PostgreSQL 18: it may come in a moment after the rules changed.
    ///
    /// # Errors
    /// When the sessions cannot be known.
    async fn end_sessions(&self, tenant: &Tenant) -> Result<u32, TenantError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_printed_without_secrets() {
        let tenant = Tenant {
            host: "ledger-rw.daap-team-orders.svc".to_owned(),
            port: 5432,
            authority: b"authority".to_vec(),
            observer_password: Password::new("seen-it-all".to_owned()),
            application_password: Password::new("open-sesame".to_owned()),
        };
        assert_eq!(
            format!("{tenant:?}"),
            r#"Tenant { host: "ledger-rw.daap-team-orders.svc", port: 5432, .. }"#
        );
    }
}
