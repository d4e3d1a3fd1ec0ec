//! The metadata database. The only SQL of the facade: keys, the audit log and its chain, the mirror of the cluster,
//! operations, migrations.
//!
//! In: domain and port types. Out: the same, or a failure that says the database does not answer.

mod audit;
mod audit_chain;
mod audit_rows;
mod audit_trail;
mod audit_upkeep;
mod databases;
mod idempotency;
mod keys;
mod migrate;
mod mirror;
mod operations;
mod pool;
mod resources;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::PgPool;
use tokio::sync::OnceCell;

pub use self::{
    audit::AuditWriter,
    migrate::{MigrateError, migrate},
    mirror::{MirrorLock, PresentRecord, Wish},
    pool::{PoolError, StoreSettings, pool},
};
use crate::{domain::failure::Failure, service::ports::Dependency};

/// What the metadata database is called in `/ready` and to callers.
const NAME: &str = "metadata-database";
/// How long one call may take, the wait for a connection included. A server that hangs does not say so.
const DEADLINE: Duration = Duration::from_secs(6);
/// How long the question whether it answers may take.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// The metadata database, through a pool of connections.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    migrated: Arc<OnceCell<()>>,
}

impl Store {
    /// The store behind a pool. Not ready before [`Store::migrate`] is through.
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            migrated: Arc::default(),
        }
    }

    /// Brings the schema up to date, waiting for the database for as long as it takes.
    ///
    /// # Errors
    /// When the schema is not one of ours, or newer than this program.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        migrate(&self.pool).await?;
        // Setting it twice changes nothing.
        let _ = self.migrated.set(());
        Ok(())
    }
}

#[async_trait]
impl Dependency for Store {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn check(&self) -> Result<(), Failure> {
        if !self.migrated.initialized() {
            return Err(Failure::unavailable(
                "The metadata database",
                "its schema is not up to date yet",
            ));
        }
        let question = sqlx::query("select 1").execute(&self.pool);
        match tokio::time::timeout(CHECK_DEADLINE, question).await {
            Ok(answer) => answer.map(|_| ()).map_err(failure),
            Err(elapsed) => Err(Failure::unavailable("The metadata database", elapsed)),
        }
    }
}

/// What a call answers, in its deadline.
async fn within_deadline<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// The same for a use case.
async fn call<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failure> {
    within_deadline(work).await.map_err(failure)
}

fn failure(error: sqlx::Error) -> Failure {
    Failure::unavailable("The metadata database", error)
}
