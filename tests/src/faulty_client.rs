//! A client that goes wrong on purpose: replies are lost, requests are held up, answers are old, a process dies at a write.
//!
//! What goes wrong is decided for each request by a function; everything else passes through. A request that is to be late
//! waits at a [`Gate`], so that it arrives after something else has happened, however long that takes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
    /// It does not arrive before the gate is open.
    Held(Gate),
    /// It is carried out, and is the last thing that this client ever does.
    Death,
    /// It never arrives, and is the last thing that this client ever does.
    DeathBefore,
    /// The same, and it is carried out without regard to the version that it was decided on.
    Unconditional(Gate),
    /// The answer is remembered, if it is the first one.
    Remembered,
    /// The answer is the remembered one.
    Stale,
}

/// Where requests wait until they are let through.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<Passage>);

#[derive(Debug, Clone, Copy)]
struct Passage {
    is_open: bool,
    waiting: usize,
    answered: usize,
}

impl Gate {
    /// A gate that lets requests through until it is closed.
    pub fn opened() -> Self {
        Self(watch::Sender::new(Passage {
            is_open: true,
            waiting: 0,
            answered: 0,
        }))
    }

    /// A gate that holds requests until it is opened.
    pub fn closed() -> Self {
        let gate = Self::opened();
        gate.close();
        gate
    }

    /// Lets everything through, also what waits.
    pub fn open(&self) {
        self.0.send_modify(|passage| passage.is_open = true);
    }

    /// Holds what comes from now on.
    pub fn close(&self) {
        self.0.send_modify(|passage| passage.is_open = false);
    }

    /// How many requests are held.
    pub fn waiting(&self) -> usize {
        self.0.borrow().waiting
    }

    /// How many of those that came here were answered.
    pub fn answered(&self) -> usize {
        self.0.borrow().answered
    }

    async fn pass(&self) {
        let _held = Held::at(self);
        // An error would mean that the sender is gone, which is this gate.
        let _ = self.0.subscribe().wait_for(|passage| passage.is_open).await;
    }

    fn note_answer(&self) {
        self.0.send_modify(|passage| passage.answered += 1);
    }
}

/// A request that is held, until it goes on or whoever sent it gives up.
struct Held<'a>(&'a Gate);

impl<'a> Held<'a> {
    fn at(gate: &'a Gate) -> Self {
        gate.0.send_modify(|passage| passage.waiting += 1);
        Self(gate)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|passage| passage.waiting -= 1);
    }
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

    /// Whether it reads one quota.
    pub fn reads_quota(&self) -> bool {
        self.method == Method::GET && self.path.contains("/daapquotas/")
    }

    /// Whether it lists the databases of a tier, to count them.
    pub fn counts_databases(&self) -> bool {
        self.method == Method::GET
            && self.path.contains("/daapdatabases?")
            && self.path.contains("spec.tier")
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
    /// The first answer to each path that was to be remembered.
    first: Mutex<HashMap<String, Vec<u8>>>,
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
            Fault::Held(gate) => {
                gate.pass().await;
                let answer = self.pass(request).await;
                gate.note_answer();
                answer
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
            Fault::Unconditional(gate) => {
                gate.pass().await;
                let answer = self.pass(without_version(request).await?).await;
                gate.note_answer();
                answer
            }
            Fault::Remembered => self.remember(path, request).await,
            Fault::Stale => self.stale(&path, request).await,
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

    async fn remember(
        &self,
        path: String,
        request: Request<Body>,
    ) -> Result<Response<Body>, BoxError> {
        let (parts, body) = self.client.send(request).await?.into_parts();
        let answer = body.collect_bytes().await?.to_vec();
        self.first().entry(path).or_insert_with(|| answer.clone());
        Ok(Response::from_parts(parts, Body::from(answer)))
    }

    async fn stale(&self, path: &str, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (parts, _) = self.client.send(request).await?.into_parts();
        let answer = self.first().get(path).cloned();
        let answer = answer.ok_or("no answer to this was remembered")?;
        Ok(Response::from_parts(parts, Body::from(answer)))
    }

    fn first(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
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
