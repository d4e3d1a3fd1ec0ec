//! The process `daap-controller`.

use std::process::ExitCode;

use clap::Parser;
use daap_config::{
    kubernetes::{self, KubernetesSettings},
    process, settings as configuration, telemetry,
};
use daap_controller::{k8s::error::chain, settings::Settings};

/// The DAAP controller: turns tiers and databases into CloudNativePG objects.
#[derive(Parser, Debug)]
#[command(name = "daap-controller", version)]
struct Arguments {
    #[command(flatten)]
    file: configuration::SettingsFile,
    #[command(flatten)]
    kubernetes: KubernetesSettings,
    #[command(flatten)]
    controller: Settings,
}

#[tokio::main]
async fn main() -> ExitCode {
    process::install_crypto_provider();
    let arguments: Arguments = configuration::load();
    match start(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(error.as_ref()), "the controller ends");
            ExitCode::FAILURE
        }
    }
}

async fn start(arguments: Arguments) -> anyhow::Result<()> {
    telemetry::init(arguments.controller.log_format)?;
    let client = kubernetes::client(&arguments.kubernetes).await?;
    daap_controller::run(arguments.controller, client, process::shutdown_signal()).await?;
    Ok(())
}
