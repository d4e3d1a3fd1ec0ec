//! The cluster that everything runs on, wherever it comes from: a node on this machine, k3d, or one that exists.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};

use super::{
    artifacts::{self, Image},
    cnpg::{self, InPlace, Source},
    existing, k3d, kubeconfig,
    node::{self, Layout, Node},
    object_store::{self, ObjectStore},
    port_forward::{self, Forwarding},
    progress::Progress,
};

/// Where a cluster comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// k3d where a Docker engine answers, a node elsewhere; never one that exists.
    Auto,
    /// A node of our own, in namespaces of this machine.
    Node,
    /// k3d.
    K3d,
    /// The cluster of the current kubeconfig.
    Existing,
}

/// One cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    provider: Provider,
    layout: Layout,
}

impl Cluster {
    /// The cluster with this name. A cluster that is up stays with the provider that it was made by.
    pub async fn choose(provider: Provider, name: &str) -> Result<Self> {
        let layout = Layout::new(name)?;
        let made_by = fs::read_to_string(layout.provider_record()).ok();
        let made_by = made_by.and_then(|text| Provider::from_str(&text, false).ok());
        // Asking Docker takes a moment, so it is asked only where the answer matters.
        let engine = provider == Provider::Auto && made_by.is_none() && k3d::engine_answers().await;
        let provider = settle(provider, made_by, engine)
            .with_context(|| format!("the cluster {name} cannot be used"))?;
        Ok(Self { provider, layout })
    }

