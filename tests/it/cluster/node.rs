//! Nodes of their own: side by side, through crashes, and gone without a trace.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::ensure;
use daap_tests::cluster::{
    kubeconfig,
    node::{self, Layout, Node},
    process::ProcessId,
    wait,
};
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};
use nix::sys::signal::Signal;

use super::{CLUSTER, host, is_kept, keep_something};

/// Two names that no other run of these tests uses at the same time.
fn layouts() -> [Layout; 2] {
    let number = std::process::id();
    [format!("test-a-{number}"), format!("test-b-{number}")].map(|name| Layout::new(&name).unwrap())
}

fn start(layout: &Layout, command: &str) -> Child {
    let mut program = Command::new(CLUSTER);
    program
        .args(["--provider", "node", "--name", layout.name(), command])
        .stdin(Stdio::null());
    program.spawn().unwrap()
}

fn finish(mut child: Child) {
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
}

fn supervisor(layout: &Layout) -> ProcessId {
    fs::read_to_string(layout.supervisor_record())
        .unwrap()
        .parse()
        .unwrap()
}

async fn client(layout: &Layout) -> Client {
    kubeconfig::client(&layout.kubeconfig()).await.unwrap()
}

/// Removes what a failed test would leave.
struct Cleaner([Layout; 2]);

impl Drop for Cleaner {
    fn drop(&mut self) {
        for layout in &self.0 {
            drop(start(layout, "down").wait());
        }
    }
}

#[tokio::test]
async fn nodes_run_side_by_side_survive_crashes_and_leave_nothing() {
    // Installing what a node needs does change the machine, once.
    tokio::task::spawn_blocking(node::install_packages)
        .await
        .unwrap()
        .unwrap();
    let before = host::look();
    let [one, two] = layouts();
    let _cleaner = Cleaner([one.clone(), two.clone()]);

    let starting = [start(&one, "up"), start(&two, "up")];
    starting.into_iter().for_each(finish);
    for layout in [&one, &two] {
        let nodes: Api<core::Node> = Api::all(client(layout).await);
        assert!(
            nodes.get(layout.name()).await.is_ok(),
            "{} answers for another",
            layout.name()
        );
        assert_eq!(
            nodes.list(&Default::default()).await.unwrap().items.len(),
            1
        );
    }
    assert_eq!(
        host::differences(&before, &host::look()),
        [""; 0],
        "while clusters run"
    );

    a_killed_node_is_gone_and_comes_back(&one, &two).await;

    let ending = [start(&one, "down"), start(&two, "down")];
    ending.into_iter().for_each(finish);
    assert_gone(&one).await;
    assert_gone(&two).await;
    assert_eq!(
        host::differences(&before, &host::look()),
        [""; 0],
        "after clusters ran"
    );
    // What is gone can be taken down again.
    finish(start(&one, "down"));
}

async fn a_killed_node_is_gone_and_comes_back(victim: &Layout, other: &Layout) {
    keep_something(client(victim).await).await;

    supervisor(victim).signal(Signal::SIGKILL).unwrap();
    wait::until(
        "the node ending with its keeper",
        Duration::from_secs(20),
        async || {
            let init: ProcessId = fs::read_to_string(victim.init_record())?.parse()?;
            ensure!(!init.is_running(), "its first process runs");
            Ok(())
        },
    )
    .await
    .unwrap();
    assert!(Node::find(victim).is_none());
    assert!(
        client(other).await.apiserver_version().await.is_ok(),
        "the other cluster goes on"
    );

    finish(start(victim, "up"));
    assert!(
        is_kept(client(victim).await).await,
        "its objects are still there"
    );
}

/// Nothing of a cluster is left. A process that was orphaned by a kill may take a moment to end.
async fn assert_gone(layout: &Layout) {
    wait::until("nothing being left", Duration::from_secs(20), async || {
        ensure!(!layout.state().exists(), "files remain");
        let groups = host::control_groups(layout.name());
        ensure!(groups.is_empty(), "control groups remain: {groups:?}");
        let processes = host::processes(layout.name());
        ensure!(processes.is_empty(), "processes remain: {processes:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Killed in the middle of things, `up` leaves what `down` removes.
#[tokio::test]
async fn an_interrupted_up_is_undone_by_down() {
    let number = std::process::id();
    for milliseconds in [50, 400, 1000, 3000] {
        let layout = Layout::new(&format!("test-c-{number}")).unwrap();
        let mut child = start(&layout, "up");
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        finish(start(&layout, "down"));
        assert_gone(&layout).await;
    }
}
