//! The program `daap-facade`: serves the REST API, makes the first keys, prints the contract.

use std::io::Write as _;

use anyhow::{Context as _, Result, anyhow};
use clap::{Parser, Subcommand};
use daap_config::{kubernetes, process, telemetry};
use daap_facade::{Bootstrap, settings::Settings};

/// The REST API of DAAP.
#[derive(Debug, Parser)]
#[command(name = "daap-facade", version)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the REST API (the default).
    Serve,
    /// Make a key and print it: the first platform key, or with --team a product team's key.
    Bootstrap(Bootstrap),
    /// Build the record of the cluster anew: after the metadata database was restored, or the cluster replaced.
    Rebuild,
    /// Print the OpenAPI document.
    Openapi,
}

fn main() -> Result<()> {
    process::install_crypto_provider();
    let Arguments { settings, command } = daap_config::settings::load();
    match command.unwrap_or(Command::Serve) {
        Command::Openapi => print(&daap_facade::contract().map_err(|error| anyhow!(error))?),
        Command::Bootstrap(asked) => runtime(&settings)?.block_on(bootstrap(&settings, &asked)),
        Command::Rebuild => runtime(&settings)?.block_on(rebuild(&settings)),
        Command::Serve => runtime(&settings)?.block_on(serve(&settings)),
    }
}

fn runtime(settings: &Settings) -> Result<tokio::runtime::Runtime> {
    telemetry::init(settings.log_format)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

async fn serve(settings: &Settings) -> Result<()> {
    let shutdown = process::shutdown_signal();
    let client = kubernetes::client(&settings.kubernetes)
        .await
        .context("reaching the Kubernetes API")?;
    let pool = daap_facade::pool(&settings.store)?;
    let running = daap_facade::start(&settings.service, client, pool, shutdown).await?;
    running.ended().await?;
    Ok(())
}

async fn bootstrap(settings: &Settings, asked: &Bootstrap) -> Result<()> {
    let key = daap_facade::bootstrap(daap_facade::pool(&settings.store)?, asked).await?;
    print(&format!("{key}\n"))
}

async fn rebuild(settings: &Settings) -> Result<()> {
    daap_facade::rebuild(daap_facade::pool(&settings.store)?).await?;
    print("The record of the cluster is built anew.\n")
}

fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}
