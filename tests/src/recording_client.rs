//! A client that remembers its requests, so that a test can say what a component wrote. Passes everything through.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use http::{Method, Request};
use kube::{Client, Config, client::ClientBuilder};
use tower::{Layer, Service};

/// A request that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
}

impl Sent {
    /// Whether it changes something in the cluster.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it belongs to leader election, which writes for as long as a leader lives.
    pub fn is_lease(&self) -> bool {
        self.path.starts_with("/apis/coordination.k8s.io/")
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

/// The memory of a client.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<Sent>>>);

impl Record {
    /// Everything sent so far.
    pub fn all(&self) -> Vec<Sent> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The writes sent so far, leader election aside.
    pub fn writes(&self) -> Vec<Sent> {
        self.all()
            .into_iter()
            .filter(|sent| sent.is_write() && !sent.is_lease())
            .collect()
    }

    /// Forgets.
    pub fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn add(&self, sent: Sent) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sent);
    }
}

/// A client for `config` and its memory.
///
/// # Errors
/// When the configuration makes no client.
pub fn recording_client(config: Config) -> Result<(Client, Record)> {
    let record = Record::default();
    let client = ClientBuilder::try_from(config)
        .context("a client for the control plane")?
        .with_layer(&RecordLayer(record.clone()))
        .build();
    Ok((client, record))
}

struct RecordLayer(Record);

impl<S> Layer<S> for RecordLayer {
    type Service = RecordService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RecordService {
            record: self.0.clone(),
            inner,
        }
    }
}

/// Notes each request and hands it on.
#[derive(Clone)]
pub struct RecordService<S> {
    record: Record,
    inner: S,
}

impl<S, B> Service<Request<B>> for RecordService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        self.record.add(Sent {
            method: request.method().clone(),
            path,
        });
        self.inner.call(request)
    }
}
