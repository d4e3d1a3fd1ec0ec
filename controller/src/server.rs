//! `/metrics`, `/livez` and `/readyz`, over plain HTTP for the node and the cluster's own monitoring.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{k8s::watch::Freshness, metrics::Metrics};

/// How long a client may take to send the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// What the probes and the monitoring may know.
#[derive(Clone)]
pub struct Probes {
    /// Counters.
    pub metrics: Metrics,
    /// When each watch last heard something.
    pub freshness: Freshness,
    /// After how much silence of a watch this process is not alive.
    pub watch_deadline: Duration,
    /// Whether this replica can lead, or leads.
    pub ready: Arc<AtomicBool>,
}

impl Probes {
    /// The watches that heard nothing for too long.
    pub fn stale_watches(&self) -> Vec<&'static str> {
        let ages = self.freshness.ages().into_iter();
        ages.filter(|(_, age)| *age > self.watch_deadline)
            .map(|(kind, _)| kind)
            .collect()
    }

    fn answer(&self, method: &Method, path: &str) -> (StatusCode, String) {
        if method != Method::GET && method != Method::HEAD {
            return (StatusCode::METHOD_NOT_ALLOWED, String::new());
        }
        let ok = (StatusCode::OK, "ok\n".to_owned());
        match path {
            "/livez" => match self.stale_watches() {
                stale if stale.is_empty() => ok,
                stale => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("silent watches: {}\n", stale.join(", ")),
                ),
            },
            "/readyz" if self.ready.load(Ordering::Relaxed) => ok,
            "/readyz" => (
                StatusCode::SERVICE_UNAVAILABLE,
                "waiting for DAAP's CRDs\n".to_owned(),
            ),
            "/metrics" => match self.metrics.render(&self.freshness) {
                Ok(text) => (StatusCode::OK, text),
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            },
            _ => (StatusCode::NOT_FOUND, String::new()),
        }
    }
}

/// Serves until `shutdown`.
///
/// # Errors
/// When the address cannot be used.
pub async fn serve(
    address: SocketAddr,
    probes: Probes,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving probes and metrics");
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(serve_connection(stream, probes.clone()));
                }
                // Out of file descriptors, for instance: it passes, and a tight loop would not help.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(())
}

async fn serve_connection(stream: TcpStream, probes: Probes) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (status, body) = probes.answer(request.method(), request.uri().path());
        let mut response = Response::new(body);
        *response.status_mut() = status;
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away in the middle is nobody's concern.
    let _ = connection.await;
}
