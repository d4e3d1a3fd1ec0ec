//! What can be set from outside. Pure.

use std::{collections::BTreeMap, net::SocketAddr, str::FromStr, time::Duration};

use clap::Parser;
use daap_config::telemetry::LogFormat;

/// The DAAP controller: turns tiers and databases into CloudNativePG objects.
#[derive(Parser, Clone, Debug)]
#[command(name = "daap-controller", version)]
pub struct Settings {
    /// The namespace of DAAP itself: its lease, and the Secrets that object stores name.
    #[arg(long, env = "DAAP_SYSTEM_NAMESPACE", default_value = "daap-system")]
    pub system_namespace: String,
    /// Where /metrics, /livez and /readyz are served.
    #[arg(long, env = "DAAP_HTTP_LISTEN", default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,
    /// The namespace of the CloudNativePG operator.
    #[arg(long, env = "DAAP_OPERATOR_NAMESPACE", default_value = "cnpg-system")]
    pub operator_namespace: String,
    /// What the network policies of databases allow.
    #[command(flatten)]
    pub network: Network,
    /// How long a new database may take until it is an error.
    #[arg(long, env = "DAAP_PROVISIONING_DEADLINE", default_value = "10m", value_parser = duration)]
    pub provisioning_deadline: Duration,
    /// How long a database that was ready may be away until it is an error.
    #[arg(long, env = "DAAP_INTERRUPTION_DEADLINE", default_value = "2m", value_parser = duration)]
    pub interruption_deadline: Duration,
    /// After which time a database that is to be admitted at once or not at all is removed. Longer than the facade waits.
    #[arg(long, env = "DAAP_FAIL_FAST_DEADLINE", default_value = "15s", value_parser = duration)]
    pub fail_fast_deadline: Duration,
    /// How long CloudNativePG may leave a new Cluster untouched until its operator counts as missing.
    #[arg(long, env = "DAAP_OPERATOR_DEADLINE", default_value = "1m", value_parser = duration)]
    pub operator_deadline: Duration,
    /// How long a step of an operation is tried that the operation can do without: a freeze without an archive, a forced
    /// archive.
    #[arg(long, env = "DAAP_OPERATION_PATIENCE", default_value = "2m", value_parser = duration)]
    pub operation_patience: Duration,
    /// How long after it was emptied an archive is looked at once more.
    #[arg(long, env = "DAAP_PURGE_RECHECK", default_value = "1m", value_parser = duration)]
    pub purge_recheck: Duration,
    /// How long a restore may take until it is an error, and what it began is removed.
    #[arg(long, env = "DAAP_RESTORE_DEADLINE", default_value = "12h", value_parser = duration)]
    pub restore_deadline: Duration,
    /// How often a database is looked at although nothing happened.
    #[arg(long, env = "DAAP_RESYNC_INTERVAL", default_value = "10m", value_parser = duration)]
    pub resync_interval: Duration,
    /// How often an object store is tried although nothing happened.
    #[arg(long, env = "DAAP_PROBE_INTERVAL", default_value = "5m", value_parser = duration)]
    pub probe_interval: Duration,
    /// How long one call to the API server may take.
    #[arg(long, env = "DAAP_API_DEADLINE", default_value = "10s", value_parser = duration)]
    pub api_deadline: Duration,
    /// How many objects of a kind are worked on at once.
    #[arg(long, env = "DAAP_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// After how much silence of a watch /livez fails.
    #[arg(long, env = "DAAP_WATCH_DEADLINE", default_value = "5m", value_parser = duration)]
    pub watch_deadline: Duration,
    /// The Lease that one replica holds.
    #[arg(long, env = "DAAP_LEASE_NAME", default_value = "daap-controller")]
    pub lease_name: String,
    /// This replica's name in the Lease. Absent: a random one.
    #[arg(long, env = "DAAP_LEASE_IDENTITY")]
    pub lease_identity: Option<String>,
    /// The form of the log.
    #[arg(long, env = "DAAP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// What the network policies of databases allow, beside what follows from the database itself.
#[derive(Parser, Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The addresses of the API server: its Service and its endpoints. An instance cannot live without it.
    #[arg(
        long,
        env = "DAAP_API_SERVER_CIDRS",
        value_delimiter = ',',
        default_value = "0.0.0.0/0,::/0"
    )]
    pub api_server_cidrs: Vec<String>,
    /// The ports of the API server.
    #[arg(
        long,
        env = "DAAP_API_SERVER_PORTS",
        value_delimiter = ',',
        default_value = "443,6443"
    )]
    pub api_server_ports: Vec<u16>,
    /// The addresses of object stores, for tiers with a backup.
    #[arg(
        long,
        env = "DAAP_OBJECT_STORE_CIDRS",
        value_delimiter = ',',
        default_value = "0.0.0.0/0,::/0"
    )]
    pub object_store_cidrs: Vec<String>,
    /// The ports of object stores, beside the one in the endpoint's URL.
    #[arg(
        long,
        env = "DAAP_OBJECT_STORE_PORTS",
        value_delimiter = ',',
        default_value = "443"
    )]
    pub object_store_ports: Vec<u16>,
    /// The addresses of the nodes, which probe the instances. Empty: the network plugin lets nodes through by itself.
    #[arg(long, env = "DAAP_NODE_CIDRS", value_delimiter = ',')]
    pub node_cidrs: Vec<String>,
    /// The namespace of the cluster's DNS.
    #[arg(long, env = "DAAP_DNS_NAMESPACE", default_value = "kube-system")]
    pub dns_namespace: String,
    /// A label of the pods of the cluster's DNS.
    #[arg(long, env = "DAAP_DNS_SELECTOR", default_value = "k8s-app=kube-dns")]
    pub dns_selector: Label,
}

impl Settings {
    /// The settings that hold where nothing is set.
    ///
    /// # Errors
    /// When a variable of the environment has a value that is not allowed.
    pub fn from_defaults() -> Result<Self, clap::Error> {
        Self::try_parse_from(["daap-controller"])
    }
}

/// A label that selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    key: String,
    value: String,
}

impl Label {
    /// The label as selectors have it.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(self.key.clone(), self.value.clone())])
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("write key=value".to_owned()),
        }
    }
}

/// Whole seconds, minutes or hours, such as `90s`, `10m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    units
        .iter()
        .find_map(|(unit, milliseconds)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, *milliseconds)))
        .and_then(|(count, milliseconds)| count.checked_mul(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(|| "write whole milliseconds, seconds, minutes or hours, such as '500ms', '90s', '10m' or '1h'".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for bad in ["", "10", "m", "1.5m", "-1s", "99999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let settings = Settings::try_parse_from([
            "daap-controller",
            "--api-server-cidrs=10.96.0.1/32,192.168.0.7/32",
            "--node-cidrs=192.168.0.0/24",
            "--dns-selector=app=dns",
        ])
        .unwrap();
        assert_eq!(
            settings.network.api_server_cidrs,
            ["10.96.0.1/32", "192.168.0.7/32"]
        );
        assert_eq!(settings.network.node_cidrs, ["192.168.0.0/24"]);
        assert_eq!(settings.network.dns_selector.to_map()["app"], "dns");
    }
}
