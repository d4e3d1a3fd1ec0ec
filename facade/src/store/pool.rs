//! How the metadata database is reached. Connects lazily: nothing is sent before the first query.

use std::{path::PathBuf, time::Duration};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use thiserror::Error;

/// How long a request waits for a connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// No statement outlives the request that waits for it, and what the server merely notices is not logged.
const SESSION: [(&str, &str); 3] = [
    ("statement_timeout", "5s"),
    ("lock_timeout", "4s"),
    ("client_min_messages", "warning"),
];

/// How the metadata database is reached.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StoreSettings {
    /// The metadata database, as postgresql://user:password@host:port/database.
    #[arg(
        long,
        env = "DAAP_DATABASE_URL",
        global = true,
        hide_env_values = true,
        value_name = "URL"
    )]
    pub database_url: Option<String>,
    /// A PEM file with the certificate authority of the metadata database. With it, the server's name and
    /// certificate are verified; without it, the URL's sslmode decides.
    #[arg(long, env = "DAAP_DATABASE_CA", global = true, value_name = "FILE")]
    pub database_ca: Option<PathBuf>,
    /// How many connections to the metadata database are held at most.
    #[arg(
        long,
        env = "DAAP_DATABASE_CONNECTIONS",
        global = true,
        value_name = "COUNT",
        default_value_t = 16
    )]
    pub database_connections: u32,
}

/// No pool can be made.
#[derive(Debug, Error)]
pub enum PoolError {
    /// Nobody said where the database is.
    #[error("no metadata database is named: set DAAP_DATABASE_URL or --database-url")]
    Missing,
    /// The URL is none.
    #[error("DAAP_DATABASE_URL is no PostgreSQL URL")]
    Url(#[source] sqlx::Error),
}

/// A pool as the settings say.
///
/// # Errors
/// [`PoolError`] when there is no usable URL.
pub fn pool(settings: &StoreSettings) -> Result<PgPool, PoolError> {
    let url = settings.database_url.as_deref().ok_or(PoolError::Missing)?;
    let mut options: PgConnectOptions = url.parse().map_err(PoolError::Url)?;
    options = options.application_name("daap-facade").options(SESSION);
    if let Some(authority) = &settings.database_ca {
        options = options
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert(authority);
    }
    Ok(PgPoolOptions::new()
        .max_connections(settings.database_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options))
}
