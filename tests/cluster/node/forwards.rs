//! Ports of the host's loopback that lead into the node. The list is a file; carrying bytes is the supervisor's work.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::layout::{API_SERVER_PORT, Layout, NODE_ADDRESS};
use crate::cluster::object_store;

/// The same ports on both sides.
const OWN_PORTS: [u16; 2] = [API_SERVER_PORT, object_store::PORT];

/// Where each forwarded port leads, as the node understands addresses.
pub type Forwards = BTreeMap<u16, SocketAddr>;

/// A wish for a connection inside the node, and where to send it.
pub type Wish = (SocketAddr, oneshot::Sender<Result<std::net::TcpStream>>);

/// The list of a cluster. The ports of the API server and the S3 server are always in it.
pub fn read(layout: &Layout) -> Result<Forwards> {
    let path = layout.forwards();
    let mut forwards = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("understanding {}", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Forwards::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    for port in OWN_PORTS {
        forwards.insert(port, (NODE_ADDRESS, port).into());
    }
    Ok(forwards)
}

/// Adds a port to the list, or lets it lead elsewhere.
pub fn add(layout: &Layout, port: u16, target: SocketAddr) -> Result<()> {
    ensure!(
        !OWN_PORTS.contains(&port),
        "port {port} leads to the cluster's own servers"
    );
    let mut forwards = read(layout)?;
    forwards.insert(port, target);
    write(&layout.forwards(), &forwards)
}

fn write(path: &Path, forwards: &Forwards) -> Result<()> {
    let partial = path.with_extension("partial");
    let text = serde_json::to_vec_pretty(forwards)?;
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("writing {}", path.display()))
}

/// The ports that are being listened on.
pub struct Forwarder {
    address: Ipv4Addr,
    wishes: mpsc::UnboundedSender<Wish>,
    listening: BTreeMap<u16, (SocketAddr, JoinHandle<()>)>,
}

impl Forwarder {
    /// Listens on nothing yet. Connections inside the node are asked of whoever receives `wishes`.
    pub fn new(address: Ipv4Addr, wishes: mpsc::UnboundedSender<Wish>) -> Self {
        Self {
            address,
            wishes,
            listening: BTreeMap::new(),
        }
    }

    /// Listens on what is in `forwards` and on nothing else. Connections that exist go on.
    pub async fn follow(&mut self, forwards: &Forwards) -> Result<()> {
        self.listening.retain(|port, (target, task)| {
            let keep = forwards.get(port) == Some(target);
            if !keep {
                task.abort();
            }
            keep
        });
        for (port, target) in forwards {
            if !self.listening.contains_key(port) {
                // A listener that was just given up may hold its port for another moment of the runtime.
                tokio::task::yield_now().await;
                let listener = TcpListener::bind((self.address, *port)).await;
                let listener =
                    listener.with_context(|| format!("listening on {}:{port}", self.address))?;
                let task = tokio::spawn(accept(listener, *target, self.wishes.clone()));
                self.listening.insert(*port, (*target, task));
            }
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, wishes: mpsc::UnboundedSender<Wish>) {
    loop {
        match listener.accept().await {
            Ok((outside, _)) => {
                let wishes = wishes.clone();
                tokio::spawn(async move {
                    if let Err(error) = carry(outside, target, &wishes).await {
                        eprintln!("a connection to {target}: {error:#}");
                    }
                });
            }
            Err(error) => {
                // Most likely too many open files; others will be closed.
                eprintln!("accepting a connection to {target}: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn carry(
    mut outside: TcpStream,
    target: SocketAddr,
    wishes: &mpsc::UnboundedSender<Wish>,
) -> Result<()> {
    let (reply, answer) = oneshot::channel();
    wishes
        .send((target, reply))
        .ok()
        .context("the node is gone")?;
    let inside = answer.await.context("the node is gone")??;
    let mut inside = TcpStream::from_std(inside).context("taking over a connection")?;
    outside
        .set_nodelay(true)
        .and_then(|()| inside.set_nodelay(true))
        .context("sending at once")?;
    // An end that breaks off is no failure of ours.
    let _ = copy_bidirectional(&mut outside, &mut inside).await;
    Ok(())
}

/// Fulfils wishes with connections from the network that the calling thread is in, until nobody wishes any more.
pub async fn fulfil(mut wishes: mpsc::UnboundedReceiver<Wish>) {
    while let Some((target, reply)) = wishes.recv().await {
        tokio::spawn(async move {
            let connection = match TcpStream::connect(target).await {
                Ok(stream) => stream.into_std().context("handing over a connection"),
                Err(error) => Err(error).context("refused inside the node"),
            };
            drop(reply.send(connection));
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    tokio::io::copy(&mut reader, &mut writer).await
                });
            }
        });
        address
    }

    async fn answers(port: u16) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
            return false;
        };
        let mut answer = [0; 4];
        stream.write_all(b"ping").await.is_ok()
            && stream.read_exact(&mut answer).await.is_ok()
            && &answer == b"ping"
    }

    #[tokio::test]
    async fn carries_bytes_and_follows_the_list() {
        let target = echo().await;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(fulfil(receiver));
        let mut forwarder = Forwarder::new(Ipv4Addr::LOCALHOST, sender);

        forwarder
            .follow(&Forwards::from([(port, target)]))
            .await
            .unwrap();
        assert!(answers(port).await);
        forwarder
            .follow(&Forwards::from([(port, (Ipv4Addr::LOCALHOST, 1).into())]))
            .await
            .unwrap();
        assert!(!answers(port).await, "nothing listens on the new target");
        forwarder
            .follow(&Forwards::from([(port, target)]))
            .await
            .unwrap();
        assert!(answers(port).await);
        forwarder.follow(&Forwards::new()).await.unwrap();
        tokio::task::yield_now().await;
        assert!(!answers(port).await);
    }
}