    /// Where the cluster comes from; never [`Provider::Auto`].
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Where the things of the cluster are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        match self.provider {
            Provider::Existing => existing::kubeconfig(),
            _ => Ok(self.layout.kubeconfig()),
        }
    }

    /// A client that may do everything.
    pub async fn client(&self) -> Result<Client> {
        kubeconfig::client(&self.kubeconfig()?).await
    }

    /// The address of this machine at which the cluster's forwarded ports are.
    pub fn address(&self) -> IpAddr {
        self.layout.loopback().into()
    }

    /// The S3 server of the cluster.
    pub fn object_store(&self) -> Result<ObjectStore> {
        ObjectStore::read(&self.layout.object_store())
            .with_context(|| format!("the cluster {} is not up", self.layout.name()))
    }

    /// The node, where the cluster is one of ours.
    pub fn node(&self) -> Result<Node> {
        Node::find(&self.layout)
            .with_context(|| format!("the cluster {} does not run", self.layout.name()))
    }

    /// Brings the cluster up, or completes what is half up.
    pub async fn up(&self, progress: Progress) -> Result<()> {
        self.make_state()?;
        let provider = self
            .provider
            .to_possible_value()
            .context("a provider without a name")?;
        fs::write(self.layout.provider_record(), provider.get_name())
            .context("recording the provider")?;
        match self.provider {
            Provider::Node | Provider::Auto => {
                return node::up(&self.layout, progress).await.map(drop);
            }
            Provider::K3d => {
                k3d::ensure_engine().await?;
                let layout = self.layout.clone();
                progress
                    .blocking_step("k3d cluster", move || k3d::up(&layout))
                    .await?;
            }
            Provider::Existing => {}
        }
        let client = self.client().await?;
        progress.say(&format!(
            "Kubernetes {} answers",
            existing::version(&client).await?
        ));
        let store = ObjectStore::read_or_make(&self.layout.object_store(), &object_store::host())?;
        progress
            .step("S3 server", object_store::install(&client, &store))
            .await
    }

    fn make_state(&self) -> Result<()> {
        let directory = self.layout.state();
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))
    }

    /// Installs CloudNativePG and the Barman Cloud plugin, unless somebody else did.
    pub async fn install_cnpg(&self, progress: Progress) -> Result<()> {
        let (source, in_place) = match self.provider {
            Provider::Node | Provider::Auto => (Source::Archives, InPlace::Renew),
            Provider::K3d => (Source::Upstream, InPlace::Renew),
            Provider::Existing => (Source::Upstream, InPlace::Leave),
        };
        cnpg::install(&self.client().await?, source, in_place, progress).await
    }

    /// Takes the cluster down and removes everything of it; one that exists is left, but for forwarded ports.
    pub async fn down(&self) -> Result<()> {
        match self.provider {
            Provider::Node | Provider::Auto => return node::down(&self.layout).await,
            Provider::K3d => {
                // Without one nothing was made, unless there is a kubeconfig.
                if self.layout.kubeconfig().exists() {
                    k3d::ensure_engine().await?;
                }
                let layout = self.layout.clone();
                tokio::task::spawn_blocking(move || k3d::down(&layout))
                    .await
                    .context("removing the cluster")??;
            }
            Provider::Existing => {}
        }
        port_forward::stop_all(self.layout.state())?;
        node::remove_state(&self.layout).await
    }

    /// Lets a port of [`address`](Self::address) lead to a port of a Service, until the cluster is taken down.
    pub async fn forward(
        &self,
        port: u16,
        namespace: &str,
        service: &str,
        target: u16,
    ) -> Result<SocketAddr> {
        if self.provider == Provider::Node {
            let address = self.service_address(namespace, service).await?;
            return self.node()?.forward(port, (address, target).into()).await;
        }
        self.make_state()?;
        let forwarding = Forwarding {
            kubeconfig: self.kubeconfig()?,
            address: self.address(),
            port,
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            target,
        };
        forwarding.start(self.layout.state()).await?;
        Ok((self.address(), port).into())
    }

    async fn service_address(&self, namespace: &str, service: &str) -> Result<IpAddr> {
        let api: Api<Service> = Api::namespaced(self.client().await?, namespace);
        let object = api
            .get(service)
            .await
            .with_context(|| format!("reading the service {namespace}/{service}"))?;
        let address = object
            .spec
            .and_then(|spec| spec.cluster_ip)
            .context("a service without an address")?;
        address
            .parse()
            .with_context(|| format!("a service with the address {address:?}"))
    }

    /// Gives the cluster images of ours that it does not have yet.
    pub async fn import(&self, images: &'static [Image]) -> Result<()> {
        match self.provider {
            Provider::Node | Provider::Auto => self.node()?.import(images).await,
            Provider::K3d => {
                let layout = self.layout.clone();
                let load = move || {
                    images
                        .iter()
                        .try_for_each(|image| k3d::load(&layout, &artifacts::image(*image)?))
                };
                tokio::task::spawn_blocking(load)
                    .await
                    .context("importing images")?
            }
            Provider::Existing => {
                bail!("an existing cluster fetches its images itself; push them with `make images`")
            }
        }
    }

    /// Gives the cluster the images of an archive.
    pub fn load(&self, archive: &Path) -> Result<()> {
        match self.provider {
            Provider::Node | Provider::Auto => self.node()?.load(archive),
            Provider::K3d => k3d::load(&self.layout, archive),
            Provider::Existing => bail!("an existing cluster fetches its images itself"),
        }
    }
}

/// Decides where a cluster comes from: what was asked for, what made the one that is up, and whether a Docker engine
/// answers.
fn settle(asked: Provider, made_by: Option<Provider>, engine: bool) -> Result<Provider> {
    match (asked, made_by) {
        (Provider::Auto, Some(made_by)) => Ok(made_by),
        (Provider::Auto, None) if engine => Ok(Provider::K3d),
        (Provider::Auto, None) => Ok(Provider::Node),
        (asked, Some(made_by)) if asked != made_by => {
            bail!(
                "it was made with the provider {made_by:?} and {asked:?} is asked for; take it down first"
            )
        }
        (asked, _) => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_docker_or_a_node_and_never_what_exists() {
        assert_eq!(settle(Provider::Auto, None, true).unwrap(), Provider::K3d);
        assert_eq!(settle(Provider::Auto, None, false).unwrap(), Provider::Node);
    }

    #[test]
    fn a_cluster_stays_with_the_provider_that_made_it() {
        for made_by in [Provider::Node, Provider::K3d, Provider::Existing] {
            assert_eq!(
                settle(Provider::Auto, Some(made_by), true).unwrap(),
                made_by
            );
            assert_eq!(settle(made_by, Some(made_by), false).unwrap(), made_by);
        }
        assert!(settle(Provider::K3d, Some(Provider::Node), true).is_err());
    }
}
