//! A Kubernetes client with deadlines and without hidden retries. Reads the kubeconfig or the pod's service account.

use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use thiserror::Error;
use tower::limit::ConcurrencyLimitLayer;

/// Longer than the five minutes after which a quiet watch is renewed, so that it ends only dead connections.
/// Single calls get shorter deadlines from their callers.
const READ_TIMEOUT: Duration = Duration::from_secs(310);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How the Kubernetes API is reached.
#[derive(Debug, Clone, clap::Args)]
pub struct KubernetesSettings {
    /// A kubeconfig file. Absent: KUBECONFIG, ~/.kube/config, or the pod's service account.
    #[arg(long, env = "DAAP_KUBECONFIG", global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How many requests to the Kubernetes API may be under way at once.
    #[arg(
        long,
        env = "DAAP_KUBERNETES_CONCURRENCY",
        global = true,
        value_name = "COUNT",
        default_value_t = 64
    )]
    pub kubernetes_concurrency: usize,
}

impl Default for KubernetesSettings {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            kubernetes_concurrency: 64,
        }
    }
}

/// No client can be made.
#[derive(Debug, Error)]
pub enum KubernetesError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a service account was found.
    #[error("neither a kubeconfig nor a service account was found")]
    Infer(#[from] kube::config::InferConfigError),
    /// The configuration is unusable.
    #[error("the Kubernetes configuration cannot be used")]
    Client(#[from] kube::Error),
}

/// A client as the settings say. Nothing is sent yet.
///
/// # Errors
/// [`KubernetesError`] when there is no usable configuration.
pub async fn client(settings: &KubernetesSettings) -> Result<Client, KubernetesError> {
    let config = match &settings.kubeconfig {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await?,
    };
    Ok(client_with(config, settings.kubernetes_concurrency)?)
}

/// A client with DAAP's deadlines for any configuration. Nothing is sent yet.
///
/// # Errors
/// When the configuration's certificates or addresses are unusable.
pub fn client_with(mut config: Config, concurrency: usize) -> Result<Client, kube::Error> {
    // Callers retry where a retry is safe; the client would repeat any method, for minutes, unseen.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    let layer = ConcurrencyLimitLayer::new(concurrency.max(1));
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}
