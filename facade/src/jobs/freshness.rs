//! Reads, once a second, how fresh the record of the cluster is, whichever replica keeps it.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::service::{freshness::Freshness, ports::DatabaseDirectory};

const INTERVAL: Duration = Duration::from_secs(1);

/// Reads until shutdown. While the metadata database does not answer, the record grows older by itself.
pub async fn run(
    directory: Arc<dyn DatabaseDirectory>,
    freshness: Arc<Freshness>,
    shutdown: CancellationToken,
) {
    let reading = async {
        loop {
            if let Ok(age) = directory.age().await {
                freshness.set(age);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    shutdown.run_until_cancelled(reading).await;
}
