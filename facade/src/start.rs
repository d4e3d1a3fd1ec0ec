//! Puts the layers together and serves. Several can run in one process.

use std::{io, net::SocketAddr, sync::Arc};

use kube::Client;
use sqlx::PgPool;
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{
        self,
        contract::{Contract, ContractError},
    },
    cluster::{Cluster, anchor::AnchorMap},
    http::{
        connection::Context,
        gate::Gate,
        limit::{Buckets, Rate},
        metrics::Metrics,
        routes::{Routes, UnknownToPolicy},
        server,
    },
    jobs::{self, sealing::Sealer, upkeep::Upkeep},
    service::{
        Ports, Service,
        freshness::Freshness,
        ports::{Anchors, AuditLog, Idempotency},
    },
    settings::{AuditSettings, Limits, ServiceSettings},
    store::{AuditWriter, MigrateError, Store},
};

/// How many failed authentications a second one address may have in the long run.
const FAILURES_PER_SECOND: u32 = 10;

/// The facade cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("the certificate of the server cannot be used")]
    Tls(#[from] daap_config::tls::TlsError),
    /// The program contradicts itself, which tests exclude.
    #[error("this build contradicts itself")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A running facade.
pub struct Running {
    address: SocketAddr,
    task: JoinHandle<Result<(), MigrateError>>,
}

impl Running {
    /// The address it listens on, with the port that was chosen when port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has ended: after a shutdown, or because the metadata database is of no use to it.
    ///
    /// # Errors
    /// When the schema of the metadata database cannot be brought up to date.
    pub async fn ended(self) -> Result<(), MigrateError> {
        // A panic of the task has been reported by its hook; there is nothing left to say.
        self.task.await.unwrap_or(Ok(()))
    }
}

/// Listens and serves until `shutdown`. `/health` answers at once; `/ready` when the schema of the metadata database is
/// up to date and both it and the Kubernetes API answer.
///
/// # Errors
/// [`StartError`] when it cannot listen, or the certificate cannot be used.
pub async fn start(
    settings: &ServiceSettings,
    client: Client,
    pool: PgPool,
    shutdown: CancellationToken,
) -> Result<Running, StartError> {
    let listen = &settings.listen;
    let tls = match (&listen.tls_cert, &listen.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsAcceptor::from(daap_config::tls::server_config(
            certificate,
            key,
        )?)),
        _ => {
            tracing::warn!("no certificate is configured: API keys travel unencrypted");
            None
        }
    };
    let audit = Arc::new(AuditWriter::start(pool.clone()));
    let store = Store::new(pool);
    let cluster = Arc::new(Cluster::new(
        client,
        settings.listen.limits.admission_timeout(),
    ));
    let anchors = AnchorMap::new(Cluster::clone(&cluster), &settings.system_namespace);
    let anchors: Arc<dyn Anchors> = Arc::new(anchors);
    let keeper = Arc::new(store.clone());
    let freshness = Arc::new(Freshness::default());
    let service = Service::new(Ports {
        keys: keeper.clone(),
        directory: keeper.clone(),
        menu: keeper.clone(),
        freshness: freshness.clone(),
        resources: cluster.clone(),
        live_databases: cluster.clone(),
        live_tiers: cluster.clone(),
        audit_trail: keeper.clone(),
        anchors: anchors.clone(),
        live_quotas: cluster.clone(),
        dependencies: vec![keeper.clone(), freshness.clone(), cluster.clone()],
    })
    .map_err(|error| StartError::Build(error.into()))?;
    let service = Arc::new(service);
    let jobs = Jobs {
        sealer: Sealer::new(keeper.clone(), anchors.clone()),
        upkeep: Upkeep {
            service: service.clone(),
            trail: keeper.clone(),
            anchors,
            settings: settings.audit.clone(),
        },
        settings: settings.audit.clone(),
    };
    let context = context(service, audit, keeper.clone(), tls, &listen.limits)?;
    let address = listen.listen;
    let listen_error = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    tracing::info!(http.address = %address, "listening");
    tokio::spawn(jobs::freshness::run(keeper, freshness, shutdown.clone()));
    tokio::spawn(jobs::mirror::run(
        store.clone(),
        Cluster::clone(&cluster),
        shutdown.clone(),
    ));
    let task = tokio::spawn(serve(listener, context, store, jobs, shutdown));
    Ok(Running { address, task })
}

/// Everything a connection needs, over any ports.
pub(crate) fn context(
    service: Arc<Service>,
    audit: Arc<dyn AuditLog>,
    idempotency: Arc<dyn Idempotency>,
    tls: Option<TlsAcceptor>,
    limits: &Limits,
) -> Result<Context, StartError> {
    let contract =
        Contract::generate().map_err(|error: ContractError| StartError::Build(error.into()))?;
    let routes = Routes::new(contract.operations())
        .map_err(|error: UnknownToPolicy| StartError::Build(error.into()))?;
    let metrics = Metrics::new(service.freshness());
    let gate = Gate {
        routes,
        endpoint: api::endpoint(service.clone(), Arc::new(contract), metrics.clone()),
        service,
        audit,
        idempotency,
        metrics,
        keys: Buckets::new(Rate {
            burst: limits.rate_burst,
            per_second: limits.rate_per_second,
        }),
        failures: Buckets::new(Rate {
            burst: limits.failure_burst,
            per_second: FAILURES_PER_SECOND,
        }),
        tasks: TaskTracker::new(),
        body_timeout: limits.body_timeout(),
    };
    Ok(Context {
        gate: Arc::new(gate),
        tls,
        limits: limits.clone(),
        draining: CancellationToken::new(),
        abort: CancellationToken::new(),
    })
}

/// What goes on beside serving, once the schema is up to date.
struct Jobs {
    sealer: Sealer,
    upkeep: Upkeep,
    settings: AuditSettings,
}

impl Jobs {
    async fn run(self, shutdown: CancellationToken) {
        let interval = self.settings.seal_interval();
        tokio::join!(
            self.sealer.run(interval, shutdown.clone()),
            self.upkeep.run(shutdown)
        );
    }
}

/// Serves, and brings the schema up to date meanwhile; ends when that is impossible.
async fn serve(
    listener: TcpListener,
    context: Context,
    store: Store,
    jobs: Jobs,
    shutdown: CancellationToken,
) -> Result<(), MigrateError> {
    let migrations = async {
        let result = store.migrate().await;
        if result.is_err() {
            shutdown.cancel();
        }
        result
    };
    let ended = CancellationToken::new();
    let (migrated, ()) = tokio::join!(
        async {
            let migrated = shutdown.run_until_cancelled(migrations).await;
            if let Some(Ok(())) = migrated {
                jobs.run(ended.clone()).await;
            }
            migrated.unwrap_or(Ok(()))
        },
        async {
            server::run(listener, context, shutdown.clone()).await;
            // The last requests have something to count and to seal, too.
            ended.cancel();
        },
    );
    migrated
}
