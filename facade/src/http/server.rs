//! The accept loop, and its end. Listens on a socket; spawns a task a connection.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::connection::{self, Context};

/// The pause after the system refused a connection, as it does when it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until shutdown, then lets what is under way finish, for as long as the limits say.
pub async fn run(listener: TcpListener, context: Context, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    accept_until(&shutdown, &listener, &context, &connections).await;
    // Nobody connects to something that is about to end.
    drop(listener);
    tracing::info!(
        http.connections = connections.len(),
        "no new connections; finishing what is under way"
    );
    context.draining.cancel();
    connections.close();
    context.gate.tasks.close();
    let finished = async {
        connections.wait().await;
        context.gate.tasks.wait().await;
    };
    if tokio::time::timeout(context.limits.drain_timeout(), finished)
        .await
        .is_err()
    {
        tracing::warn!(
            http.connections = connections.len(),
            "some requests did not finish in time"
        );
    }
    context.abort.cancel();
}

async fn accept_until(
    shutdown: &CancellationToken,
    listener: &TcpListener,
    context: &Context,
    connections: &TaskTracker,
) {
    let room = Arc::new(Semaphore::new(context.limits.max_connections));
    loop {
        // Without room, new connections wait in the system's queue.
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let context = context.clone();
                connections.spawn(async move {
                    connection::serve(stream, peer, context).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error.message = %error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
