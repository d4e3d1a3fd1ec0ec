//! Brings up DAAP with a first database, and takes it down again.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};
use daap_tests::{
    cluster::{kubeconfig, progress::Progress, provider::Provider},
    installation,
};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// The cluster's name, from which everything of it derives.
    #[arg(long, env = "CLUSTER_NAME", default_value = "daap", global = true)]
    name: String,
    /// Where the cluster comes from.
    #[arg(long, env = "CLUSTER_PROVIDER", default_value = "auto", global = true)]
    provider: Provider,
    /// The directory for what a person needs to use it. Absent: `.daap` of this workspace.
    #[arg(long, global = true)]
    directory: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Brings up a cluster with DAAP in it and a first database.
    Up,
    /// Takes it all down.
    Down,
}

#[tokio::main]
async fn main() -> Result<()> {
    kubeconfig::install_crypto_provider();
    let Arguments {
        name,
        provider,
        directory,
        command,
    } = Arguments::parse();
    let directory =
        directory.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.daap"));
    match command {
        Command::Up => {
            installation::up_with_database(provider, &name, &directory, Progress::new()).await
        }
        Command::Down => installation::down(provider, &name, &directory).await,
    }
}
