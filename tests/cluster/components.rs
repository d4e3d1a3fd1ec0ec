//! The command lines of Kubernetes' own programs. Pure: arguments in, arguments out.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// The services' addresses. The first is the API server's, the tenth cluster DNS'.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The API server's address as pods know it.
pub const KUBERNETES_SERVICE: &str = "10.96.0.1";

/// The names under which pods know the API server.
pub const KUBERNETES_NAMES: [&str; 4] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// File names of the keys and certificates, the same wherever they are kept (and the same as kubeadm's).
pub mod pki {
    /// The authority that everything else is signed by.
    pub const AUTHORITY: &str = "ca.crt";
    /// The API server's certificate.
    pub const API_SERVER: &str = "apiserver.crt";
    /// Its private key.
    pub const API_SERVER_KEY: &str = "apiserver.key";
    /// By which the API server says to a kubelet who it is.
    pub const KUBELET_CLIENT: &str = "apiserver-kubelet-client.crt";
    /// Its private key.
    pub const KUBELET_CLIENT_KEY: &str = "apiserver-kubelet-client.key";
    /// Verifies service-account tokens.
    pub const TOKEN_PUBLIC_KEY: &str = "sa.pub";
    /// Signs service-account tokens.
    pub const TOKEN_KEY: &str = "sa.key";
}

/// etcd's arguments: one member that loses at most what a power failure would take.
pub fn etcd(data: &Path, client: SocketAddr, peer: SocketAddr) -> Vec<String> {
    vec![
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=default=http://{peer}"),
        // These clusters are made for development and tests; waiting for the disk buys them nothing.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

/// What differs between API servers.
pub struct ApiServer<'a> {
    /// The address it listens on.
    pub bind: IpAddr,
    /// The address it gives to others.
    pub advertise: IpAddr,
    /// Its port.
    pub port: u16,
    /// etcd's address.
    pub etcd: SocketAddr,
    /// The directory with the files of [`pki`].
    pub pki: &'a Path,
}

/// The API server's arguments.
///
/// The request-header flags are left out: the aggregation layer is not used, and with one authority for clients and
/// proxies the server refuses them.
pub fn kube_apiserver(server: &ApiServer<'_>) -> Vec<String> {
    let file = |name: &str| server.pki.join(name).display().to_string();
    vec![
        format!("--bind-address={}", server.bind),
        format!("--advertise-address={}", server.advertise),
        format!("--secure-port={}", server.port),
        format!("--etcd-servers=http://{}", server.etcd),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        format!("--client-ca-file={}", file(pki::AUTHORITY)),
        format!("--tls-cert-file={}", file(pki::API_SERVER)),
        format!("--tls-private-key-file={}", file(pki::API_SERVER_KEY)),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-key-file={}", file(pki::TOKEN_PUBLIC_KEY)),
        format!(
            "--service-account-signing-key-file={}",
            file(pki::TOKEN_KEY)
        ),
        "--profiling=false".into(),
    ]
}
