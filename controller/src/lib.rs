//! The DAAP controller: turns tiers into immutable revisions, and databases into CloudNativePG objects.
//!
//! | module | subject | may |
//! |---|---|---|
//! | [`settings`] | what can be set from outside | – |
//! | [`controllers`], [`changes`] | which event wakes which run | watch |
//! | [`tier`] | tiers and their revisions | read, write |
//! | [`quota`] | quotas and who is admitted | read, write |
//! | [`object_store`] | object stores: whether they can be used | read, write |
//! | [`database`] | databases and their children | read, write |
//! | [`tenant_sql`] | tenants' databases | SQL |
//! | [`archive`] | what is in object stores | read, delete |
//! | [`k8s`] | the Kubernetes API | read, write, watch, lease |
//! | [`server`], [`metrics`] | probes and counters | serve HTTP |
//! | [`clock`], [`backoff`], [`context`] | what a run has at hand | – |
//!
//! [`run`] is the whole program but for its command line, so that tests run it in-process: several at once, with
//! clients that fail on purpose and clocks that tell another time.

pub mod archive;
pub mod backoff;
pub mod changes;
pub mod clock;
pub mod context;
pub mod controllers;
pub mod database;
#[cfg(test)]
mod fixtures;
pub mod k8s;
pub mod metrics;
pub mod object_store;
pub mod quota;
pub mod server;
pub mod settings;
pub mod tenant_sql;
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
    archive::{Archives, S3},
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
    object_store::probe_times::ProbeTimes,
    quota::bookkeeping::{Bookkeeping, Exact},
    server::Probes,
    settings::Settings,
    tenant_sql::{Postgres, Tenants},
};

/// How often DAAP's own CRDs are looked for at start.
const CRD_PAUSE: Duration = Duration::from_secs(2);
/// How soon the number of a leadership is looked for again.
const EPOCH_PAUSE: Duration = Duration::from_secs(1);
/// How often the watches are looked at.
const WATCH_PAUSE: Duration = Duration::from_secs(10);
/// How long a tenant's database gets for what is done in it.
const TENANT_DEADLINE: Duration = Duration::from_secs(10);

/// How long one request to an object store may take, tries included.
const ARCHIVE_DEADLINE: Duration = Duration::from_secs(20);

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

/// What surrounds the controller and is given to it, so that tests can give it something else.
#[derive(Clone)]
pub struct Surroundings {
    /// Tells the time.
    pub clock: Clock,
    /// What is charged to quotas.
    pub bookkeeping: Arc<dyn Bookkeeping>,
    /// Works in tenants' databases.
    pub tenants: Arc<dyn Tenants>,
    /// What is in object stores.
    pub archives: Arc<dyn Archives>,
}

impl Default for Surroundings {
    /// The time of the machine, judgements, databases and object stores as they are.
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            bookkeeping: Arc::new(Exact),
            tenants: Arc::new(Postgres::new(TENANT_DEADLINE)),
            archives: Arc::new(S3::new(ARCHIVE_DEADLINE)),
        }
    }
}

/// Runs the controller until `shutdown`.
///
/// # Errors
/// When it cannot go on; the process should end.
pub async fn run(
    settings: Settings,
    client: Client,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let surroundings = Surroundings::default();
    Box::pin(run_in(surroundings, settings, client, shutdown)).await
}

/// Runs the controller until `shutdown`, in these surroundings.
///
/// # Errors
/// When it cannot go on; the process should end.
pub async fn run_in(
    surroundings: Surroundings,
    settings: Settings,
    client: Client,
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
        surroundings,
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
    surroundings: Surroundings,
    identity: &str,
    mut leadership: Leadership,
    probes: &Probes,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    tokio::select! {
        acquired = leadership.acquired() => acquired?,
        () = shutdown.cancelled() => return Ok(()),
    }
    let deadline = settings.api_deadline;
    let reader = Reader::new(client.clone(), deadline);
    let epoch = tokio::select! {
        epoch = first_epoch(&reader, &settings) => epoch,
        () = leadership.lost() => return Err(LeaseError::Lost.into()),
        () = shutdown.cancelled() => return Ok(()),
    };
    tracing::info!(identity, epoch, "leading");
    probes.metrics.set_leader(true);
    let context = Context {
        reader,
        writer: Writer::new(client.clone(), deadline, leadership.clone()),
        publisher: Publisher::new(client.clone(), identity, deadline, leadership.clone()),
        clock: surroundings.clock,
        bookkeeping: surroundings.bookkeeping,
        tenants: surroundings.tenants,
        archives: surroundings.archives,
        epoch,
        metrics: probes.metrics.clone(),
        database_backoff: Backoff::default(),
        tier_backoff: Backoff::default(),
        quota_backoff: Backoff::default(),
        object_store_backoff: Backoff::default(),
        probe_times: ProbeTimes::default(),
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

/// The number of a leadership that just began.
async fn first_epoch(reader: &Reader, settings: &Settings) -> i64 {
    loop {
        match quota::epoch(reader, settings).await {
            Ok(epoch) => return epoch,
            Err(error) => tracing::warn!(
                category = error.category(),
                error = error.chain(),
                "cannot number this leadership"
            ),
        }
        tokio::time::sleep(EPOCH_PAUSE).await;
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
