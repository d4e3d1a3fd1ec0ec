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
    /// How it serves.
    #[command(flatten)]
    pub service: ServiceSettings,
    /// The metadata database.
    #[command(flatten)]
    pub store: StoreSettings,
    /// The Kubernetes API.
    #[command(flatten)]
    pub kubernetes: KubernetesSettings,
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

/// How the facade serves.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceSettings {
    /// How it is reached.
    #[command(flatten)]
    pub listen: ListenSettings,
    /// The audit log.
    #[command(flatten)]
    pub audit: AuditSettings,
    /// The namespace that DAAP itself runs in.
    #[arg(
        long,
        env = "DAAP_SYSTEM_NAMESPACE",
        global = true,
        value_name = "NAME",
        default_value = "daap-system"
    )]
    pub system_namespace: String,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            listen: ListenSettings::default(),
            audit: AuditSettings::default(),
            system_namespace: "daap-system".to_owned(),
        }
    }
}

/// How the audit log is kept.
#[derive(Debug, Clone, clap::Args)]
pub struct AuditSettings {
    /// For how many days rows of the audit log are kept at least. Whole months are dropped.
    #[arg(
        long,
        env = "DAAP_AUDIT_RETENTION_DAYS",
        global = true,
        value_name = "DAYS",
        default_value_t = 400
    )]
    pub audit_retention_days: u32,
    /// How often new rows are sealed.
    #[arg(
        long,
        env = "DAAP_AUDIT_SEAL_SECONDS",
        global = true,
        value_name = "SECONDS",
        default_value_t = 1.0
    )]
    pub audit_seal_seconds: f32,
    /// How often the log is kept in order, and what was counted in memory is written.
    #[arg(
        long,
        env = "DAAP_AUDIT_UPKEEP_SECONDS",
        global = true,
        value_name = "SECONDS",
        default_value_t = 60.0
    )]
    pub audit_upkeep_seconds: f32,
    /// After how long a change without an outcome counts as interrupted. Longer than any request takes.
    #[arg(
        long,
        env = "DAAP_AUDIT_INTERRUPTED_SECONDS",
        global = true,
        value_name = "SECONDS",
        default_value_t = 300.0
    )]
    pub audit_interrupted_seconds: f32,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            audit_retention_days: 400,
            audit_seal_seconds: 1.0,
            audit_upkeep_seconds: 60.0,
            audit_interrupted_seconds: 300.0,
        }
    }
}

impl AuditSettings {
    pub(crate) fn seal_interval(&self) -> Duration {
        seconds(self.audit_seal_seconds)
    }

    pub(crate) fn upkeep_interval(&self) -> Duration {
        seconds(self.audit_upkeep_seconds)
    }

    pub(crate) fn open_intent(&self) -> Duration {
        seconds(self.audit_interrupted_seconds)
    }
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
    /// How many requests a key may send at once, on each replica.
    #[arg(
        long,
        env = "DAAP_RATE_BURST",
        global = true,
        value_name = "COUNT",
        default_value_t = 1000
    )]
    pub rate_burst: u32,
    /// How many requests a second a key may send in the long run, on each replica.
    #[arg(
        long,
        env = "DAAP_RATE_PER_SECOND",
        global = true,
        value_name = "COUNT",
        default_value_t = 200
    )]
    pub rate_per_second: u32,
    /// How many failed authentications one address may have at once. One more is allowed for every tenth of a second.
    #[arg(
        long,
        env = "DAAP_FAILURE_BURST",
        global = true,
        value_name = "COUNT",
        default_value_t = 300
    )]
    pub failure_burst: u32,
    /// How long a new database waits for its quota to admit it. Shorter than the controller's --fail-fast-deadline.
    #[arg(
        long,
        env = "DAAP_ADMISSION_TIMEOUT_SECONDS",
        global = true,
        value_name = "SECONDS",
        default_value_t = 10.0
    )]
    pub admission_timeout_seconds: f32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            header_timeout_seconds: 10.0,
            body_timeout_seconds: 30.0,
            idle_timeout_seconds: 75.0,
            drain_timeout_seconds: 30.0,
            rate_burst: 1000,
            rate_per_second: 200,
            failure_burst: 300,
            admission_timeout_seconds: 10.0,
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

    pub(crate) fn admission_timeout(&self) -> Duration {
        seconds(self.admission_timeout_seconds)
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        seconds(self.drain_timeout_seconds)
    }
}

/// What is no number of seconds is a minute.
fn seconds(value: f32) -> Duration {
    Duration::try_from_secs_f32(value).unwrap_or(Duration::from_secs(60))
}
