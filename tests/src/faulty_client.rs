//! A client that goes wrong on purpose: replies are lost, requests are late, answers are old, a process dies at a write.
//!
//! What goes wrong is decided for each request by a function; everything else passes through.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use http::{Method, Request, Response};
use kube::{Client, Config, client::Body};
use serde_json::Value;
use tokio::sync::watch;
use tower::BoxError;

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is carried out, and nobody learns of it.
    LostReply,
    /// It arrives late.
    Late(Duration),
    /// It does not arrive before the gate is open.
    Held(watch::Receiver<bool>),
    /// It is carried out, and is the last thing that this client ever does.
    Death,
    /// It never arrives, and is the last thing that this client ever does.
    DeathBefore,
    /// It is carried out without regard to the version that it was decided on, and late.
    Unconditional(Duration),
    /// Every second answer is the first one that was ever given.
    StaleAnswer,
}

/// A request, as far as a fault depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query.
    pub path: &'a str,
}

impl Asked<'_> {
    /// Whether it writes the status of a quota.
    pub fn writes_quota_status(&self) -> bool {
        self.method == Method::PATCH
            && self.path.contains("/daapquotas/")
            && self.path.contains("/status")
    }

    /// Whether it lists databases.
    pub fn lists_databases(&self) -> bool {
        self.method == Method::GET
            && self.path.contains("/daapdatabases?")
            && !self.path.contains("watch=true")
    }

    /// Whether it watches databases.
    pub fn watches_databases(&self) -> bool {
        self.path.contains("/daapdatabases?") && self.path.contains("watch=true")
    }
}

type Faults = dyn Fn(Asked<'_>) -> Fault + Send + Sync;

/// A client for `config`, with the faults that `faults` says.
///
/// # Errors
/// When the configuration makes no client.
pub fn faulty_client(
    config: Config,
    faults: impl Fn(Asked<'_>) -> Fault + Send + Sync + 'static,
) -> Result<Client> {
    let namespace = config.default_namespace.clone();
    let line = Arc::new(Line {
        client: Client::try_from(config).context("a client for the control plane")?,
        faults: Box::new(faults),
        dead: AtomicBool::new(false),
        first: Mutex::default(),
    });
    let service = tower::service_fn(move |request: Request<Body>| {
        let line = Arc::clone(&line);
        async move { line.send(request).await }
    });
    Ok(Client::new(service, namespace))
}

struct Line {
    client: Client,
    faults: Box<Faults>,
    dead: AtomicBool,
    /// The first answer to each path, and whether the next one is to be that.
    first: Mutex<HashMap<String, (Vec<u8>, bool)>>,
}

impl Line {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let path = request.uri().path_and_query().map(ToString::to_string);
        let path = path.unwrap_or_default();
        let fault = (self.faults)(Asked {
            method: request.method(),
            path: &path,
        });
        if self.dead.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        match fault {
            Fault::None => self.pass(request).await,
            Fault::LostReply => {
                self.complete(request).await?;
                Err("the reply was lost on purpose".into())
            }
            Fault::Late(delay) => {
                tokio::time::sleep(delay).await;
                self.pass(request).await
            }
            Fault::Held(mut gate) => {
                gate.wait_for(|open| *open).await?;
                self.pass(request).await
            }
            Fault::Death => {
                self.dead.store(true, Ordering::SeqCst);
                self.complete(request).await?;
                std::future::pending().await
            }
            Fault::DeathBefore => {
                self.dead.store(true, Ordering::SeqCst);
                std::future::pending().await
            }
            Fault::Unconditional(delay) => {
                tokio::time::sleep(delay).await;
                self.pass(without_version(request).await?).await
            }
            Fault::StaleAnswer => self.stale(&path, request).await,
        }
    }

    async fn pass(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        Ok(self.client.send(request).await?)
    }

    /// Carries a request out, to the last byte of its answer.
    async fn complete(&self, request: Request<Body>) -> Result<(), BoxError> {
        let answer = self.client.send(request).await?;
        answer.into_body().collect_bytes().await?;
        Ok(())
    }

    async fn stale(&self, path: &str, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = self.client.send(request).await?.into_parts();
        let fresh = body.collect_bytes().await?.to_vec();
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, turn) = first
            .entry(path.to_owned())
            .or_insert_with(|| (fresh.clone(), false));
        let answer = if *turn { old.clone() } else { fresh };
        *turn = !*turn;
        Ok(Response::from_parts(parts, Body::from(answer)))
    }
}

async fn without_version(request: Request<Body>) -> Result<Request<Body>, BoxError> {
    let (mut parts, body) = request.into_parts();
    let mut object: Value = serde_json::from_slice(&body.collect_bytes().await?)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    parts.headers.remove(http::header::CONTENT_LENGTH);
    Ok(Request::from_parts(
        parts,
        Body::from(serde_json::to_vec(&object)?),
    ))
}
