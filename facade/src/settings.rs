//! The settings of the facade: flags, environment and an optional file, read by `daap_config::settings`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use daap_config::{kubernetes::KubernetesSettings, settings::SettingsFile, telemetry::LogFormat};

pub use crate::store::StoreSettings;

/// The settings of the facade.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// The file with further settings.
    #[command(flatten)]
    pub file: SettingsFile,
    /// How it is reached.
    #[command(flatten)]
    pub listen: ListenSettings,
    /// The metadata database.
    #[command(flatten)]
    pub store: StoreSettings,
    /// The Kubernetes API.
    #[command(flatten)]
    pub kubernetes: KubernetesSettings,
    /// The namespace that DAAP itself runs in.
    #[arg(
        long,
        env = "DAAP_SYSTEM_NAMESPACE",
        global = true,
        value_name = "NAME",
        default_value = "daap-system"
    )]
    pub system_namespace: String,
    /// How logs are written.
    #[arg(
        long,
        env = "DAAP_LOG_FORMAT",
        global = true,
        value_name = "FORMAT",
        default_value = "json"
    )]
    pub log_format: LogFormat,
}

/// How the facade is reached.
#[derive(Debug, Clone, clap::Args)]
pub struct ListenSettings {
    /// The address and port to listen on.
    #[arg(
        long,
        env = "DAAP_LISTEN",
        global = true,
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8443"
    )]
    pub listen: SocketAddr,
    /// A PEM file with the certificate chain. With --tls-key: HTTPS; without both: plain HTTP.
    #[arg(
        long,
        env = "DAAP_TLS_CERT",
        global = true,
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the private key of the certificate.
    #[arg(
        long,
        env = "DAAP_TLS_KEY",
        global = true,
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// The limits.
    #[command(flatten)]
    pub limits: Limits,
}

impl Default for ListenSettings {
    /// Any free port of the loopback address, without TLS.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_cert: None,
            tls_key: None,
            limits: Limits::default(),
        }
    }
}

/// What a client may take of the facade.
#[derive(Debug, Clone, clap::Args)]
pub struct Limits {
    /// How many connections are served at once; further ones wait.
    #[arg(
        long,
        env = "DAAP_MAX_CONNECTIONS",
        global = true,
        value_name = "COUNT",
        default_value_t = 1024
    )]
    pub max_connections: usize,
    /// How long a TLS handshake, and the header of a request, may take.
    #[arg(
        long,
        env = "DAAP_HEADER_TIMEOUT_SECONDS",
        global = true,
        value_name = "SECONDS",
        default_value_t = 10.0
    )]
    pub header_timeout_seconds: f32,
    /// How long the body of a request may take.
    #[arg(
        long,
        env = "DAAP_BODY_TIMEOUT_SECONDS",
        global = true,
        value_name = "SECONDS",
        default_value_t = 30.0
    )]
    pub body_timeout_seconds: f32,
    /// How long a connection may stay without a request.
    #[arg(
        long,
        env = "DAAP_IDLE_TIMEOUT_SECONDS",
        global = true,
        value_name = "SECONDS",
        default_value_t = 75.0
    )]
    pub idle_timeout_seconds: f32,
    /// How long requests that are under way may take to finish when the process is asked to end.
    #[arg(
        long,
        env = "DAAP_DRAIN_TIMEOUT_SECONDS",
        global = true,
        value_name = "SECONDS",
        default_value_t = 30.0
    )]
    pub drain_timeout_seconds: f32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            header_timeout_seconds: 10.0,
            body_timeout_seconds: 30.0,
            idle_timeout_seconds: 75.0,
            drain_timeout_seconds: 30.0,
        }
    }
}

impl Limits {
    pub(crate) fn header_timeout(&self) -> Duration {
        seconds(self.header_timeout_seconds)
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        seconds(self.body_timeout_seconds)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        seconds(self.idle_timeout_seconds)
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        seconds(self.drain_timeout_seconds)
    }
}

/// What is no number of seconds is a minute.
fn seconds(value: f32) -> Duration {
    Duration::try_from_secs_f32(value).unwrap_or(Duration::from_secs(60))
}
