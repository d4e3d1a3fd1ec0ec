//! The control plane only: a real API server and etcd, on loopback, for tests that need no node.
//!
//! In: the programs, CloudNativePG's and the plugin's manifests, and our own custom resource definitions. Out: a client.
//! Writes a temporary directory and starts two processes; both end with the value, and with this process.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, Config, api::DynamicObject};
use nix::sys::signal::Signal;

use super::{
    artifacts::{self, Manifest, Program},
    certificates::{self, Authority},
    child::{Child, dies_with_parent},
    components::{self, ApiServer, pki},
    kubeconfig, manifest,
    scratch::Scratch,
    wait,
};

/// How long the API server gets to become ready. On an idle machine it takes two or three seconds.
const READY: Duration = Duration::from_secs(60);

/// Custom resources that a control plane knows from its first moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definitions {
    /// None but Kubernetes' own kinds.
    None,
    /// DAAP's, so that databases are admitted and nothing is made for them.
    Own,
    /// CloudNativePG's, the Barman Cloud plugin's, and DAAP's.
    All,
}

/// A running control plane. Dropping it ends its processes and removes its files.
pub struct ControlPlane {
    kubeconfig: PathBuf,
    config: Config,
    client: Client,
    server: SocketAddr,
    etcd_address: SocketAddr,
    // Dropped in this order: the API server before the store it writes to, the files last.
    api_server: Option<Child>,
    etcd: Child,
    scratch: Scratch,
}

impl ControlPlane {
    /// Starts one with every definition applied; `name` appears in its kubeconfig and its directory's name.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, Definitions::All).await
    }

    /// Starts one with a choice of definitions.
    pub async fn start_with(name: &str, definitions: Definitions) -> Result<Self> {
        let programs = tokio::task::spawn_blocking(|| {
            anyhow::Ok((program(Program::Etcd)?, program(Program::KubeApiserver)?))
        });
        let (etcd_program, _) = programs.await.context("looking for the programs")??;
        let scratch = Scratch::new(&format!("control-plane-{name}"))?;
        let [server, etcd_address, peer] = free_addresses()?;
        write_credentials(name, scratch.path(), server)?;

        let mut command = dies_with_parent(Signal::SIGKILL, &[], &etcd_program);
        command.args(components::etcd(
            &scratch.path().join("etcd"),
            etcd_address,
            peer,
        ));
        let etcd = Child::start("etcd", scratch.path(), Signal::SIGTERM, command)?;

        let kubeconfig = scratch.path().join("kubeconfig");
        let config = kubeconfig::config(&kubeconfig).await?;
        let client = Client::try_from(config.clone()).context("a client for the control plane")?;
        let mut control_plane = Self {
            kubeconfig,
            config,
            client,
            server,
            etcd_address,
            api_server: None,
            etcd,
            scratch,
        };
        control_plane.start_apiserver().await?;
        if definitions != Definitions::None {
            let objects = tokio::task::spawn_blocking(move || read_definitions(definitions))
                .await
                .context("reading manifests")??;
            manifest::apply(&control_plane.client, objects).await?;
        }
        Ok(control_plane)
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The configuration of that client, to be changed into another (an impersonated user, other time limits).
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// The kubeconfig file of the administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where the API server listens.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Ends the API server and starts it again on the same address with the same data: every watch and request breaks.
    pub async fn restart_apiserver(&mut self) -> Result<()> {
        self.stop_apiserver();
        self.start_apiserver().await
    }

    /// Ends the API server; requests are refused until [`start_apiserver`](Self::start_apiserver).
    pub fn stop_apiserver(&mut self) {
        self.api_server = None;
    }

    /// Starts the API server, and returns when it answers as ready.
    pub async fn start_apiserver(&mut self) -> Result<()> {
        let mut command = dies_with_parent(Signal::SIGKILL, &[], &program(Program::KubeApiserver)?);
        command.args(components::kube_apiserver(&ApiServer {
            bind: self.server.ip(),
            advertise: self.server.ip(),
            port: self.server.port(),
            etcd: self.etcd_address,
            pki: self.scratch.path(),
        }));
        // No controller makes service accounts here, so a pod that a test creates must not need one.
        command.arg("--disable-admission-plugins=ServiceAccount");
        // A loopback address cannot be an endpoint; without this the API server would try for ever.
        command.arg("--endpoint-reconciler-type=none");
        let mut api_server = Child::start(
            "kube-apiserver",
            self.scratch.path(),
            Signal::SIGTERM,
            command,
        )?;
        let mut ended = Ok(());
        let ready = wait::until("the API server being ready", READY, async || {
            ended = self.etcd.check().and_then(|()| api_server.check());
            if ended.is_err() {
                return Ok(());
            }
            look_ready(&self.client).await
        })
        .await;
        ended.and(ready)?;
        self.api_server = Some(api_server);
        Ok(())
    }
}

/// One look at whether the API server is ready and has made the namespaces that everything needs.
pub async fn look_ready(client: &Client) -> Result<()> {
    let request = http::Request::get("/readyz")
        .body(Vec::new())
        .context("a request")?;
    client.request_text(request).await.context("not ready")?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .get("default")
        .await
        .context("no default namespace")?;
    Ok(())
}

/// The custom resource definitions of DAAP, and with [`Definitions::All`] of CloudNativePG and the plugin.
fn read_definitions(definitions: Definitions) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    if definitions == Definitions::All {
        objects.extend(manifest::read(&artifacts::manifest(Manifest::Cnpg)?)?);
        objects.extend(manifest::read(&artifacts::manifest(
            Manifest::BarmanPlugin,
        )?)?);
    }
    objects.retain(|object| manifest::kind(object) == "CustomResourceDefinition");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
    if own.is_dir() {
        for entry in fs::read_dir(&own).with_context(|| format!("listing {}", own.display()))? {
            let path = entry.context("listing our definitions")?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                objects.extend(manifest::read(&path)?);
            }
        }
    }
    Ok(objects)
}

fn program(program: Program) -> Result<PathBuf> {
    artifacts::program(program).with_context(|| format!("providing {program:?}"))
}

/// Addresses on loopback with ports that nobody uses.
///
/// All listeners are open at once, so the ports differ. Another process might take one before its server does, which
/// would show as that server's end, with its words in the error.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let listeners: Vec<_> = (0..N)
        .map(|_| TcpListener::bind(loopback))
        .collect::<Result<_, _>>()?;
    let mut addresses = [loopback; N];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr().context("the address of a listener")?;
    }
    Ok(addresses)
}

/// Writes certificates, keys and the administrator's kubeconfig.
fn write_credentials(name: &str, directory: &Path, server: SocketAddr) -> Result<()> {
    let authority = Authority::new(&format!("daap control plane {name}"))?;
    let api_server = authority.server(
        "kube-apiserver",
        &[server.ip().to_string(), "localhost".to_owned()],
    )?;
    let admin = authority.client("admin", Some("system:masters"))?;
    let tokens = certificates::signing_key()?;
    let kubeconfig = kubeconfig::text(
        name,
        &format!("https://{server}"),
        authority.certificate(),
        &admin,
    )?;
    for (file, text) in [
        (pki::AUTHORITY, authority.certificate()),
        (pki::API_SERVER, &api_server.certificate),
        (pki::API_SERVER_KEY, &api_server.private_key),
        (pki::TOKEN_PUBLIC_KEY, &tokens.public_key),
        (pki::TOKEN_KEY, &tokens.private_key),
        ("kubeconfig", &kubeconfig),
    ] {
        fs::write(directory.join(file), text).with_context(|| format!("writing {file}"))?;
    }
    Ok(())
}
