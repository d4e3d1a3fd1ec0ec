//! What wakes whom: watches in, runs out. Reads the cluster through watches; the runs do the rest.
//!
//! Four controllers share the watches. Each of their objects is worked on by one run at a time, however many events
//! there are. What a watch says is used to find out *which* object to look at, never what to do with it.

use std::{
    collections::BTreeSet, convert::Infallible, fmt::Debug, future::Future, sync::Arc,
    time::Duration,
};

use daap_crds::{
    DaapDatabase, DaapObjectStore, DaapQuota, DaapTier, DaapTierRevision,
    cnpg::{self, Backup, Cluster, ObjectStore, Pooler, ScheduledBackup},
    label,
};
use futures::{
    FutureExt as _, StreamExt as _, TryFutureExt as _,
    channel::mpsc::{self, UnboundedReceiver, UnboundedSender},
};
use k8s_openapi::api::{core::v1::Pod, networking::v1::NetworkPolicy};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::{DeserializeGuard, PartialObjectMeta, error_boundary::InvalidObject},
    runtime::{
        controller::{Action, Config, applier},
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    changes::{ChargedDatabases, Offers},
    context::Context,
    database,
    k8s::{
        error::chain,
        watch::{Freshness, Watch},
    },
    object_store, quota, tier,
};

/// Events of one object within this time make one run.
const DATABASE_DEBOUNCE: Duration = Duration::from_millis(50);
/// A tier is looked at for each of its databases, so its events are gathered for longer.
const TIER_DEBOUNCE: Duration = Duration::from_millis(300);
/// An object store is looked at for each tier that comes to name it.
const OBJECT_STORE_DEBOUNCE: Duration = Duration::from_millis(300);
/// Somebody waits for what a quota says. What comes in during one run is gathered for the next.
const QUOTA_DEBOUNCE: Duration = Duration::ZERO;
/// The pause after a conflict: someone else wrote, and what was read is read again.
const AFTER_CONFLICT: Duration = Duration::from_millis(500);

type Database = DeserializeGuard<DaapDatabase>;
type Tier = DeserializeGuard<DaapTier>;
type Quota = DeserializeGuard<DaapQuota>;
type Storage = DeserializeGuard<DaapObjectStore>;

/// The names of objects that are to be looked at.
struct Queue<K: Resource<DynamicType = ()>>(UnboundedSender<ObjectRef<K>>);

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

/// Runs the controllers until `shutdown`, then finishes the runs under way.
pub async fn run(
    context: Arc<Context>,
    client: Client,
    freshness: Freshness,
    shutdown: CancellationToken,
) {
    let (databases, database_queue) = mpsc::unbounded();
    let (tiers, tier_queue) = mpsc::unbounded();
    let (quotas, quota_queue) = mpsc::unbounded();
    let (object_stores, object_store_queue) = mpsc::unbounded();
    let mut watches = Watches {
        client,
        freshness,
        deadline: context.settings.api_deadline,
        databases: Queue(databases),
        tiers: Queue(tiers),
        quotas: Queue(quotas),
        object_stores: Queue(object_stores),
        tasks: JoinSet::new(),
    };
    let (database_store, database_writer) = reflector::store();
    let (tier_store, tier_writer) = reflector::store();
    let (quota_store, quota_writer) = reflector::store();
    let (object_store_store, object_store_writer) = reflector::store();
    watches.databases(database_writer, Arc::clone(&context));
    watches.tiers(
        tier_writer,
        database_store.clone(),
        object_store_store.clone(),
    );
    watches.quotas(quota_writer);
    watches.revisions(object_store_store.clone());
    watches.object_stores(
        object_store_writer,
        tier_store.clone(),
        Arc::clone(&context),
    );
    watches.children::<Cluster>("Cluster");
    watches.children::<Pooler>("Pooler");
    watches.children::<ScheduledBackup>("ScheduledBackup");
    watches.children::<ObjectStore>("ObjectStore");
    watches.children::<NetworkPolicy>("NetworkPolicy");
    watches.children::<Pod>("Pod");
    watches.backups();

    let databases = drive(
        database_store,
        database_queue,
        DATABASE_DEBOUNCE,
        &context,
        &shutdown,
        run_database,
    );
    let tiers = drive(
        tier_store,
        tier_queue,
        TIER_DEBOUNCE,
        &context,
        &shutdown,
        run_tier,
    );
    let quotas = drive(
        quota_store,
        quota_queue,
        QUOTA_DEBOUNCE,
        &context,
        &shutdown,
        run_quota,
    );
    let object_stores = drive(
        object_store_store,
        object_store_queue,
        OBJECT_STORE_DEBOUNCE,
        &context,
        &shutdown,
        run_object_store,
    );
    tokio::join!(databases, tiers, quotas, object_stores);
}

