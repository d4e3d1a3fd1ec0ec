//! The REST facade: turns calls into custom resources, and keeps API keys and the audit log.
//!
//! ```text
//! http (connections, the gate) → api (operations, contract) → service (use cases) → domain (decisions, pure)
//!                                                                │ ports
//!                                                                ├─ store   (the only SQL)
//!                                                                └─ cluster (the only reads and writes of resources)
//! ```
//!
//! `jobs` is what happens without a request: mirroring the cluster, sealing the audit log.
//!
//! [`start`] serves, [`bootstrap`] makes the first keys, [`rebuild`] has the record of the cluster
//! built anew, [`contract`] is what `manifests/openapi.json` holds.

mod api;
mod bootstrap;
mod cluster;
mod domain;
mod http;
mod jobs;
mod rebuild;
mod service;
mod start;
mod store;

pub mod settings;

/// Who may do what, for the tests that hold every operation to it.
pub use self::domain::policy;
pub use self::{
    bootstrap::{Bootstrap, BootstrapError, bootstrap},
    rebuild::{RebuildError, rebuild},
    start::{Running, StartError, start},
    store::{MigrateError, PoolError, migrate, pool},
};

/// The OpenAPI document of this program, as it is committed.
///
/// # Errors
/// When it cannot be generated, which a test excludes.
pub fn contract() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    Ok(api::contract::Contract::generate()?.text()?)
}
