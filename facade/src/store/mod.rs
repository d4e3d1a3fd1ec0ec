//! The metadata database. The only SQL of the facade: keys, the audit log, the
//! mirror of the cluster, migrations.
//!
//! In: domain and port types. Out: the same, or a failure that says the database does not answer.

mod audit;
mod databases;
mod idempotency;
mod keys;
mod migrate;
mod mirror;
mod pool;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::PgPool;
use tokio::sync::OnceCell;

pub use self::{
    keys::NewKey,
    migrate::{MigrateError, migrate},
    mirror::{MirrorLock, PresentRecord, Wish},
    pool::{PoolError, StoreSettings, pool},
};
use crate::{domain::failure::Failure, service::ports::Dependency};

/// What the metadata database is called in `/ready` and to callers.
const NAME: &str = "metadata-database";
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

fn failure(error: sqlx::Error) -> Failure {
    Failure::unavailable("The metadata database", error)
}
