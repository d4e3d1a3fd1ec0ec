//! A whole installation of DAAP with a first database, as `make up` makes it and as the tests use it.
//!
//! | module | subject |
//! |---|---|
//! | [`site`] | the cluster underneath, and how it is reached from this machine |
//! | [`system`] | DAAP itself in the cluster: manifests, certificate, samples |
//! | [`keys`] | the first API keys |
//! | [`first_database`] | a database asked for over REST, and queried with psql |
//! | [`environment`] | the file that a person sources |
//! | [`kubectl`], [`psql`] | the programs a person would use |

pub mod environment;
pub mod first_database;
pub mod keys;
pub mod kubectl;
pub mod psql;
pub mod site;
pub mod system;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use self::{
    environment::Environment, first_database::FirstDatabase, keys::Keys, kubectl::Kubectl,
    site::Site,
};
use crate::{cluster::progress::Progress, rest::RestClient};

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
pub async fn up(cluster: &str, directory: &Path, progress: Progress) -> Result<Installation> {
    run_cluster_program(cluster, "up").await?;
    run_cluster_program(cluster, "cnpg-install").await?;
    let site = Site::find(cluster).await?;
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
    };
    // Keys are shown once, so they are kept before anything else can fail.
    environment.write(&directory)?;
    let platform = RestClient::new(&url, &authority, &keys.platform)?;
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
pub async fn up_with_database(cluster: &str, directory: &Path, progress: Progress) -> Result<()> {
    let installation = up(cluster, directory, progress).await?;
    let database = FirstDatabase::create(&installation, progress).await?;
    let version = database.query("SELECT version()").await?;
    progress.say(&format!("psql over TLS: {version}"));
    let file = directory.join(Environment::FILE);
    progress.say("everything is up; to try next:");
    eprintln!(
        "\n  source {file}\n  \
         curl --silent --cacert \"$DAAP_CA\" --header \"Authorization: Bearer $DAAP_TEAM_KEY\" \"$DAAP_URL/databases\"\n  \
         psql service={name}\n  \
         {kubectl} get daapdatabases --all-namespaces\n",
        file = file.display(),
        name = first_database::NAME,
        kubectl = installation.kubectl.program().display(),
    );
    Ok(())
}

/// Takes down the cluster and removes what a person needed to use it.
pub async fn down(cluster: &str, directory: &Path) -> Result<()> {
    run_cluster_program(cluster, "down").await?;
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Runs the program that keeps clusters, as a program of its own: its processes outlive this one.
async fn run_cluster_program(cluster: &str, command: &str) -> Result<()> {
    let program = cluster_program()?;
    let mut process = Command::new(&program);
    process
        .args(["--name", cluster, command])
        .stdin(Stdio::null());
    let status = process
        .status()
        .await
        .with_context(|| format!("running {}", program.display()))?;
    ensure!(
        status.success(),
        "{} {command}: {status}",
        program.display()
    );
    Ok(())
}

/// Cargo puts the programs of this package side by side, and its test programs one directory below.
fn cluster_program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    let candidates = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("cluster"));
    let found = candidates.into_iter().find(|candidate| candidate.is_file());
    found.context(
        "the program `cluster` was not built: run `cargo build --package daap-tests --bins`",
    )
}
