//! The schema of the metadata database. Writes tables, under an advisory lock that sqlx takes, so that replicas that
//! start together do it once.

use std::time::Duration;

use sqlx::PgPool;
use thiserror::Error;

/// The pause after the first failed attempt, and after every later one at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The schema cannot be brought up to date, however long one waits.
#[derive(Debug, Error)]
#[error("the schema of the metadata database cannot be brought up to date")]
pub struct MigrateError(#[source] sqlx::migrate::MigrateError);

/// Brings the schema up to date, waiting for the database for as long as it takes.
///
/// # Errors
/// When the schema is not one of ours, or newer than this program.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match sqlx::migrate!().run(pool).await {
            Ok(()) => return Ok(()),
            Err(error) if is_passing(&error) => {
                tracing::warn!(error.message = %error, "waiting for the metadata database");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(MigrateError(error)),
        }
    }
}

/// Whether waiting can help: the database does not answer, rather than answering with something unfit.
fn is_passing(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    matches!(error, Execute(_))
        || matches!(error, ExecuteMigration(cause, _) if !matches!(cause, sqlx::Error::Database(_)))
}
