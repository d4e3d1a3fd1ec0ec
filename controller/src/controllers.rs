//! What wakes whom: watches in, runs out. Reads the cluster through watches; the runs do the rest.
//!
//! Four controllers share the watches. Each of their objects is worked on by one run at a time, however many events
//! there are. What a watch says is used to find out *which* object to look at, never what to do with it.

mod supervise;
mod watches;

use std::{convert::Infallible, fmt::Debug, future::Future, sync::Arc, time::Duration};

use daap_crds::{
    DaapDatabase, DaapObjectStore, DaapQuota, DaapTier,
    cnpg::{Cluster, ObjectStore, Pooler, ScheduledBackup},
};
use futures::{
    FutureExt as _, StreamExt as _, TryFutureExt as _,
    channel::mpsc::{self, UnboundedReceiver},
};
use k8s_openapi::api::{core::v1::Pod, networking::v1::NetworkPolicy};
use kube::{
    Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        controller::{Action, Config, applier},
        reflector::{self, ObjectRef, Store},
    },
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    supervise::{Failure, Supervised},
    watches::{Queue, Watches},
};
use crate::{context::Context, database, k8s::watch::Freshness, object_store, quota, tier};

/// Events of one object within this time make one run.
const DATABASE_DEBOUNCE: Duration = Duration::from_millis(50);
/// A tier is looked at for each of its databases, so its events are gathered for longer.
const TIER_DEBOUNCE: Duration = Duration::from_millis(300);
/// An object store is looked at for each tier that comes to name it.
const OBJECT_STORE_DEBOUNCE: Duration = Duration::from_millis(300);
/// Somebody waits for what a quota says. What comes in during one run is gathered for the next.
const QUOTA_DEBOUNCE: Duration = Duration::ZERO;

type Database = DeserializeGuard<DaapDatabase>;
type Tier = DeserializeGuard<DaapTier>;
type Quota = DeserializeGuard<DaapQuota>;
type Storage = DeserializeGuard<DaapObjectStore>;

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
