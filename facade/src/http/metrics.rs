//! Counts and durations for Prometheus. Labels are bounded: operations of the contract, and statuses.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text::encode},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use crate::service::freshness::Freshness;

/// What a request was counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: String,
}

/// The metrics of this process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram>,
    connections: Gauge,
}

impl Metrics {
    /// Fresh metrics; the age of the record is asked at each scrape.
    pub fn new(freshness: Arc<Freshness>) -> Arc<Self> {
        let requests = Family::default();
        let durations = Family::new_with_constructor(duration_histogram as fn() -> Histogram);
        let connections = Gauge::default();
        let mut registry = Registry::with_prefix("daap_facade");
        registry.register("http_requests", "Answered requests", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time until the answer",
            durations.clone(),
        );
        registry.register("http_connections", "Open connections", connections.clone());
        registry.register_collector(Box::new(MirrorAge(freshness)));
        Arc::new(Self {
            registry,
            requests,
            durations,
            connections,
        })
    }

    /// Counts an answered request.
    pub fn answered(&self, operation: &str, status: u16, duration: Duration) {
        let operation = operation.to_owned();
        self.requests
            .get_or_create(&RequestLabels {
                operation: operation.clone(),
                status,
            })
            .inc();
        self.durations
            .get_or_create(&OperationLabels { operation })
            .observe(duration.as_secs_f64());
    }

    /// The number of open connections, to be moved by their tasks.
    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// The metrics as Prometheus reads them.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// How old the record of the cluster is. Not a number before the first one.
#[derive(Debug)]
struct MirrorAge(Arc<Freshness>);

impl Collector for MirrorAge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let age = self.0.age().map_or(f64::NAN, |age| age.as_secs_f64());
        let gauge = ConstGauge::new(age);
        let encoder = encoder.encode_descriptor(
            "mirror_age_seconds",
            "Since when the cluster was not heard by the replica that mirrors it",
            None,
            MetricType::Gauge,
        )?;
        gauge.encode(encoder)
    }
}

fn duration_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}
