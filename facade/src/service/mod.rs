//! The use cases. Reach the world only through the [`ports`]; know nothing of HTTP, SQL or Kubernetes.
//!
//! In: an [`Actor`](crate::domain::actor::Actor) and what it asks for. Out: domain types, or a
//! [`Failure`](crate::domain::failure::Failure).

pub mod access;
pub mod audit;
pub mod backups;
pub mod change;
pub mod database_change;
pub mod databases;
pub mod destruction;
pub mod freshness;
pub mod keys;
pub mod operations;
pub mod ports;
pub mod quotas;
pub mod readiness;
pub mod restore;
pub mod slice;
pub mod tally;
pub mod tiers;

use std::{sync::Arc, time::Duration};

use daap_crds::{
    DaapDatabase, DaapTier,
    validation::{Rules, SchemaError},
};

use crate::domain::failure::Failure;

/// How the use cases reach the world.
pub struct Ports {
    /// The API keys.
    pub keys: Arc<dyn ports::Keys>,
    /// Where records of databases are read.
    pub directory: Arc<dyn ports::DatabaseDirectory>,
    /// The custom resources.
    pub resources: Arc<dyn ports::Resources>,
    /// Where the menu is read.
    pub menu: Arc<dyn ports::Menu>,
    /// How fresh those records are.
    pub freshness: Arc<freshness::Freshness>,
    /// The databases, for changes.
    pub live_databases: Arc<dyn ports::LiveDatabases>,
    /// The tiers, for changes.
    pub live_tiers: Arc<dyn ports::LiveTiers>,
    /// The audit log, read.
    pub audit_trail: Arc<dyn ports::AuditTrail>,
    /// Where the ends of its chain are kept.
    pub anchors: Arc<dyn ports::Anchors>,
    /// The quotas, for changes.
    pub live_quotas: Arc<dyn ports::LiveQuotas>,
    /// What the facade depends on.
    pub dependencies: Vec<Arc<dyn ports::Dependency>>,
}

/// The use cases.
pub struct Service {
    ports: Ports,
    tally: tally::Tally,
    database_rules: Rules,
    tier_rules: Rules,
}

impl Service {
    /// How fresh the record of the cluster is.
    pub fn freshness(&self) -> Arc<freshness::Freshness> {
        self.ports.freshness.clone()
    }

    /// How old the record of the cluster is, when readers must be told.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn staleness(&self) -> Result<Option<Duration>, Failure> {
        self.ports.freshness.staleness()
    }

    /// The use cases over these ports.
    ///
    /// # Errors
    /// When the rules of databases or tiers cannot be compiled, which a test of theirs excludes.
    pub fn new(ports: Ports) -> Result<Self, SchemaError> {
        Ok(Self {
            ports,
            tally: tally::Tally::default(),
            database_rules: Rules::of::<DaapDatabase>()?,
            tier_rules: Rules::of::<DaapTier>()?,
        })
    }

    /// Writes what was counted in memory.
    pub async fn write_tally(&self) -> Result<(), Failure> {
        let (keys, trail) = (&*self.ports.keys, &*self.ports.audit_trail);
        self.tally.write(keys, trail).await
    }
}

/// When what a request made cannot be kept, the mirror does it: it was made.
fn left_to_the_mirror(outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        tracing::warn!(
            error.message = failure.cause_text(),
            "a record is left to the mirror"
        );
    }
}
