//! The first keys of an installation, made beside the running service. Writes the metadata database.

use daap_crds::name::{NameError, TeamName};
use sqlx::PgPool;
use thiserror::Error;

use crate::{
    domain::{actor::Role, api_key::NewKey, failure::Failure},
    service::keys::random_key,
    store::{MigrateError, Store},
};

/// The team that platform keys speak for, when none is named.
const PLATFORM_TEAM: &str = "platform";

/// Which key to make.
#[derive(Debug, Clone, clap::Args)]
pub struct Bootstrap {
    /// What the key is called.
    #[arg(long)]
    pub name: String,
    /// The product team that the key is for. Absent: the first platform key.
    #[arg(long)]
    pub team: Option<String>,
    /// Make a platform key even though one exists that still works.
    #[arg(long)]
    pub force: bool,
}

/// No key was made.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// A platform key exists.
    #[error("a platform key exists that still works; with --force, another one is made")]
    Exists,
    /// The team's name is none.
    #[error("the name of the team {0}")]
    Team(#[from] NameError),
    /// The key's name is none.
    #[error("the name of the key must have between 1 and 100 characters")]
    Name,
    /// The system has no randomness to give.
    #[error("the system gave no random bytes")]
    Randomness(#[source] rand::rand_core::OsError),
    /// The schema is unfit.
    #[error(transparent)]
    Schema(#[from] MigrateError),
    /// The metadata database does not answer.
    #[error("the metadata database did not keep the key")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<Failure> for BootstrapError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}

/// Makes a key and returns it, the only time that it is seen. Brings the schema up to date first.
///
/// # Errors
/// [`BootstrapError`] tells why there is none.
pub async fn bootstrap(pool: PgPool, asked: &Bootstrap) -> Result<String, BootstrapError> {
    if !(1..=100).contains(&asked.name.chars().count()) {
        return Err(BootstrapError::Name);
    }
    let (role, team) = match &asked.team {
        Some(team) => (Role::Product, TeamName::parse(team)?),
        None => (Role::Platform, TeamName::parse(PLATFORM_TEAM)?),
    };
    let store = Store::new(pool);
    store.migrate().await?;
    let key = random_key(role).map_err(BootstrapError::Randomness)?;
    let new = NewKey {
        name: asked.name.clone(),
        team,
        role,
        expires_at: None,
    };
    store
        .bootstrap_key(&key, &new, asked.force)
        .await?
        .ok_or(BootstrapError::Exists)?;
    Ok(key.reveal().to_owned())
}
