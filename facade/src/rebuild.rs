//! Has the record of the cluster built anew. Writes one row of the metadata database, and waits for the replica that
//! mirrors.

use std::time::Duration;

use sqlx::PgPool;
use thiserror::Error;

use crate::{domain::failure::Failure, store::Store};

/// How long a whole list of the cluster may take.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);

/// The record was not built anew.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The metadata database does not answer.
    #[error("the metadata database does not answer")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No replica did it in time.
    #[error(
        "no running facade built the record anew within {} s; it is done when one runs and reaches the cluster",
        PATIENCE.as_secs()
    )]
    Patience,
}

impl From<Failure> for RebuildError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}

/// Asks the running service to list the whole cluster and to believe that over every record, also when it is another
/// cluster than before. History and records of what is gone stay. Returns when it is done.
///
/// # Errors
/// [`RebuildError`] tells why it is not, or not yet.
pub async fn rebuild(pool: PgPool) -> Result<(), RebuildError> {
    let store = Store::new(pool);
    let asked = store.ask_for_rebuild().await?;
    let done = async {
        while !store.listed_since(asked).await? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok::<_, Failure>(())
    };
    match tokio::time::timeout(PATIENCE, done).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(RebuildError::Patience),
    }
}
