//! A Kubernetes of one node on this machine, in namespaces of its own.
//!
//! ```text
//! cluster up ──starts──► supervisor (host) ──starts──► first process (node) ──starts──► etcd, API server, kubelet, …
//!                        forwards 127.x.y.z:6443 ───────────────────────────────────────► 10.244.0.1:6443
//! ```
//!
//! The node has process, network, mount, host-name and IPC namespaces of its own. What its programs mount, listen on, filter
//! or start is invisible to the host, and gone when its first process is. What remains to be removed is one directory
//! and one control group per hierarchy.

mod addons;
mod control_groups;
mod credentials;
mod filesystem;
pub mod forwards;
mod image_store;
mod images;
pub mod init;
mod layout;
mod network;
mod plan;
mod programs;
pub mod supervisor;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use kube::Client;
use nix::sys::signal::Signal;
use tokio::net::TcpStream;

pub use self::layout::Layout;
pub use super::object_store::ObjectStore;
use super::{
    artifacts::{self, Image, Program},
    control_plane, deployment, kubeconfig,
    process::{ProcessId, own_program},
    progress::Progress,
    wait,
};

/// How long each part of the cluster gets. Generous: a busy machine is slow, and an error ends the wait earlier.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long the kernel gets to end the processes of a node.
const END: Duration = Duration::from_secs(30);

/// A running node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where its things are.
    pub layout: Layout,
    init: ProcessId,
}

impl Node {
    /// The node of a cluster, if it runs.
    pub fn find(layout: &Layout) -> Option<Self> {
        let init = read_record(&layout.init_record()).filter(|init| init.is_running())?;
        read_record(&layout.supervisor_record()).filter(|supervisor| supervisor.is_running())?;
        Some(Self {
            layout: layout.clone(),
            init,
        })
    }

    /// A command that runs inside the node: in its network, among its processes, with its view of the files.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        ensure!(
            self.init.is_running(),
            "the cluster {} does not run",
            self.layout.name()
        );
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init.number()));
        command
            .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--"])
            .arg(program);
        Ok(command)
    }

    /// The directory of the S3 server's bucket, seen from outside the node. Each object is a file.
    pub fn bucket(&self) -> Result<PathBuf> {
        let bucket = self.object_store()?.bucket;
        let root = format!("/proc/{}/root/var/lib/s3", self.init.number());
        Ok(Path::new(&root).join(bucket))
    }

    /// The S3 server that runs in the node.
    pub fn object_store(&self) -> Result<ObjectStore> {
        ObjectStore::read(&self.layout.object_store())
    }

    /// Lets a port of the cluster's loopback address lead to an address inside the node, until the cluster is taken down.
    pub async fn forward(&self, port: u16, target: SocketAddr) -> Result<SocketAddr> {
        forwards::add(&self.layout, port, target)?;
        let supervisor = read_record(&self.layout.supervisor_record())
            .context("the cluster has no supervisor")?;
        supervisor.signal(Signal::SIGHUP)?;
        let address = SocketAddr::from((self.layout.loopback(), port));
        wait::until(&format!("{address} being forwarded"), END, async || {
            TcpStream::connect(address).await?;
            Ok(address)
        })
        .await
    }

    /// Imports images of ours that the node does not have yet.
    pub async fn import(&self, images: &'static [Image]) -> Result<()> {
        let node = self.clone();
        tokio::task::spawn_blocking(move || images::import(&node, images))
            .await
            .context("importing images")?
    }

    /// Imports an archive of images.
    pub fn load(&self, archive: &Path) -> Result<()> {
        images::load(self, archive)
    }
}

/// Brings a cluster up, or completes one that is half up, and returns when it takes pods, names and volumes.
pub async fn up(layout: &Layout, progress: Progress) -> Result<Node> {
    fs::create_dir_all(layout.state())
        .with_context(|| format!("making {}", layout.state().display()))?;
    let _lock = lock(layout)?;
    let began = Timestamp::now();
    let found = Node::find(layout);
    // What a node that ran before is known to do may be from before.
    let since = if found.is_some() {
        Timestamp::UNIX_EPOCH
    } else {
        began
    };
    let node = match found {
        Some(node) => node,
        None => start(layout, progress).await?,
    };
    let client = kubeconfig::client(&layout.kubeconfig()).await?;
    progress
        .step("API server", await_api_server(&node, &client))
        .await?;
    progress
        .step("add-ons applied", addons::apply(&client))
        .await?;
    progress
        .step(
            "node ready",
            deployment::await_node(&client, layout.name(), PATIENCE),
        )
        .await?;
    progress
        .step("cluster DNS and volumes", async {
            tokio::try_join!(
                await_add_on(&client, "kube-system", "coredns", since),
                await_add_on(
                    &client,
                    "local-path-storage",
                    "local-path-provisioner",
                    since
                )
            )
        })
        .await?;
    Ok(node)
}

/// Installs the programs of the system that a node needs, where they are missing.
pub fn install_packages() -> Result<()> {
    artifacts::debian::ensure(&plan::PACKAGES)
}

