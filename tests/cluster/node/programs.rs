//! The programs of a node and how each is called. Pure: a plan in, command lines out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{
    layout::{API_SERVER_PORT, KUBERNETES_INSIDE, NODE_ADDRESS},
    plan::Plan,
};
use crate::cluster::{
    components::{self, ApiServer, SERVICE_RANGE, pki},
    object_store,
};

/// Where the node's programs find others: the container runtime, mount tools, the packet filter's command.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that runs as long as the node does.
#[derive(Debug, Clone)]
pub struct NodeProgram {
    /// Its name, which is also its log file's.
    pub name: &'static str,
    /// The file to run.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, which has nothing else in it.
    pub environment: Vec<(&'static str, String)>,
}

/// The programs that need nobody else.
pub fn first(plan: &Plan) -> Result<Vec<NodeProgram>> {
    let etcd = ([127, 0, 0, 1], 2379).into();
    let keys = Path::new(KUBERNETES_INSIDE).join("pki");
    let key = |name: &str| keys.join(name).display().to_string();
    let mut api_server = components::kube_apiserver(&ApiServer {
        bind: NODE_ADDRESS.into(),
        advertise: NODE_ADDRESS.into(),
        port: API_SERVER_PORT,
        etcd,
        pki: &keys,
    });
    api_server.extend([
        format!("--kubelet-certificate-authority={}", key(pki::AUTHORITY)),
        format!("--kubelet-client-certificate={}", key(pki::KUBELET_CLIENT)),
        format!("--kubelet-client-key={}", key(pki::KUBELET_CLIENT_KEY)),
        // No name server knows the node's name.
        "--kubelet-preferred-address-types=InternalIP".into(),
    ]);
    let peer = ([127, 0, 0, 1], 2380).into();
    let store = &plan.object_store;
    Ok(vec![
        program(
            plan,
            "etcd",
            components::etcd(Path::new("/var/lib/etcd"), etcd, peer),
        )?,
        program(plan, "kube-apiserver", api_server)?,
        NodeProgram {
            path: PathBuf::from("/usr/bin/containerd"),
            ..bare(
                "containerd",
                vec![format!("--config={KUBERNETES_INSIDE}/containerd.toml")],
            )
        },
        NodeProgram {
            environment: vec![
                ("PATH", PATH.to_owned()),
                // In the environment, because anyone can read a command line.
                ("ROOT_ACCESS_KEY", store.access_key.clone()),
                ("ROOT_SECRET_KEY", store.secret_key.clone()),
            ],
            ..program(
                plan,
                "versitygw",
                vec![
                    format!("--port={NODE_ADDRESS}:{}", object_store::PORT),
                    format!("--region={}", store.region),
                    "posix".into(),
                    "/var/lib/s3".into(),
                ],
            )?
        },
    ])
}

/// The programs that need the API server.
pub fn second(plan: &Plan) -> Result<Vec<NodeProgram>> {
    let kubeconfig =
        |program: &str| format!("--kubeconfig={KUBERNETES_INSIDE}/{program}.kubeconfig");
    let key = |name: &str| format!("{KUBERNETES_INSIDE}/pki/{name}");
    Ok(vec![
        program(
            plan,
            "kubelet",
            vec![
                format!("--config={KUBERNETES_INSIDE}/kubelet.yaml"),
                kubeconfig("kubelet"),
                format!("--hostname-override={}", plan.name),
                format!("--node-ip={NODE_ADDRESS}"),
                format!("--cgroup-root=/daap-{}", plan.name),
            ],
        )?,
        program(
            plan,
            "kube-controller-manager",
            vec![
                kubeconfig("kube-controller-manager"),
                "--bind-address=127.0.0.1".into(),
                "--leader-elect=false".into(),
                "--use-service-account-credentials=true".into(),
                // With its usual limit it takes seconds to give each of its controllers an identity.
                "--kube-api-qps=500".into(),
                "--kube-api-burst=1000".into(),
                format!("--service-account-private-key-file={}", key(pki::TOKEN_KEY)),
                format!("--root-ca-file={}", key(pki::AUTHORITY)),
                format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            ],
        )?,
        program(
            plan,
            "kube-scheduler",
            vec![
                kubeconfig("kube-scheduler"),
                "--bind-address=127.0.0.1".into(),
                "--leader-elect=false".into(),
            ],
        )?,
        program(
            plan,
            "kube-proxy",
            vec![
                format!("--config={KUBERNETES_INSIDE}/kube-proxy.yaml"),
                format!("--hostname-override={}", plan.name),
            ],
        )?,
    ])
}

fn program(plan: &Plan, name: &'static str, arguments: Vec<String>) -> Result<NodeProgram> {
    let path = plan
        .programs
        .get(name)
        .with_context(|| format!("the plan has no {name}"))?;
    Ok(NodeProgram {
        path: path.clone(),
        ..bare(name, arguments)
    })
}

fn bare(name: &'static str, arguments: Vec<String>) -> NodeProgram {
    NodeProgram {
        name,
        path: PathBuf::new(),
        arguments,
        environment: vec![("PATH", PATH.to_owned())],
    }
}