/// Runs one controller until `shutdown`.
async fn drive<K, Run>(
    store: Store<K>,
    queue: UnboundedReceiver<ObjectRef<K>>,
    debounce: Duration,
    context: &Arc<Context>,
    shutdown: &CancellationToken,
    run: fn(Arc<K>, Arc<Context>) -> Run,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    Run: Future<Output = Action> + Send + 'static,
{
    let config = Config::default()
        .concurrency(context.settings.concurrency)
        .debounce(debounce);
    let queue = queue
        .map(Ok::<_, Infallible>)
        .take_until(shutdown.clone().cancelled_owned());
    applier(
        move |object, context| run(object, context).map(Ok::<_, Infallible>).boxed(),
        |_, never: &Infallible, _| match *never {},
        Arc::clone(context),
        store,
        Box::pin(queue),
        config,
    )
    // The only error left is that an object went while it was waiting for its run.
    .for_each(|_| std::future::ready(()))
    .await;
}

async fn run_database(object: Arc<Database>, context: Arc<Context>) -> Action {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let run = database::reconcile(&context, &namespace, &name)
        .map_err(|error| Failure::new(error.category(), &error))
        .boxed();
    Supervised {
        controller: "database",
        context: &context,
        backoff: &context.database_backoff,
        object: &*object,
    }
    .supervise(object.0.as_ref().err(), run)
    .await
}

async fn run_tier(object: Arc<Tier>, context: Arc<Context>) -> Action {
    let name = object.name_any();
    let run = tier::reconcile(&context, &name)
        .map_err(|error| Failure::new(error.category(), &error))
        .boxed();
    Supervised {
        controller: "tier",
        context: &context,
        backoff: &context.tier_backoff,
        object: &*object,
    }
    .supervise(object.0.as_ref().err(), run)
    .await
}

async fn run_quota(object: Arc<Quota>, context: Arc<Context>) -> Action {
    let name = object.name_any();
    let run = quota::reconcile(&context, &name)
        .map_err(|error| Failure::new(error.category(), &error))
        .boxed();
    Supervised {
        controller: "quota",
        context: &context,
        backoff: &context.quota_backoff,
        object: &*object,
    }
    .supervise(object.0.as_ref().err(), run)
    .await
}

async fn run_object_store(object: Arc<Storage>, context: Arc<Context>) -> Action {
    let name = object.name_any();
    let run = object_store::reconcile(&context, &name)
        .map_err(|error| Failure::new(error.category(), &error))
        .boxed();
    Supervised {
        controller: "object_store",
        context: &context,
        backoff: &context.object_store_backoff,
        object: &*object,
    }
    .supervise(object.0.as_ref().err(), run)
    .await
}

/// Why a run had no success.
struct Failure {
    category: &'static str,
    text: String,
}

impl Failure {
    fn new(category: &'static str, error: &dyn std::error::Error) -> Self {
        Self {
            category,
            text: chain(error),
        }
    }
}

/// A run of a controller, measured; its failure is logged here and nowhere else.
struct Supervised<'a, K> {
    controller: &'static str,
    context: &'a Context,
    backoff: &'a Backoff,
    object: &'a K,
}

impl<K: Resource<DynamicType = ()>> Supervised<'_, K> {
    async fn supervise(
        self,
        unreadable: Option<&InvalidObject>,
        run: impl Future<Output = Result<Action, Failure>>,
    ) -> Action {
        if let Some(invalid) = unreadable {
            return self.failed(Failure::new("Unreadable", invalid));
        }
        let begin = Instant::now();
        let outcome = run.await;
        self.context
            .metrics
            .observe_run(self.controller, begin.elapsed());
        match outcome {
            Ok(action) => {
                self.backoff.reset(self.uid());
                action
            }
            Err(failure) => self.failed(failure),
        }
    }

    fn failed(self, failure: Failure) -> Action {
        let Failure { category, text } = failure;
        self.context.metrics.count_error(self.controller, category);
        let (namespace, name) = (self.object.namespace(), self.object.name_any());
        match category {
            "Conflict" => {
                tracing::debug!(
                    controller = self.controller,
                    namespace,
                    name,
                    error = text,
                    "someone else wrote, reading again"
                );
                Action::requeue(AFTER_CONFLICT)
            }
            "NotLeader" => Action::await_change(),
            _ => {
                let wait = self.backoff.failed(self.uid());
                tracing::warn!(
                    controller = self.controller,
                    namespace,
                    name,
                    category,
                    error = text,
                    wait_seconds = wait.as_secs(),
                    "a run failed"
                );
                Action::requeue(wait)
            }
        }
    }

    fn uid(&self) -> &str {
        self.object.meta().uid.as_deref().unwrap_or_default()
    }
}

/// The watches, each in a task of its own.
struct Watches {
    client: Client,
    freshness: Freshness,
    deadline: Duration,
    databases: Queue<Database>,
    tiers: Queue<Tier>,
    quotas: Queue<Quota>,
    object_stores: Queue<Storage>,
    tasks: JoinSet<()>,
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
    fn databases(&mut self, mut writer: Writer<Database>, context: Arc<Context>) {
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
    fn tiers(
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
    fn quotas(&mut self, mut writer: Writer<Quota>) {
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
    fn revisions(&mut self, stores: Store<Storage>) {
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
    fn object_stores(
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
    fn children<K>(&mut self, kind: &'static str)
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
    fn backups(&mut self) {
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
