//! The control plane only: several at once, restarts, and no process that outlives its test.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::ensure;
use daap_tests::cluster::{
    control_plane::{ControlPlane, Definitions},
    wait,
};
use k8s_openapi::{
    api::core::v1::Namespace,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use super::{CLUSTER, host, is_kept, keep_something};

#[tokio::test]
async fn knows_every_definition_from_its_first_moment() {
    let began = Instant::now();
    let control_plane = ControlPlane::start("definitions").await.unwrap();
    eprintln!(
        "a control plane was up after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let definitions: Api<CustomResourceDefinition> = Api::all(control_plane.client());
    for name in [
        "clusters.postgresql.cnpg.io",
        "objectstores.barmancloud.cnpg.io",
        "daapdatabases.daap.dev",
    ] {
        assert!(definitions.get(name).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn two_know_nothing_of_each_other() {
    let (one, two) = tokio::join!(
        ControlPlane::start_with("one", Definitions::None),
        ControlPlane::start_with("two", Definitions::None)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    let metadata = ObjectMeta {
        name: Some("only-one".to_owned()),
        ..ObjectMeta::default()
    };
    let namespace = Namespace {
        metadata,
        ..Namespace::default()
    };
    Api::all(one.client())
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let others: Api<Namespace> = Api::all(two.client());
    assert!(others.get_opt("only-one").await.unwrap().is_none());
}

#[tokio::test]
async fn a_restarted_api_server_has_what_it_had() {
    let mut control_plane = ControlPlane::start_with("restart", Definitions::None)
        .await
        .unwrap();
    keep_something(control_plane.client()).await;

    control_plane.stop_apiserver();
    assert!(!is_kept(control_plane.client()).await, "nobody answers");
    control_plane.start_apiserver().await.unwrap();
    assert!(is_kept(control_plane.client()).await);
}

#[tokio::test]
async fn ends_with_the_process_that_started_it() {
    let mut program = Command::new(CLUSTER);
    program
        .args(["--name", "killed", "control-plane"])
        .stdout(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    // It prints the path of its kubeconfig, in the directory that its processes have in their arguments.
    let path = line.split('\'').nth(1).unwrap().to_owned();
    let directory = Path::new(&path).parent().unwrap().to_str().unwrap();
    assert_eq!(
        host::processes(directory).len(),
        2,
        "etcd and the API server"
    );

    child.kill().unwrap();
    child.wait().unwrap();
    wait::until("its processes ending", Duration::from_secs(5), async || {
        ensure!(host::processes(directory).is_empty(), "they run");
        Ok(())
    })
    .await
    .unwrap();
}
