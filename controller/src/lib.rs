//! The DAAP controller: turns tiers into immutable revisions, and databases into CloudNativePG objects.
//!
//! | module | subject | may |
//! |---|---|---|
//! | [`settings`] | what can be set from outside | – |
//! | [`controllers`] | which event wakes which run | watch |
//! | [`tier`] | tiers and their revisions | read, write |
//! | [`quota`] | admission | – |
//! | [`database`] | databases and their children | read, write |
//! | [`k8s`] | the Kubernetes API | read, write, watch, lease |
//! | [`server`], [`metrics`] | probes and counters | serve HTTP |
//! | [`clock`], [`backoff`], [`context`] | what a run has at hand | – |
//!
//! [`run`] is the whole program but for its command line, so that tests run it in-process: several at once, with
//! clients that fail on purpose and clocks that tell another time.

pub mod backoff;
pub mod clock;
pub mod context;
pub mod controllers;
pub mod database;
#[cfg(test)]
mod fixtures;
pub mod k8s;
pub mod metrics;
pub mod quota;
pub mod server;
pub mod settings;
pub mod tier;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use daap_crds::{DaapDatabase, DaapObjectStore, DaapQuota, DaapTier, DaapTierRevision};
use kube::Client;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    clock::Clock,
    context::Context,
    k8s::{
        apply::Writer,
        client::Reader,
        error::CallError,
        events::Publisher,
        lease::{Leadership, Lease, LeaseError},
        watch::Freshness,
    },
    metrics::Metrics,
    server::Probes,
    settings::Settings,
};

/// How often DAAP's own CRDs are looked for at start.
const CRD_PAUSE: Duration = Duration::from_secs(2);
/// How often the watches are looked at.
const WATCH_PAUSE: Duration = Duration::from_secs(10);

/// Why the controller ended without being asked to.
#[derive(Debug, Error)]
pub enum RunError {
    /// The probes cannot be served.
    #[error("cannot listen on the address for probes and metrics")]
    Listen(#[source] io::Error),
    /// Leadership cannot be had, or was lost. The process must end: what it was about to do is another's now.
    #[error("cannot lead")]
    Lease(#[from] LeaseError),
    /// A watch fell silent.
    #[error("watches heard nothing for too long: {0}")]
    Silent(String),
}

/// Runs the controller until `shutdown`, with the time of the machine.
///
/// # Errors
/// When it cannot go on; the process should end.
pub async fn run(
    settings: Settings,
    client: Client,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    Box::pin(run_with_clock(settings, client, Clock::system(), shutdown)).await
}

/// Runs the controller until `shutdown`, with the time that `clock` tells.
///
/// # Errors
/// When it cannot go on; the process should end.
pub async fn run_with_clock(
    settings: Settings,
    client: Client,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let probes = Probes {
        metrics: Metrics::default(),
        freshness: Freshness::default(),
        watch_deadline: settings.watch_deadline,
        ready: Arc::new(AtomicBool::new(false)),
    };
    // Whatever ends this function ends what it started.
    let ended = shutdown.child_token();
    let _guard = ended.clone().drop_guard();
    server::serve(settings.http_listen, probes.clone(), ended)
        .await
        .map_err(RunError::Listen)?;

    let reader = Reader::new(client.clone(), settings.api_deadline);
    tokio::select! {
        () = own_kinds_served(&reader) => probes.ready.store(true, Ordering::Relaxed),
        () = shutdown.cancelled() => return Ok(()),
    }

    let identity = settings
        .lease_identity
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let lease = Lease::compete(
        client.clone(),
        &settings.system_namespace,
        &settings.lease_name,
        &identity,
    )
    .await?;
    let outcome = lead(
        settings,
        client,
        clock,
        &identity,
        lease.leadership(),
        &probes,
        &shutdown,
    )
    .await;
    probes.metrics.set_leader(false);
    lease.release().await;
    outcome
}

/// Waits for leadership, and works for as long as it lasts.
async fn lead(
    settings: Settings,
    client: Client,
    clock: Clock,
    identity: &str,
    mut leadership: Leadership,
    probes: &Probes,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    tokio::select! {
        acquired = leadership.acquired() => acquired?,
        () = shutdown.cancelled() => return Ok(()),
    }
    tracing::info!(identity, "leading");
    probes.metrics.set_leader(true);
    let deadline = settings.api_deadline;
    let context = Context {
        reader: Reader::new(client.clone(), deadline),
        writer: Writer::new(client.clone(), deadline, leadership.clone()),
        publisher: Publisher::new(client.clone(), identity, deadline, leadership.clone()),
        clock,
        metrics: probes.metrics.clone(),
        database_backoff: Backoff::default(),
        tier_backoff: Backoff::default(),
        settings,
    };
    let work = controllers::run(
        Arc::new(context),
        client,
        probes.freshness.clone(),
        shutdown.clone(),
    );
    tokio::select! {
        () = work => Ok(()),
        () = leadership.lost() => Err(LeaseError::Lost.into()),
        silent = silence(probes) => Err(RunError::Silent(silent)),
    }
}

/// Waits until the API server serves DAAP's own kinds.
async fn own_kinds_served(reader: &Reader) {
    loop {
        let served = tokio::try_join!(
            reader.serves::<DaapDatabase>(),
            reader.serves::<DaapTier>(),
            reader.serves::<DaapTierRevision>(),
            reader.serves::<DaapQuota>(),
            reader.serves::<DaapObjectStore>(),
        );
        match served {
            Ok((true, true, true, true, true)) => return,
            Ok(_) => tracing::info!("waiting for DAAP's CRDs"),
            Err(error) => {
                let error: CallError = error;
                tracing::warn!(
                    category = error.category(),
                    error = error.chain(),
                    "cannot look for DAAP's CRDs"
                );
            }
        }
        tokio::time::sleep(CRD_PAUSE).await;
    }
}

/// Waits until a watch is silent for too long, and tells which.
async fn silence(probes: &Probes) -> String {
    loop {
        tokio::time::sleep(WATCH_PAUSE).await;
        let silent = probes.stale_watches();
        if !silent.is_empty() {
            return silent.join(", ");
        }
    }
}
