//! Watches. Reads the cluster; never writes.
//!
//! Each kind is watched in a task of its own: a kind that is not installed, or a list that fails, delays no other.
//! Nothing is decided on what a watch says; it only wakes a controller up, which then reads live. What a watch must
//! not do is to fall silent unnoticed, so each tells [`Freshness`] whenever the API server was heard: by a list,
//! an event, a bookmark, or a watch that was accepted anew, which happens every [`LIFETIME_SECONDS`].

use std::{
    collections::BTreeMap,
    fmt::Debug,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
    runtime::watcher::Event,
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{
    client::{list_pages, within},
    error::CallError,
};

/// After how many seconds the API server ends a watch, and it is begun again.
const LIFETIME_SECONDS: u32 = 120;
/// A watch that outlives this is dead: its connection was lost unnoticed.
const SILENCE: Duration = Duration::from_secs(LIFETIME_SECONDS as u64 + 15);
/// The pause after a failure, doubling with each further one up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a kind that is not installed is looked for.
const MISSING_PAUSE: Duration = Duration::from_secs(5);

/// When each watch last heard from the API server.
#[derive(Clone, Default)]
pub struct Freshness {
    watches: Arc<Mutex<BTreeMap<&'static str, State>>>,
}

#[derive(Clone, Copy)]
enum State {
    Heard(Instant),
    /// The kind is not installed, so there is nothing to hear.
    KindMissing,
}

impl Freshness {
    /// A watch heard from the API server.
    fn heard(&self, kind: &'static str) {
        self.set(kind, State::Heard(Instant::now()));
    }

    /// The kind of a watch is not installed.
    fn missing(&self, kind: &'static str) {
        self.set(kind, State::KindMissing);
    }

    fn set(&self, kind: &'static str, state: State) {
        self.watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(kind, state);
    }

    /// How long each watch has heard nothing. Kinds that are not installed are left out.
    pub fn ages(&self) -> Vec<(&'static str, Duration)> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches
            .iter()
            .filter_map(|(kind, state)| match state {
                State::Heard(instant) => Some((*kind, instant.elapsed())),
                State::KindMissing => None,
            })
            .collect()
    }
}

/// One kind, or a selected part of it.
pub struct Watch<K> {
    /// The name of the watch in logs, metrics and probes.
    pub kind: &'static str,
    /// Where to watch.
    pub api: Api<K>,
    /// What to watch.
    pub selection: ListParams,
    /// How long a call may take.
    pub deadline: Duration,
    /// Told whenever the API server was heard.
    pub freshness: Freshness,
}

/// How a watch ended.
enum End {
    /// In its time: watch on from the same version.
    Lifetime,
    /// The version is too old: list again.
    Expired,
    /// By a failure.
    Failed(CallError),
}

impl<K> Watch<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Watches for ever, telling what happens in the words of kube's watcher.
    pub async fn run(self, mut tell: impl FnMut(Event<K>) + Send) {
        self.freshness.heard(self.kind);
        let mut pause = SHORTEST_PAUSE;
        loop {
            match self.list(&mut tell).await {
                Ok(version) => {
                    pause = SHORTEST_PAUSE;
                    self.follow(version, &mut tell).await;
                }
                Err(error) if error.status().is_some_and(|status| status.code == 404) => {
                    self.freshness.missing(self.kind);
                    tokio::time::sleep(MISSING_PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(
                        kind = self.kind,
                        category = error.category(),
                        error = error.chain(),
                        "cannot list"
                    );
                    rest(&mut pause).await;
                }
            }
        }
    }

    async fn list(&self, tell: &mut (impl FnMut(Event<K>) + Send)) -> Result<String, CallError> {
        let list = list_pages(&self.api, &self.selection, self.deadline).await?;
        self.freshness.heard(self.kind);
        tell(Event::Init);
        for object in list.items {
            tell(Event::InitApply(object));
        }
        tell(Event::InitDone);
        Ok(list.metadata.resource_version.unwrap_or_default())
    }

    /// Watches on from `version`, through any number of watches, until listing again is needed.
    async fn follow(&self, mut version: String, tell: &mut (impl FnMut(Event<K>) + Send)) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let before = version.clone();
            match self.watch_once(&mut version, tell).await {
                End::Lifetime => {}
                End::Expired => return,
                End::Failed(error)
                    if error
                        .status()
                        .is_some_and(|status| matches!(status.code, 404 | 410)) =>
                {
                    return;
                }
                End::Failed(error) => {
                    tracing::debug!(
                        kind = self.kind,
                        category = error.category(),
                        error = error.chain(),
                        "watch failed"
                    );
                    if version != before {
                        pause = SHORTEST_PAUSE;
                    }
                    rest(&mut pause).await;
                }
            }
        }
    }

    async fn watch_once(
        &self,
        version: &mut String,
        tell: &mut (impl FnMut(Event<K>) + Send),
    ) -> End {
        let parameters = WatchParams {
            label_selector: self.selection.label_selector.clone(),
            field_selector: self.selection.field_selector.clone(),
            timeout: Some(LIFETIME_SECONDS),
            bookmarks: true,
            send_initial_events: false,
        };
        let events = match within(self.deadline, self.api.watch(&parameters, version)).await {
            Ok(events) => events,
            Err(error) => return End::Failed(error),
        };
        let mut events = pin!(events);
        loop {
            self.freshness.heard(self.kind);
            let object = match tokio::time::timeout(SILENCE, events.next()).await {
                Err(_) => return End::Failed(CallError::Deadline(SILENCE)),
                Ok(None) => return End::Lifetime,
                Ok(Some(Err(error))) => return End::Failed(error.into()),
                Ok(Some(Ok(WatchEvent::Error(status)))) if status.code == 410 => {
                    return End::Expired;
                }
                Ok(Some(Ok(WatchEvent::Error(status)))) => {
                    return End::Failed(kube::Error::Api(status).into());
                }
                Ok(Some(Ok(WatchEvent::Bookmark(bookmark)))) => {
                    *version = bookmark.metadata.resource_version;
                    continue;
                }
                Ok(Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => {
                    Event::Apply(object)
                }
                Ok(Some(Ok(WatchEvent::Deleted(object)))) => Event::Delete(object),
            };
            let (Event::Apply(resource) | Event::Delete(resource)) = &object else {
                continue;
            };
            if let Some(seen) = &resource.meta().resource_version {
                version.clone_from(seen);
            }
            tell(object);
        }
    }
}

async fn rest(pause: &mut Duration) {
    tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}
