//! Mirrors the cluster into the metadata database. Reads the cluster, writes records and history.
//!
//! Of all replicas one does it: the one whose connection holds an advisory lock. It lists everything, then follows the
//! watches; what is no longer listed is taken for gone only after a live look. With nothing changing it writes one row,
//! so that readers know how fresh the record is.
//!
//! | module | subject |
//! |---|---|
//! | [`databases`] | databases, with their history |
//! | [`menu`] | tiers and quotas, as they are now |

mod databases;
mod menu;

use std::{pin::pin, time::Duration};

use daap_crds::{DaapQuota, DaapTier};
use futures::StreamExt as _;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::{databases::Databases, menu::Menu};
use crate::{
    cluster::Cluster,
    domain::failure::Failure,
    service::ports::Dependency as _,
    store::{MirrorLock, Store, Wish},
};

/// How often it is written that the cluster was heard.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How often the other replicas look whether the lock is free, and the pause after a failure.
const PAUSE: Duration = Duration::from_secs(2);

/// Mirrors until shutdown. A failure is told once, until it changes, and tried again.
pub async fn run(store: Store, cluster: Cluster, shutdown: CancellationToken) {
    let mut told = None;
    while !shutdown.is_cancelled() {
        let ended = shutdown
            .run_until_cancelled(Box::pin(lead(&store, &cluster)))
            .await;
        let Some(ended) = ended else { return };
        let cause = ended.err().map(|failure| failure.cause_text());
        if let Some(cause) = &cause
            && told.as_ref() != Some(cause)
        {
            tracing::warn!(
                error.message = cause,
                "the cluster is not mirrored; trying on"
            );
        }
        told = cause;
        shutdown
            .run_until_cancelled(tokio::time::sleep(PAUSE))
            .await;
    }
}

/// Mirrors until a failure, or until a rebuild is wished. Ends at once where another replica holds the lock.
async fn lead(store: &Store, cluster: &Cluster) -> Result<(), Failure> {
    let Some(mut lock) = store.mirror_lock().await? else {
        return Ok(());
    };
    // A metadata database that was replaced by an empty one gets its tables back here.
    store.migrate().await.map_err(Failure::internal)?;
    lock.bind(cluster.identity().await?).await?;
    Box::pin(follow(store, cluster, lock)).await
}

async fn follow(store: &Store, cluster: &Cluster, mut lock: MirrorLock) -> Result<(), Failure> {
    let mut databases = Databases::new(store, cluster).await?;
    let mut tiers = Menu::<DaapTier>::new(store, cluster).await?;
    let mut quotas = Menu::<DaapQuota>::new(store, cluster).await?;
    let mut database_events = pin!(cluster.watch());
    let mut tier_events = pin!(cluster.watch());
    let mut quota_events = pin!(cluster.watch());
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listed = false;
    loop {
        tokio::select! {
            Some(event) = database_events.next() => databases.apply(event?).await?,
            Some(event) = tier_events.next() => tiers.apply(event?).await?,
            Some(event) = quota_events.next() => quotas.apply(event?).await?,
            _ = heartbeat.tick(), if listed => {
                // Without an answer from the API server, silence of the watches means nothing.
                cluster.check().await?;
                if lock.heard().await? == Wish::Rebuild {
                    return Ok(());
                }
            }
            else => return Ok(()),
        }
        if !listed && databases.listed && tiers.listed && quotas.listed {
            lock.listed().await?;
            listed = true;
        }
    }
}
