//! A whole installation of DAAP with a first database, as `make up` makes it and as the tests use it.
//!
//! | module | subject |
//! |---|---|
//! | [`site`] | the cluster underneath, and how it is reached from this machine |
//! | [`system`] | DAAP itself in the cluster: manifests, certificate, samples |
//! | [`keys`] | the first API keys |
//! | [`database`] | databases asked for over REST |
//! | [`environment`] | the file that a person sources |
//! | [`kubectl`], [`psql`] | the programs a person would use |

pub mod database;
pub mod environment;
pub mod keys;
pub mod kubectl;
pub mod psql;
pub mod site;
pub mod system;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use self::{
    database::Database, environment::Environment, keys::Keys, kubectl::Kubectl, site::Site,
};
use crate::{
    cluster::{progress::Progress, provider::Provider},
    rest::RestClient,
};

/// The namespace of DAAP itself.
pub const SYSTEM_NAMESPACE: &str = "daap-system";

/// An installation that runs.
#[derive(Clone)]
pub struct Installation {
    /// The cluster underneath.
    pub site: Site,
    /// kubectl for it.
    pub kubectl: Kubectl,
    /// The REST API with the platform team's key.
    pub platform: RestClient,
    /// The REST API with a product team's key.
    pub team: RestClient,
    /// What was written for the person.
    pub environment: Environment,
}

/// Brings up a cluster with DAAP in it, or completes one that is half up. `directory` gets what a person needs to use it.
pub async fn up(
    provider: Provider,
    cluster: &str,
    directory: &Path,
    progress: Progress,
) -> Result<Installation> {
    let site = Site::up(provider, cluster).await?;
    install(site, directory, progress).await
}

/// Puts DAAP into a cluster that has CloudNativePG.
pub async fn install(site: Site, directory: &Path, progress: Progress) -> Result<Installation> {
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let directory =
        fs::canonicalize(directory).with_context(|| format!("finding {}", directory.display()))?;
    let kubectl = Kubectl::new(site.kubeconfig()).await?;
    progress
        .step("images of DAAP and PostgreSQL", site.import_images())
        .await?;
    let authority = progress
        .step("certificate of the REST API", system::prepare(&site))
        .await?;
    progress
        .step("DAAP applied", system::apply(&site, &kubectl))
        .await?;
    progress
        .step("metadata database", system::await_metadata_database(&site))
        .await?;
    progress
        .step("controller and facade", system::await_deployments(&site))
        .await?;
    progress
        .step(
            "sample tiers, quotas and object store",
            system::apply_samples(&site, &kubectl),
        )
        .await?;

    let address = site
        .forward(system::REST_PORT, SYSTEM_NAMESPACE, "daap-facade", 443)
        .await?;
    let url = format!("https://{address}");
    let keys = progress
        .step(
            "API keys",
            Keys::obtain(&url, &authority, &directory, &kubectl),
        )
        .await?;
    let authority_file = directory.join("ca.crt");
    environment::write_private(&authority_file, &authority)?;
    let environment = Environment {
        url: url.clone(),
        platform_key: keys.platform.clone(),
        team_key: keys.team.clone(),
        authority: authority_file,
        kubeconfig: site.kubeconfig().to_owned(),
        postgres_services: directory.join(psql::SERVICE_FILE),
        directory,
    };
    // Keys are shown once, so they are kept before anything else can fail.
    environment.write()?;
    let platform = RestClient::new(&url, &authority, &keys.platform)?.patient();
    let team = platform.with_key(&keys.team);
    Ok(Installation {
        site,
        kubectl,
        platform,
        team,
        environment,
    })
}

/// `make up`: an installation with a first database in it, and what to try next.
pub async fn up_with_database(
    provider: Provider,
    cluster: &str,
    directory: &Path,
    progress: Progress,
) -> Result<()> {
    let installation = up(provider, cluster, directory, progress).await?;
    let mut database = progress
        .step(
            "database asked for over REST",
            Database::ask(&installation, database::FIRST),
        )
        .await?;
    progress
        .step(
            "database ready",
            database.await_ready(&installation, progress),
        )
        .await?;
    let login = database
        .log_in_to_primary(&installation, psql::PORT)
        .await?;
    let service_file = login.write(&installation.environment.directory)?;
    let connection = format!("service={}", database::FIRST.name);
    let version = psql::query(&service_file, &connection, "SELECT version()").await?;
    progress.say(&format!("psql over TLS: {version}"));
    progress.say("everything is up; to try next:");
    eprintln!(
        "\n  source {file}\n  \
         curl --silent --cacert \"$DAAP_CA\" --header \"Authorization: Bearer $DAAP_TEAM_KEY\" \"$DAAP_URL/databases\"\n  \
         psql {connection}\n  \
         {kubectl} get daapdatabases --all-namespaces\n",
        file = installation.environment.file().display(),
        kubectl = installation.kubectl.program().display(),
    );
    Ok(())
}

/// Takes down the cluster and removes what a person needed to use it.
pub async fn down(provider: Provider, cluster: &str, directory: &Path) -> Result<()> {
    Site::down(provider, cluster).await?;
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", directory.display()))
        }
        _ => Ok(()),
    }
}
