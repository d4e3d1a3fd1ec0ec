//! Brings up, fills and takes down the cluster that DAAP is developed and tested on.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use daap_tests::cluster::{
    kubeconfig,
    node::{self, Layout, init, supervisor},
    progress::Progress,
};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// The cluster's name, from which everything of it derives.
    #[arg(long, env = "CLUSTER_NAME", default_value = "daap", global = true)]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Brings the cluster up.
    Up,
    /// Installs CloudNativePG and the Barman Cloud plugin in it.
    CnpgInstall,
    /// Takes the cluster down and removes everything of it.
    Down,
    /// Keeps a cluster's node. Started by `up`.
    #[command(hide = true)]
    Supervise { name: String },
    /// Is the first process of a node. Started by `supervise`.
    #[command(hide = true)]
    NodeInit { plan: PathBuf },
}

fn main() -> Result<()> {
    kubeconfig::install_crypto_provider();
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Supervise { name } => supervisor::run(&Layout::new(&name)?),
        Command::NodeInit { plan } => init::run(&plan),
        command => {
            let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
            runtime.block_on(run(&arguments.name, command))
        }
    }
}

async fn run(name: &str, command: Command) -> Result<()> {
    let progress = Progress::new();
    let layout = Layout::new(name)?;
    match command {
        Command::Up => {
            node::up(&layout, progress).await?;
            progress.say(&format!(
                "cluster {name} is up; KUBECONFIG={}",
                layout.kubeconfig().display()
            ));
            Ok(())
        }
        Command::CnpgInstall => {
            let client = kubeconfig::client(&layout.kubeconfig()).await?;
            daap_tests::cluster::cnpg::install(
                &client,
                daap_tests::cluster::cnpg::Source::Archives,
                progress,
            )
            .await
        }
        Command::Down => {
            progress
                .step(&format!("cluster {name} is gone"), node::down(&layout))
                .await
        }
        Command::Supervise { .. } | Command::NodeInit { .. } => Ok(()),
    }
}
