//! Mirrors the cluster's databases into the metadata database. Reads the cluster, writes records and history.
//!
//! Of all replicas one does it: the one whose connection holds an advisory lock. It lists everything, then follows the
//! watch; what is no longer listed is taken for gone only after a live look. With nothing changing it writes one row,
//! so that readers know how fresh the record is.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    time::Duration,
};

use futures::StreamExt as _;
use kube::{ResourceExt as _, runtime::watcher::Event};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    cluster::{Cluster, Watched},
    domain::failure::Failure,
    service::ports::Dependency as _,
    store::{MirrorLock, PresentRecord, Store, Wish},
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
            .run_until_cancelled(Box::pin(Mirror::lead(&store, &cluster)))
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

/// The mirror, in the replica that holds the lock.
struct Mirror<'a> {
    store: &'a Store,
    cluster: &'a Cluster,
    lock: MirrorLock,
    /// Where each record's resource is, by id. Versions are needed only to skip what a list shows unchanged.
    present: HashMap<Uuid, PresentRecord>,
    /// What the list under way has shown so far.
    listing: HashSet<Uuid>,
    listed: bool,
}

impl<'a> Mirror<'a> {
    /// Mirrors until a failure, or until a rebuild is wished. At once over where another replica holds the lock.
    async fn lead(store: &'a Store, cluster: &'a Cluster) -> Result<(), Failure> {
        // A metadata database that was replaced by an empty one gets its tables back here.
        store.migrate().await.map_err(Failure::internal)?;
        let Some(mut lock) = store.mirror_lock().await? else {
            return Ok(());
        };
        lock.bind(cluster.identity().await?).await?;
        let present = store.present().await?;
        let mut mirror = Self {
            store,
            cluster,
            lock,
            present: present.into_iter().map(|one| (one.id, one)).collect(),
            listing: HashSet::new(),
            listed: false,
        };
        Box::pin(mirror.follow()).await
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        let mut events = pin!(self.cluster.watch_databases());
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.apply(event?).await?,
                    None => return Ok(()),
                },
                _ = heartbeat.tick() => {
                    // Without an answer from the API server, silence of the watch means nothing.
                    self.cluster.check().await?;
                    if self.listed && self.lock.heard().await? == Wish::Rebuild {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn apply(&mut self, event: Event<Watched>) -> Result<(), Failure> {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                if let Some(id) = self.observe(object).await? {
                    self.listing.insert(id);
                }
            }
            Event::InitDone => {
                self.remove_unlisted().await?;
                self.lock.listed().await?;
                self.listed = true;
            }
            Event::Apply(object) => {
                self.observe(object).await?;
            }
            Event::Delete(object) => {
                if let Some(id) = id_of(&object) {
                    self.remove_if_gone(id).await?;
                }
            }
        }
        Ok(())
    }

    /// Keeps a resource, if it is news. Returns its id, also when it cannot be decoded: it exists.
    async fn observe(&mut self, object: Watched) -> Result<Option<Uuid>, Failure> {
        let Some(id) = id_of(&object) else {
            return Ok(None);
        };
        let version = object
            .resource_version()
            .and_then(|version| version.parse().ok())
            .unwrap_or_default();
        if self
            .present
            .get(&id)
            .is_some_and(|known| known.version == version)
        {
            return Ok(Some(id));
        }
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        match object.0 {
            Ok(resource) => self.store.observe(&resource).await?,
            Err(invalid) => {
                tracing::warn!(object.namespace = namespace, object.name = name, error.message = %invalid, "a database cannot be decoded and is not mirrored");
                return Ok(Some(id));
            }
        }
        let record = PresentRecord {
            id,
            version,
            namespace,
            name,
        };
        self.present.insert(id, record);
        Ok(Some(id))
    }

    async fn remove_unlisted(&mut self) -> Result<(), Failure> {
        // Read again: requests write records too.
        let present = self.store.present().await?;
        self.present = present.into_iter().map(|one| (one.id, one)).collect();
        let unlisted: Vec<_> = self
            .present
            .keys()
            .filter(|id| !self.listing.contains(id))
            .copied()
            .collect();
        for id in unlisted {
            self.remove_if_gone(id).await?;
        }
        Ok(())
    }

    /// Takes a database for gone after the API server said so of this very one.
    async fn remove_if_gone(&mut self, id: Uuid) -> Result<(), Failure> {
        let Some(record) = self.present.get(&id) else {
            return Ok(());
        };
        if !self
            .cluster
            .is_there(&record.namespace, &record.name, id)
            .await?
        {
            self.store.gone(id).await?;
            self.present.remove(&id);
        }
        Ok(())
    }
}

fn id_of(object: &Watched) -> Option<Uuid> {
    object.uid()?.parse().ok()
}
