//! The node's keeper: one process on the host that owns the node and forwards ports into it.
//!
//! Everything of a cluster hangs on this process. When it ends, in whatever way, the node's first process reads the end
//! of its standard input and ends too, and with it the kernel ends every process, mount and network of the node.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, unshare};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use super::{
    control_groups,
    forwards::{self, Forwarder, Wish},
    layout::Layout,
};
use crate::cluster::process::{ProcessId, own_program};

/// Everything that a node has for itself.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNET
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

/// Keeps a node until it ends or a signal comes. SIGHUP makes it read the list of forwarded ports again.
pub fn run(layout: &Layout) -> Result<()> {
    await_permission()?;
    // Groups of pods that a former node left would make the kubelet wait for each of them.
    control_groups::remove(&layout.control_group())?;
    control_groups::make(&layout.control_group())?;
    let (wishes, wishes_inside) = mpsc::unbounded_channel();
    let node = start_node(layout, wishes_inside)?;
    fs::write(layout.init_record(), ProcessId::of(node.id())?.to_string())
        .context("recording the node's process")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")?;
    runtime.block_on(keep(layout, node, wishes))
}

/// Waits until whoever started this process has recorded it, so that no cluster runs that cannot be found.
fn await_permission() -> Result<()> {
    std::io::stdin()
        .read_exact(&mut [0])
        .context("whoever started this process is gone")
}

/// Starts the node's first process from a thread that has moved into new namespaces, and leaves that thread there to
/// make connections inside.
fn start_node(layout: &Layout, wishes: mpsc::UnboundedReceiver<Wish>) -> Result<Child> {
    let plan = layout.plan();
    let (report, started) = oneshot::channel();
    thread::spawn(move || {
        drop(report.send(enter_and_start(&plan)));
        match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime.block_on(forwards::fulfil(wishes)),
            Err(error) => eprintln!("no connections into the node: {error}"),
        }
    });
    started
        .blocking_recv()
        .map_err(|_| anyhow!("the node's thread ended"))?
}

/// The calling thread moves; other threads of this process stay where they are.
fn enter_and_start(plan: &Path) -> Result<Child> {
    unshare(NAMESPACES).context("making the node's namespaces, for which root is needed")?;
    let own = own_program()?;
    let mut command = Command::new(own);
    // Our end of its standard input is never written to, and closed by the kernel when we end.
    command
        .arg("node-init")
        .arg(plan)
        .current_dir("/")
        .stdin(Stdio::piped());
    command.spawn().context("starting the node's first process")
}

async fn keep(layout: &Layout, mut node: Child, wishes: mpsc::UnboundedSender<Wish>) -> Result<()> {
    let mut reload = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut forwarder = Forwarder::new(layout.loopback(), wishes);
    forwarder.follow(&forwards::read(layout)?).await?;
    // Held here, because waiting for a child closes its standard input.
    let _input = node.stdin.take();
    let mut ended = tokio::task::spawn_blocking(move || node.wait());
    loop {
        tokio::select! {
            _ = reload.recv() => {
                // One port that is taken does not end a cluster.
                if let Err(error) = async { forwarder.follow(&forwards::read(layout)?).await }.await {
                    eprintln!("{error:#}");
                }
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            status = &mut ended => bail!("the node ended: {:?}", status.context("waiting for the node")?),
        }
    }
}