/// Installs and builds everything that a cluster, its tests and an installation of DAAP need, and unpacks the images.
pub fn build() -> Result<()> {
    install_packages()?;
    // Now and not when they are first used: a test that looks at the machine must not see it change.
    artifacts::debian::ensure(&["postgresql", "postgresql-client"])?;
    artifacts::ensure(
        &[plan::programs().as_slice(), &[Program::Kubectl]].concat(),
        &[
            image_store::images(),
            &[Image::DaapController, Image::DaapFacade],
        ]
        .concat(),
    )?;
    let directory = tempfile::tempdir().context("a directory for containerd's configuration")?;
    let configuration = directory.path().join("containerd.toml");
    fs::write(&configuration, credentials::containerd_configuration())
        .context("writing containerd's configuration")?;
    image_store::provide(&configuration).map(drop)
}

/// Takes a cluster down, whatever state it is in, and removes everything that it left. Without one, does nothing.
pub async fn down(layout: &Layout) -> Result<()> {
    if !layout.state().exists() {
        return control_groups::remove(&layout.control_group());
    }
    let _lock = lock(layout)?;
    let records = [layout.supervisor_record(), layout.init_record()];
    let processes: Vec<_> = records
        .iter()
        .filter_map(|path| read_record(path))
        .collect();
    for process in &processes {
        // Nothing needs to be saved, and the kernel ends what hangs on these two.
        process.signal(Signal::SIGKILL)?;
    }
    wait::until("the cluster's processes ending", END, async || {
        ensure!(
            !processes.iter().any(|process| process.is_running()),
            "they still run"
        );
        Ok(())
    })
    .await?;
    control_groups::remove(&layout.control_group())?;
    remove_state(layout).await
}

/// The kernel may still be undoing mounts when the last process is gone.
pub(super) async fn remove_state(layout: &Layout) -> Result<()> {
    wait::until(
        "the cluster's files going",
        END,
        async || match fs::remove_dir_all(layout.state()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", layout.state().display()))
            }
            _ => Ok(()),
        },
    )
    .await?;
    // The directory of all clusters goes with the last of them.
    if let Some(base) = layout.state().parent() {
        drop(fs::remove_dir(base));
    }
    Ok(())
}

async fn start(layout: &Layout, progress: Progress) -> Result<Node> {
    let prepared = layout.clone();
    progress
        .blocking_step("programs and credentials", move || prepare(&prepared))
        .await?;
    start_supervisor(layout)?;
    let supervisor =
        read_record(&layout.supervisor_record()).context("the supervisor has no record")?;
    wait::until("the node's first process", END, async || {
        ensure!(supervisor.is_running(), "it ended; {}", tell_log(layout));
        Node::find(layout).context("not started")
    })
    .await
}

fn prepare(layout: &Layout) -> Result<()> {
    for directory in [layout.lib(), layout.log(), layout.lib().join("kubelet")] {
        fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
    }
    credentials::write(layout)?;
    let store =
        ObjectStore::read_or_make(&layout.object_store(), &layout::NODE_ADDRESS.to_string())?;
    plan::Plan::make(layout, store)?.write(&layout.plan())
}

/// Starts the supervisor in a session of its own, so that it outlives this process and its terminal.
fn start_supervisor(layout: &Layout) -> Result<()> {
    let log = layout.log().join("supervisor.log");
    let output = File::options().create(true).append(true).open(&log);
    let output = output.with_context(|| format!("opening {}", log.display()))?;
    let errors = output.try_clone().context("sharing a log file")?;
    let own = own_program()?;
    let mut command = Command::new("setsid");
    command
        .arg(own)
        .arg("supervise")
        .arg(layout.name())
        .current_dir("/");
    command.stdin(Stdio::piped()).stdout(output).stderr(errors);
    let mut child = command
        .spawn()
        .context("starting the cluster's supervisor")?;
    fs::write(
        layout.supervisor_record(),
        ProcessId::of(child.id())?.to_string(),
    )
    .context("recording the supervisor")?;
    // It does nothing before this byte: should we be killed before the record is written, it ends.
    let input = child
        .stdin
        .as_mut()
        .context("no way to talk to the supervisor")?;
    input
        .write_all(b"\n")
        .context("letting the supervisor begin")
}

async fn await_add_on(
    client: &Client,
    namespace: &str,
    name: &str,
    since: Timestamp,
) -> Result<()> {
    deployment::await_available(client, namespace, name, PATIENCE).await?;
    deployment::await_pods_since(client, namespace, since, PATIENCE).await
}

async fn await_api_server(node: &Node, client: &Client) -> Result<()> {
    wait::until("the API server", PATIENCE, async || {
        ensure_running(node)?;
        control_plane::look_ready(client).await
    })
    .await
}

fn ensure_running(node: &Node) -> Result<()> {
    if Node::find(&node.layout).is_none() {
        bail!("the node ended; {}", tell_log(&node.layout));
    }
    Ok(())
}

fn tell_log(layout: &Layout) -> String {
    let path = layout.log().join("supervisor.log");
    let log = fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    format!(
        "the end of {}:\n{}",
        path.display(),
        lines[lines.len().saturating_sub(10)..].join("\n")
    )
}

fn read_record(path: &Path) -> Option<ProcessId> {
    fs::read_to_string(path).ok()?.parse().ok()
}

/// Two commands do not work on the same cluster at the same time.
///
/// The lock is on the cluster's directory, so it needs no file that would be left.
fn lock(layout: &Layout) -> Result<File> {
    let directory = File::open(layout.state())
        .with_context(|| format!("opening {}", layout.state().display()))?;
    directory
        .lock()
        .context("waiting for another command on the same cluster")?;
    ensure!(
        layout.state().exists(),
        "the cluster was taken down meanwhile"
    );
    Ok(directory)
}
