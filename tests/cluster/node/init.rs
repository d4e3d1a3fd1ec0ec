//! The node's first process: arranges what the node sees, starts its programs and starts them again when they end.
//!
//! In: a [`Plan`]. It runs as process 1 of the node's own process namespace, so the kernel ends everything else in the
//! node, pods included, as soon as this process ends.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::DirBuilderExt,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{Pid, sethostname},
};

use super::{
    filesystem, image_store,
    layout::KUBERNETES_INSIDE,
    network,
    plan::Plan,
    programs::{self, NodeProgram},
};
use crate::cluster::{control_plane, kubeconfig, wait};

/// How long the API server gets before the node gives up.
const API_SERVER_READY: Duration = Duration::from_secs(120);

/// The pause before a program that ended is started again.
const RESTART: Duration = Duration::from_secs(1);

/// The programs that run, by process number.
type Running = Arc<Mutex<HashMap<Pid, NodeProgram>>>;

/// Runs the node until its keeper, who holds the other end of standard input, is gone.
pub fn run(plan: &Path) -> Result<()> {
    let plan = Plan::read(plan)?;
    thread::spawn(end_with_keeper);
    let _in_use = image_store::hold(&plan.image_store)?;
    filesystem::arrange(&plan)?;
    network::arrange()?;
    sethostname(&plan.name).context("naming the node")?;
    make_directories(&plan)?;

    let running = Running::default();
    for program in programs::first(&plan)? {
        start(program, &running)?;
    }
    let others = programs::second(&plan)?;
    let shared = Arc::clone(&running);
    thread::spawn(move || {
        if let Err(error) = start_others(others, &shared) {
            eprintln!("the node cannot go on: {error:#}");
            std::process::exit(1);
        }
    });
    reap(&running)
}

/// Ends the node when nobody holds the other end of standard input any more.
fn end_with_keeper() {
    // Nothing is ever sent, so reading returns only then.
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

fn make_directories(plan: &Plan) -> Result<()> {
    // etcd insists that its data are closed to others.
    let closed = |path: &str| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
    };
    closed("/var/lib/etcd").context("making etcd's directory")?;
    let bucket = format!("/var/lib/s3/{}", plan.object_store.bucket);
    fs::create_dir_all(&bucket).with_context(|| format!("making {bucket}"))
}

/// Starts the programs that need the API server, once it is ready.
fn start_others(programs: Vec<NodeProgram>, running: &Running) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")?;
    runtime.block_on(async {
        let kubeconfig = Path::new(KUBERNETES_INSIDE).join("node.kubeconfig");
        let client = kubeconfig::client(&kubeconfig).await?;
        wait::until("the API server being ready", API_SERVER_READY, async || {
            control_plane::look_ready(&client).await
        })
        .await
    })?;
    programs
        .into_iter()
        .try_for_each(|program| start(program, running))
}

fn start(program: NodeProgram, running: &Running) -> Result<()> {
    let log = format!("/var/log/{}.log", program.name);
    let output = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("opening {log}"))?;
    let errors = output.try_clone().context("sharing a log file")?;
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env_clear().envs(
        program
            .environment
            .iter()
            .map(|(name, value)| (name, value)),
    );
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    // The lock is held while starting, so that the end of a program is not seen before its number is known.
    let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command
        .spawn()
        .with_context(|| format!("starting {}", program.name))?;
    let number = i32::try_from(child.id()).context("a process number out of range")?;
    running.insert(Pid::from_raw(number), program);
    Ok(())
}

/// Waits for every process that ends, as a first process has to, and starts the node's own programs again.
fn reap(running: &Running) -> Result<()> {
    loop {
        let status = waitpid(None, None).context("waiting for processes to end")?;
        let (WaitStatus::Exited(number, _) | WaitStatus::Signaled(number, _, _)) = status else {
            continue;
        };
        let ended = running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
        if let Some(program) = ended {
            eprintln!("{} ended ({status:?}) and is started again", program.name);
            thread::sleep(RESTART);
            start(program, running)?;
        }
    }
}
