//! The use cases. Reach the world only through the [`ports`]; know nothing of HTTP, SQL or Kubernetes.
//!
//! In: an [`Actor`](crate::domain::actor::Actor) and what it asks for. Out: domain types, or a
//! [`Failure`](crate::domain::failure::Failure).

pub mod access;
pub mod databases;
pub mod ports;
pub mod readiness;
pub mod tiers;

use std::sync::Arc;

use daap_crds::{
    DaapDatabase,
    validation::{Rules, SchemaError},
};

/// Everything the use cases need.
pub struct Service {
    keys: Arc<dyn ports::Keys>,
    directory: Arc<dyn ports::DatabaseDirectory>,
    resources: Arc<dyn ports::Resources>,
    dependencies: Vec<Arc<dyn ports::Dependency>>,
    database_rules: Rules,
}

impl Service {
    /// The use cases over these ports.
    ///
    /// # Errors
    /// When the rules of databases cannot be compiled, which a test of theirs excludes.
    pub fn new(
        keys: Arc<dyn ports::Keys>,
        directory: Arc<dyn ports::DatabaseDirectory>,
        resources: Arc<dyn ports::Resources>,
        dependencies: Vec<Arc<dyn ports::Dependency>>,
    ) -> Result<Self, SchemaError> {
        Ok(Self {
            keys,
            directory,
            resources,
            dependencies,
            database_rules: Rules::of::<DaapDatabase>()?,
        })
    }
}
