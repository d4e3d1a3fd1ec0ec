//! Ends a program at a chosen one of its outbound requests, before or after the request has its effect, so that a test
//! can go through all of them instead of hoping for luck.
//!
//! Requests to the Kubernetes API are counted by a layer of its client, those to PostgreSQL by a proxy in front of it:
//! there, what the client sends in one go is one request. At the chosen one, nothing passes any more in any direction,
//! and [`Faults::cut`] returns: the test then drops the runtime that the program lives in, as a crash would.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task,
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use http::Request;
use kube::{Client, Config, client::ClientBuilder};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tower::{Layer, Service};

/// On which side of its effect a request is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request never arrives.
    Before,
    /// The request arrives and is answered, and the answer is lost.
    After,
}

/// Counts outbound requests, and cuts at one of them. Until it is armed, everything passes.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How many requests pass until the one that is cut; zero: not armed.
    left: AtomicUsize,
    side: Side,
    is_cut: watch::Sender<bool>,
    is_stalled: watch::Sender<bool>,
}

/// What becomes of a request.
enum Fate {
    Passes,
    CutBefore,
    CutAfter,
}

impl Faults {
    /// Not armed, for cutting on this side.
    pub fn new(side: Side) -> Self {
        Self(Arc::new(Shared {
            left: AtomicUsize::new(0),
            side,
            is_cut: watch::Sender::new(false),
            is_stalled: watch::Sender::new(false),
        }))
    }

    /// From now on, counts; cuts at the `nth` request, from 1.
    pub fn arm(&self, nth: usize) {
        self.0.left.store(nth, Ordering::SeqCst);
    }

    /// From now on, nothing passes the proxy in any direction, as with a server that hangs; or everything does again.
    pub fn stall(&self, is_stalled: bool) {
        self.0.is_stalled.send_replace(is_stalled);
    }

    async fn passable(&self) {
        let mut is_stalled = self.0.is_stalled.subscribe();
        // The sender lives as long as this does.
        let _ = is_stalled.wait_for(|is_stalled| !is_stalled).await;
    }

    /// Returns when a request has been cut.
    pub async fn cut(&self) {
        // The sender lives as long as this does.
        let _ = self.0.is_cut.subscribe().wait_for(|is_cut| *is_cut).await;
    }

    fn next(&self) -> Fate {
        if *self.0.is_cut.borrow() {
            return Fate::CutBefore;
        }
        let before = self
            .0
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        match (before, self.0.side) {
            (Ok(1), Side::Before) => Fate::CutBefore,
            (Ok(1), Side::After) => Fate::CutAfter,
            _ => Fate::Passes,
        }
    }

    fn end(&self) {
        self.0.is_cut.send_replace(true);
    }

    /// A client of the Kubernetes API whose requests are counted.
    ///
    /// # Errors
    /// When the configuration makes no client.
    pub fn client(&self, config: Config) -> Result<Client> {
        let builder = ClientBuilder::try_from(config).context("a client that can be cut")?;
        Ok(builder.with_layer(&FaultLayer(self.clone())).build())
    }

    /// The address of a proxy for the PostgreSQL server at `server`. It ends with the runtime it was started in.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn proxy(&self, server: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listening for a proxy")?;
        let address = listener.local_addr().context("the address of a proxy")?;
        let faults = self.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let faults = faults.clone();
                tokio::spawn(async move {
                    // An end of the connection is what a cut looks like; the program has to live with it.
                    let _ = faults.relay(client, server).await;
                });
            }
        });
        Ok(address)
    }

    /// Passes a connection on until it ends. After a cut, the client hears nothing any more, and the server sees the end
    /// of the connection when the client is gone.
    async fn relay(&self, mut client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
        let mut server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (mut request, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            self.passable().await;
            tokio::select! {
                biased;
                () = self.cut() => break,
                read = client.read(&mut request) => {
                    let length = read?;
                    if length == 0 {
                        return Ok(());
                    }
                    self.passable().await;
                    let fate = self.next();
                    if !matches!(fate, Fate::CutBefore) {
                        server.write_all(&request[..length]).await?;
                    }
                    if matches!(fate, Fate::CutAfter) {
                        // Its effect is there when it is answered. A goodbye is not.
                        let _ = tokio::time::timeout(ANSWERED, server.read(&mut answer)).await;
                    }
                    if !matches!(fate, Fate::Passes) {
                        self.end();
                        break;
                    }
                }
                read = server.read(&mut answer) => match read? {
                    0 => return Ok(()),
                    length => client.write_all(&answer[..length]).await?,
                },
            }
        }
        while client.read(&mut request).await? > 0 {}
        Ok(())
    }
}

/// How long the server may take to answer the request after which everything is cut.
const ANSWERED: Duration = Duration::from_secs(20);

struct FaultLayer(Faults);

impl<S> Layer<S> for FaultLayer {
    type Service = FaultService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FaultService {
            faults: self.0.clone(),
            inner,
        }
    }
}

/// Counts each request, and hands it on unless it is cut.
#[derive(Clone)]
pub struct FaultService<S> {
    faults: Faults,
    inner: S,
}

impl<S, B> Service<Request<B>> for FaultService<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(
        &mut self,
        context: &mut task::Context<'_>,
    ) -> task::Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let faults = self.faults.clone();
        match faults.next() {
            Fate::Passes => Box::pin(self.inner.call(request)),
            Fate::CutBefore => {
                faults.end();
                Box::pin(pending())
            }
            Fate::CutAfter => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let _ = answer.await;
                    faults.end();
                    pending().await
                })
            }
        }
    }
}
