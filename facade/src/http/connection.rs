//! One connection: TLS, deadlines, idleness. Reads and writes a socket; hands every request to the gate.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{explained::Explained, gate::Gate};
use crate::settings::Limits;

/// How long a connection that is told to end may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// How much header a request may have, in bytes, and in lines.
const MAX_HEADER_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;
/// How many requests one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 100;

/// What every connection needs.
#[derive(Clone)]
pub struct Context {
    /// Where requests go.
    pub gate: Arc<Gate>,
    /// TLS. Absent: plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// The limits.
    pub limits: Limits,
    /// Cancelled when no new requests are taken.
    pub draining: CancellationToken,
    /// Cancelled when nothing is waited for any more.
    pub abort: CancellationToken,
}

/// Serves a connection until it ends.
pub async fn serve(stream: TcpStream, peer: SocketAddr, context: Context) {
    context.gate.metrics.connections().inc();
    // Small answers go out at once; a socket that refuses the option still works.
    let _ = stream.set_nodelay(true);
    match context.tls.clone() {
        None => serve_requests(stream, peer, &context).await,
        Some(tls) => match timeout(context.limits.header_timeout(), tls.accept(stream)).await {
            Ok(Ok(stream)) => serve_requests(stream, peer, &context).await,
            Ok(Err(error)) => {
                tracing::debug!(client.address = %peer, error.message = %error, "no TLS was agreed on")
            }
            Err(_) => tracing::debug!(client.address = %peer, "TLS was not agreed on in time"),
        },
    }
    context.gate.metrics.connections().dec();
}

async fn serve_requests<S>(stream: S, peer: SocketAddr, context: &Context)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let service = service_fn(|request| {
        let under_way = activity.begin();
        let gate = context.gate.clone();
        async move {
            let answer = gate.answer(request, peer).await;
            drop(under_way);
            Ok::<_, Infallible>(answer)
        }
    });
    let builder = protocols(&context.limits);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(Explained::new(stream)), service));
    let patience = tokio::select! {
        _ = connection.as_mut() => return,
        () = context.draining.cancelled() => None,
        () = activity.idle(&context.limits) => Some(GOODBYE),
    };
    connection.as_mut().graceful_shutdown();
    let out_of_patience = async {
        match patience {
            Some(patience) => tokio::time::sleep(patience).await,
            None => context.abort.cancelled().await,
        }
    };
    tokio::select! {
        _ = connection => {}
        () = out_of_patience => {}
    }
}

fn protocols(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout())
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle_timeout())
        .keep_alive_timeout(limits.header_timeout())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32);
    builder
}

/// How many requests a connection has under way.
struct Activity(watch::Sender<usize>);

impl Activity {
    fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Counts a request until the value that is returned is dropped.
    fn begin(&self) -> UnderWay {
        self.0.send_modify(|count| *count += 1);
        UnderWay(self.0.clone())
    }

    /// Ends when nothing has been under way for too long. The first request has the time of a header to arrive.
    async fn idle(&self, limits: &Limits) {
        let mut changes = self.0.subscribe();
        let mut patience = limits.header_timeout();
        loop {
            match timeout(patience, changes.changed()).await {
                Ok(_) => patience = limits.idle_timeout(),
                Err(_) if *changes.borrow() == 0 => return,
                Err(_) => {}
            }
        }
    }
}

struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
