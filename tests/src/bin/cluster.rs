//! Brings up, fills and takes down the cluster that DAAP is developed and tested on.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use daap_tests::cluster::{
    artifacts,
    control_plane::ControlPlane,
    kubeconfig,
    node::{Layout, build, init, supervisor},
    port_forward,
    progress::Progress,
    provider::{Cluster, Provider},
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
    /// Prints what a shell needs to use the cluster, as `eval "$(cluster env)"` takes it.
    Env,
    /// Gives the cluster the images of an archive.
    LoadImage {
        /// An OCI image archive.
        archive: PathBuf,
    },
    /// Lets a port of the cluster's loopback address lead into the cluster.
    ForwardPort {
        /// The port on this machine.
        port: u16,
        /// A service (`namespace/service:port`) or, on a node, an address inside (`10.244.0.1:7070`).
        target: String,
    },
    /// Runs a program in the node's network, with the node's view of files and processes.
    Enter {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Runs a control plane without a node until it is interrupted.
    ControlPlane,
    /// Builds all that a cluster is made of into the cache.
    Build,
    /// Keeps a cluster's node. Started by `up`.
    #[command(hide = true)]
    Supervise { name: String },
    /// Is the first process of a node. Started by `supervise`.
    #[command(hide = true)]
    NodeInit { plan: PathBuf },
    /// Keeps a port forwarded. Started by `forward-port`.
    #[command(hide = true)]
    KeepForwarding { description: PathBuf },
}

fn main() -> Result<ExitCode> {
    kubeconfig::install_crypto_provider();
    let arguments = Arguments::parse();
    match &arguments.command {
        // These three need no runtime of many threads, and the first two must not have one.
        Command::Supervise { name } => supervisor::run(&Layout::new(name)?)?,
        Command::NodeInit { plan } => init::run(plan)?,
        Command::KeepForwarding { description } => port_forward::keep(description)?,
        _ => {
            let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
            return runtime.block_on(run(arguments));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let progress = Progress::new();
    let name = arguments.name.as_str();
    match arguments.command {
        Command::ControlPlane => return control_plane(name, progress).await,
        Command::Build => {
            return progress
                .blocking_step("programs and images", build)
                .await
                .map(|()| ExitCode::SUCCESS);
        }
        _ => {}
    }
    let cluster = Cluster::choose(arguments.provider, name).await?;
    match arguments.command {
        Command::Up => {
            cluster.up(progress).await?;
            progress.say(&format!(
                "cluster {name} is up; KUBECONFIG={}",
                cluster.kubeconfig()?.display()
            ));
        }
        Command::CnpgInstall => cluster.install_cnpg(progress).await?,
        Command::Down => {
            progress
                .step(&format!("cluster {name} is gone"), cluster.down())
                .await?
        }
        Command::Env => print_environment(&cluster)?,
        Command::LoadImage { archive } => cluster.load(&archive)?,
        Command::ForwardPort { port, target } => {
            let address = forward(&cluster, port, &target).await?;
            progress.say(&format!("{address} leads to {target}"));
        }
        Command::Enter { command } => return enter(&cluster, &command),
        Command::ControlPlane
        | Command::Build
        | Command::Supervise { .. }
        | Command::NodeInit { .. }
        | Command::KeepForwarding { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn forward(cluster: &Cluster, port: u16, target: &str) -> Result<SocketAddr> {
    if let Ok(address) = target.parse() {
        return cluster.node()?.forward(port, address).await;
    }
    let form = "a target is namespace/service:port or address:port";
    let (namespace, service) = target.split_once('/').context(form)?;
    let (service, service_port) = service.rsplit_once(':').context(form)?;
    cluster
        .forward(
            port,
            namespace,
            service,
            service_port.parse().context(form)?,
        )
        .await
}

fn enter(cluster: &Cluster, command: &[String]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no program")?;
    let status = cluster
        .node()?
        .command(program)?
        .args(arguments)
        .status()
        .context("entering the node")?;
    // A program that a signal ended has no code of its own.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn print_environment(cluster: &Cluster) -> Result<()> {
    let kubeconfig = cluster.kubeconfig()?;
    ensure!(
        kubeconfig.exists(),
        "the cluster {} is not up",
        cluster.layout().name()
    );
    let store = cluster.object_store()?;
    for (name, value) in [
        ("CLUSTER_NAME", cluster.layout().name()),
        ("CLUSTER_ADDRESS", &cluster.address().to_string()),
        ("KUBECONFIG", text(&kubeconfig)?),
        ("S3_ENDPOINT", &store.endpoint),
        ("S3_BUCKET", &store.bucket),
        ("S3_REGION", &store.region),
    ] {
        println!("export {name}='{value}'");
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not text", path.display()))
}

async fn control_plane(name: &str, progress: Progress) -> Result<ExitCode> {
    let control_plane = progress
        .step("control plane", ControlPlane::start(name))
        .await?;
    println!("export KUBECONFIG='{}'", text(control_plane.kubeconfig())?);
    progress.say(&format!(
        "kubectl is {}; the control plane ends with Ctrl-C",
        artifacts::program(artifacts::Program::Kubectl)?.display()
    ));
    tokio::signal::ctrl_c()
        .await
        .context("waiting for Ctrl-C")?;
    Ok(ExitCode::SUCCESS)
}
