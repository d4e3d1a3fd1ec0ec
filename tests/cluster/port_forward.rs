//! Ports of this machine that lead to a Service of a cluster which is not a node of ours. Starts and ends processes.
//!
//! A node has its supervisor for that; elsewhere `kubectl port-forward` does it. It gives up when the pod behind the
//! Service goes, so a process of ours keeps starting it.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::{
    artifacts::{self, Program},
    child,
    process::{ProcessId, own_program},
    wait,
};

/// The pause before a forwarding that broke off is taken up again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a port gets to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// The kubeconfig of the cluster.
    pub kubeconfig: PathBuf,
    /// The address on this machine.
    pub address: IpAddr,
    /// The port on this machine.
    pub port: u16,
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The Service's port.
    pub target: u16,
}

impl Forwarding {
    /// Starts forwarding in the background, unless `directory` says that the same is being done already.
    pub async fn start(&self, directory: &Path) -> Result<()> {
        let wanted = serde_json::to_string(self).context("describing a forwarded port")?;
        let description = directory.join(format!("forward-{}.json", self.port));
        let record = directory.join(format!("forward-{}", self.port));
        let running = read_record(&record).is_some_and(ProcessId::is_running);
        if !running || fs::read_to_string(&description).is_ok_and(|known| known != wanted) {
            stop(&record)?;
            fs::write(&description, &wanted).context("describing a forwarded port")?;
            let own = own_program()?;
            let mut command = Command::new("setsid");
            command
                .arg(own)
                .arg("keep-forwarding")
                .arg(&description)
                .current_dir("/");
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let keeper = command.spawn().context("starting to forward a port")?;
            fs::write(&record, ProcessId::of(keeper.id())?.to_string())
                .context("recording a forwarded port")?;
        }
        let address = (self.address, self.port);
        wait::until(
            &format!("port {} being forwarded", self.port),
            PATIENCE,
            async || {
                TcpStream::connect(address).await?;
                Ok(())
            },
        )
        .await
    }
}

/// Forwards as a description says, until the process is ended.
pub fn keep(description: &Path) -> Result<()> {
    let text = fs::read_to_string(description)
        .with_context(|| format!("reading {}", description.display()))?;
    let forwarding: Forwarding =
        serde_json::from_str(&text).context("understanding a forwarded port")?;
    let kubectl = artifacts::program(Program::Kubectl)?;
    loop {
        // This loop is the main thread's, so the process it starts dies with the whole of us.
        let mut command = child::dies_with_parent(Signal::SIGKILL, &[], &kubectl);
        command.arg("--kubeconfig").arg(&forwarding.kubeconfig);
        command.args(["--namespace", &forwarding.namespace, "port-forward"]);
        command.args(["--address", &forwarding.address.to_string()]);
        command.arg(format!("service/{}", forwarding.service));
        command.arg(format!("{}:{}", forwarding.port, forwarding.target));
        command.status().context("running kubectl")?;
        thread::sleep(PAUSE);
    }
}

/// Ends every forwarding that `directory` tells of.
pub fn stop_all(directory: &Path) -> Result<()> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("forward-"))
        .try_for_each(|entry| stop(&entry.path()))
}

fn stop(record: &Path) -> Result<()> {
    read_record(record).map_or(Ok(()), |keeper| keeper.signal(Signal::SIGKILL))
}

fn read_record(record: &Path) -> Option<ProcessId> {
    fs::read_to_string(record).ok()?.parse().ok()
}
