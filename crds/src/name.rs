//! Names: what DAAP calls things, and how long a name may be. Pure.
//!
//! CloudNativePG derives names from a Cluster's name by suffix and limits it to a DNS-1035 label of 50
//! characters; 40 leave room for every suffix of CloudNativePG and of DAAP.

use std::fmt;

use thiserror::Error;

/// The longest name of a database, tier, object store or team.
pub const MAX_LENGTH: usize = 40;

/// A DNS-1035 label (RFC 1035 section 2.3.1), as a pattern for schemas.
pub const PATTERN: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";

/// Ends the name of a database's pooler, and so may not end the name of a database.
pub const POOLER_SUFFIX: &str = "-pooler";

/// Before the team's name in the name of its namespace.
pub const TEAM_NAMESPACE_PREFIX: &str = "daap-team-";

/// Why a string is no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Too long, or empty.
    #[error("must have between 1 and {MAX_LENGTH} characters")]
    Length,
    /// Not a DNS label.
    #[error(
        "must start with a lower-case letter, end with a letter or digit, and contain only lower-case letters, digits and '-'"
    )]
    Characters,
    /// Ends like a pooler's name.
    #[error("must not end with '{POOLER_SUFFIX}', which names the connection pooler of a database")]
    Reserved,
}

fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return Err(NameError::Length);
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let starts_well = text.as_bytes()[0].is_ascii_lowercase();
    if starts_well && !text.ends_with('-') && text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(NameError::Characters)
    }
}

/// The name of a database, and so of its Cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseName(String);

impl DatabaseName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] tells which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_label(text)?;
        if text.ends_with(POOLER_SUFFIX) {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The CloudNativePG Cluster.
    pub fn cluster(&self) -> String {
        self.0.clone()
    }

    /// The pooler and its Service.
    pub fn pooler(&self) -> String {
        format!("{}{POOLER_SUFFIX}", self.0)
    }

    /// The Service of the primary, made by CloudNativePG.
    pub fn read_write_service(&self) -> String {
        format!("{}-rw", self.0)
    }

    /// The Secret with what an application needs to connect
    /// ([Service Binding](https://servicebinding.io/spec/core/1.1.0/#well-known-secret-entries)).
    pub fn connection_secret(&self) -> String {
        format!("{}-conn", self.0)
    }

    /// The Secret with the application role's password, given to CloudNativePG.
    pub fn application_secret(&self) -> String {
        format!("{}-owner", self.0)
    }

    /// The Secret with the observer role's password, given to CloudNativePG.
    pub fn observer_secret(&self) -> String {
        format!("{}-observer", self.0)
    }

    /// The Secret with the certificate authority of the Cluster, made by CloudNativePG.
    pub fn ca_secret(&self) -> String {
        format!("{}-ca", self.0)
    }

    /// The Barman Cloud ObjectStore of the database.
    pub fn object_store(&self) -> String {
        format!("{}-store", self.0)
    }

    /// The base backup that a request asked for. No name has a dot in it, so that no two databases and requests make
    /// the same.
    pub fn requested_backup(&self, request: &str) -> String {
        format!("{}.{request}", self.0)
    }

    /// The Barman Cloud ObjectStore of the database it was restored from.
    pub fn source_object_store(&self) -> String {
        format!("{}-source", self.0)
    }

    /// The copy of the object store's credentials.
    pub fn object_store_secret(&self) -> String {
        format!("{}-store", self.0)
    }

    /// The ScheduledBackup.
    pub fn scheduled_backup(&self) -> String {
        format!("{}-backup", self.0)
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The name of a team.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TeamName(String);

impl TeamName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] tells which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_label(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace in which the facade places the team's databases.
    pub fn namespace(&self) -> String {
        format!("{TEAM_NAMESPACE_PREFIX}{}", self.0)
    }
}

impl fmt::Display for TeamName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_labels() {
        for good in ["a", "orders", "orders-2", &"a".repeat(MAX_LENGTH)] {
            assert!(DatabaseName::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn tells_which_rule_is_broken() {
        assert_eq!(DatabaseName::parse(""), Err(NameError::Length));
        assert_eq!(
            DatabaseName::parse(&"a".repeat(MAX_LENGTH + 1)),
            Err(NameError::Length)
        );
        for bad in ["1a", "-a", "a-", "A", "a_b", "a.b", "ä"] {
            assert_eq!(
                DatabaseName::parse(bad),
                Err(NameError::Characters),
                "{bad}"
            );
        }
        assert_eq!(
            DatabaseName::parse("orders-pooler"),
            Err(NameError::Reserved)
        );
    }

    /// The longest child names still fit a DNS label of 63 characters.
    #[test]
    fn child_names_fit() {
        let name = DatabaseName::parse(&"a".repeat(MAX_LENGTH)).unwrap();
        for child in [
            name.pooler(),
            name.connection_secret(),
            name.observer_secret(),
            name.scheduled_backup(),
        ] {
            assert!(child.len() <= 50, "{child}");
        }
    }
}
