//! Which event wakes whom. Reads the cluster through watches.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use daap_crds::{
    DaapTier, DaapTierRevision,
    cnpg::{self, Backup},
    label,
};
use futures::channel::mpsc::UnboundedSender;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::{
        reflector::{ObjectRef, Store, store::Writer},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::{Database, Quota, Storage, Tier};
use crate::{
    changes::{ChargedDatabases, Offers},
    context::Context,
    k8s::watch::{Freshness, Watch},
    quota,
};

/// The names of objects that are to be looked at.
pub(super) struct Queue<K: Resource<DynamicType = ()>>(pub(super) UnboundedSender<ObjectRef<K>>);

impl<K: Resource<DynamicType = ()>> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Resource<DynamicType = ()>> Queue<K> {
    fn wake(&self, object: ObjectRef<K>) {
        // Nobody listens any more only when the process ends.
        let _ = self.0.unbounded_send(object);
    }

    fn wake_all(&self, objects: &Store<K>)
    where
        K: Clone,
    {
        for object in objects.state() {
            self.wake(ObjectRef::from_obj(&*object));
        }
    }
}

/// The watches, each in a task of its own.
pub(super) struct Watches {
    pub(super) client: Client,
    pub(super) freshness: Freshness,
    pub(super) deadline: Duration,
    pub(super) databases: Queue<Database>,
    pub(super) tiers: Queue<Tier>,
    pub(super) quotas: Queue<Quota>,
    pub(super) object_stores: Queue<Storage>,
    pub(super) tasks: JoinSet<()>,
}

impl Watches {
    fn spawn<K>(
        &mut self,
        kind: &'static str,
        selection: ListParams,
        tell: impl FnMut(Event<K>) + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let api = Api::all(self.client.clone());
        let watch = Watch {
            kind,
            api,
            selection,
            deadline: self.deadline,
            freshness: self.freshness.clone(),
        };
        self.tasks.spawn(watch.run(tell));
    }

    /// A database wakes itself, and its tier, which counts its databases. It wakes its quota when that has something
    /// to count or to decide.
    pub(super) fn databases(&mut self, mut writer: Writer<Database>, context: Arc<Context>) {
        let (databases, tiers, quotas) = (
            self.databases.clone(),
            self.tiers.clone(),
            self.quotas.clone(),
        );
        let mut touched = Touched::default();
        let mut charged = ChargedDatabases::default();
        self.spawn(
            "DaapDatabase",
            ListParams::default(),
            move |event: Event<Database>| {
                writer.apply_watcher_event(&event);
                let wake_quotas = |names: BTreeSet<String>| {
                    names
                        .iter()
                        .for_each(|name| quotas.wake(ObjectRef::new(name)))
                };
                let gone = match &event {
                    Event::Delete(gone) => gone.uid(),
                    _ => None,
                };
                let is_list = matches!(event, Event::InitDone);
                let objects = touched.by(event);
                if is_list {
                    let uids = objects.iter().filter_map(ResourceExt::uid).collect();
                    wake_quotas(charged.listed(&uids));
                }
                for database in objects {
                    if let Ok(read) = &database.0 {
                        tiers.wake(ObjectRef::new(&read.spec.tier));
                        wake_quotas(charged.seen(read));
                    }
                    databases.wake(ObjectRef::from_obj(&database));
                }
                if let Some(uid) = gone {
                    context.database_backoff.reset(&uid);
                    context.metrics.forget(&uid);
                    wake_quotas(charged.gone(&uid).into_iter().collect());
                }
            },
        );
    }

    /// A tier wakes itself, and the databases that wait for it. It wakes its quota when it offers something else, and
    /// the object stores, of which there are few, when it names another one.
    pub(super) fn tiers(
        &mut self,
        mut writer: Writer<Tier>,
        waiting: Store<Database>,
        stores: Store<Storage>,
    ) {
        let (databases, tiers, quotas) = (
            self.databases.clone(),
            self.tiers.clone(),
            self.quotas.clone(),
        );
        let mut touched = Touched::default();
        let mut offers = Offers::default();
        let mut named = Offers::default();
        let object_stores = self.object_stores.clone();
        self.spawn(
            "DaapTier",
            ListParams::default(),
            move |event: Event<Tier>| {
                writer.apply_watcher_event(&event);
                let is_gone = matches!(event, Event::Delete(_));
                for tier in touched.by(event) {
                    let name = tier.name_any();
                    let store = tier.0.as_ref().ok().filter(|_| !is_gone).and_then(store_of);
                    if named.differ(&name, store) {
                        object_stores.wake_all(&stores);
                    }
                    for database in waiting.state_filter(|database| waits_for(database, &name)) {
                        databases.wake(ObjectRef::from_obj(&*database));
                    }
                    let offer = tier.0.as_ref().ok().and_then(quota::decide::offered);
                    if offers.differ(&name, offer.map(str::to_owned)) {
                        quotas.wake(ObjectRef::new(&name));
                    }
                    tiers.wake(ObjectRef::from_obj(&tier));
                }
            },
        );
    }

    /// A quota wakes itself. One that is gone wakes its tier, which makes it anew.
    pub(super) fn quotas(&mut self, mut writer: Writer<Quota>) {
        let (tiers, quotas) = (self.tiers.clone(), self.quotas.clone());
        let mut touched = Touched::default();
        let tell = move |event: Event<Quota>| {
            writer.apply_watcher_event(&event);
            let is_gone = matches!(event, Event::Delete(_));
            for quota in touched.by(event) {
                if is_gone {
                    tiers.wake(ObjectRef::new(&quota.name_any()));
                }
                quotas.wake(ObjectRef::from_obj(&quota));
            }
        };
        self.spawn("DaapQuota", ListParams::default(), tell);
    }

    /// A revision wakes its tier. One that is gone may have been the last to name an object store.
    pub(super) fn revisions(&mut self, stores: Store<Storage>) {
        let (tiers, object_stores) = (self.tiers.clone(), self.object_stores.clone());
        let mut touched = Touched::default();
        let tell = move |event: Event<PartialObjectMeta<DaapTierRevision>>| {
            if matches!(event, Event::Delete(_)) {
                object_stores.wake_all(&stores);
            }
            for revision in touched.by(event) {
                if let Some(tier) = revision.labels().get(label::TIER) {
                    tiers.wake(ObjectRef::new(tier));
                }
            }
        };
        self.spawn("DaapTierRevision", ListParams::default(), tell);
    }

    /// An object store wakes itself, and all tiers; there are few of both.
    pub(super) fn object_stores(
        &mut self,
        mut writer: Writer<Storage>,
        all: Store<Tier>,
        context: Arc<Context>,
    ) {
        let (tiers, object_stores) = (self.tiers.clone(), self.object_stores.clone());
        let mut touched = Touched::default();
        let tell = move |event: Event<Storage>| {
            writer.apply_watcher_event(&event);
            if let Event::Delete(gone) = &event {
                let uid = gone.uid().unwrap_or_default();
                context.object_store_backoff.reset(&uid);
                context.probe_times.forget(&uid);
            }
            for store in touched.by(event) {
                object_stores.wake(ObjectRef::from_obj(&store));
                tiers.wake_all(&all);
            }
        };
        self.spawn("DaapObjectStore", ListParams::default(), tell);
    }

    /// A child wakes its database.
    pub(super) fn children<K>(&mut self, kind: &'static str)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    {
        let databases = self.databases.clone();
        let mut touched = Touched::default();
        let tell = move |event: Event<PartialObjectMeta<K>>| {
            for child in touched.by(event) {
                if let (Some(name), Some(namespace)) =
                    (child.labels().get(label::DATABASE), child.namespace())
                {
                    databases.wake(ObjectRef::new(name).within(&namespace));
                }
            }
        };
        self.spawn(
            kind,
            ListParams::default().labels(label::DATABASE_UID),
            tell,
        );
    }

    /// A base backup wakes its database. Those of schedules have CloudNativePG's labels only.
    pub(super) fn backups(&mut self) {
        let databases = self.databases.clone();
        let mut touched = Touched::default();
        let tell = move |event: Event<PartialObjectMeta<Backup>>| {
            for backup in touched.by(event) {
                if let (Some(name), Some(namespace)) = (
                    backup.labels().get(cnpg::label::CLUSTER),
                    backup.namespace(),
                ) {
                    databases.wake(ObjectRef::new(name).within(&namespace));
                }
            }
        };
        let selection = ListParams::default().labels(cnpg::label::CLUSTER);
        self.spawn("Backup", selection, tell);
    }
}

/// The object store that a tier names.
fn store_of(tier: &DaapTier) -> Option<String> {
    tier.spec
        .backup
        .as_ref()
        .map(|backup| backup.object_store.clone())
}

fn waits_for(database: &Database, tier: &str) -> bool {
    database
        .0
        .as_ref()
        .is_ok_and(|database| database.spec.tier_revision.is_none() && database.spec.tier == tier)
}

/// The objects an event is about. Those of a list are handed out when it is complete, since only then a store has
/// all of them.
struct Touched<K>(Vec<K>);

impl<K> Default for Touched<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> Touched<K> {
    fn by(&mut self, event: Event<K>) -> Vec<K> {
        match event {
            Event::Init => self.0.clear(),
            Event::InitApply(object) => self.0.push(object),
            Event::InitDone => return std::mem::take(&mut self.0),
            Event::Apply(object) | Event::Delete(object) => return vec![object],
        }
        Vec::new()
    }
}
