//! Every version of every quota and database, and what must be true of all of them. Watches; never writes.
//!
//! Versions of an API server's objects are in one order, so for each version of a quota it is known which databases were
//! bound at that moment.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Result, ensure};
use daap_crds::{DaapDatabase, DaapQuota, DaapTierRevision, Phase, cost::Resource};
use daap_tests::cluster::wait;
use futures::StreamExt as _;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, ObjectList},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::task::JoinHandle;

/// How long watches may be behind. Long: one that broke rests before it goes on, and with many at once the machine is busy.
const CAUGHT_UP: Duration = Duration::from_secs(180);

/// Databases, thousandths of a core, mebibytes of memory and of storage.
pub type Amounts = [u64; 4];

#[derive(Default)]
struct Seen {
    quotas: Vec<DaapQuota>,
    databases: Vec<(DaapDatabase, bool)>,
}

/// Every version, from the beginning to the end of a test.
pub struct History {
    client: Client,
    seen: Arc<Mutex<Seen>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for History {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl History {
    pub fn start(client: &Client) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (quotas, databases) = (seen.clone(), seen.clone());
        let (quota_client, database_client) = (client.clone(), client.clone());
        let tasks = [
            tokio::spawn(async move {
                let api: Api<DaapQuota> = Api::all(quota_client);
                let mut events = watcher(api, watcher::Config::default())
                    .default_backoff()
                    .boxed();
                while let Some(event) = events.next().await {
                    if let Ok(Event::Apply(quota) | Event::InitApply(quota)) = event {
                        quotas.lock().unwrap().quotas.push(quota);
                    }
                }
            }),
            tokio::spawn(async move {
                let api: Api<DaapDatabase> = Api::all(database_client);
                let mut events = watcher(api, watcher::Config::default())
                    .default_backoff()
                    .boxed();
                while let Some(event) = events.next().await {
                    let change = match event {
                        Ok(Event::Apply(database) | Event::InitApply(database)) => {
                            (database, false)
                        }
                        Ok(Event::Delete(database)) => (database, true),
                        Ok(Event::Init | Event::InitDone) | Err(_) => continue,
                    };
                    databases.lock().unwrap().databases.push(change);
                }
            }),
        ];
        Self {
            client: client.clone(),
            seen,
            tasks,
        }
    }

    /// What breaks a rule in the history of a tier; nothing, when all is well.
    pub async fn broken_rules(&self, tier: &str) -> Vec<String> {
        self.catch_up(tier).await;
        let prices = prices(&self.client, tier).await;
        let seen = self.seen.lock().unwrap();
        let quotas: Vec<_> = seen
            .quotas
            .iter()
            .filter(|quota| quota.name_any() == tier && quota.status.is_some())
            .collect();
        let databases: Vec<_> = seen
            .databases
            .iter()
            .filter(|(database, _)| database.spec.tier == tier)
            .collect();
        let mut broken = Vec::new();
        for quota in &quotas {
            let truth = charged(&databases, version(*quota), &prices);
            let allocated = allocated(quota);
            if (0..4).any(|index| allocated[index] < truth[index]) {
                broken.push(format!("{allocated:?} allocated, {truth:?} bound"));
            }
        }
        for pair in quotas.windows(2) {
            broken.extend(step(pair[0], pair[1]));
        }
        broken.extend(unreserved(&quotas, &databases));
        broken
    }

    /// What the databases of a tier that exist now cost, counted from scratch.
    pub async fn recount(&self, tier: &str) -> Amounts {
        self.catch_up(tier).await;
        let prices = prices(&self.client, tier).await;
        let seen = self.seen.lock().unwrap();
        let databases: Vec<_> = seen
            .databases
            .iter()
            .filter(|(database, _)| database.spec.tier == tier)
            .collect();
        charged(&databases, u64::MAX, &prices)
    }

    /// Waits until the watches have told everything that there is now, whatever happens meanwhile.
    async fn catch_up(&self, tier: &str) {
        let (quotas, databases): (Api<DaapQuota>, Api<DaapDatabase>) =
            (Api::all(self.client.clone()), Api::all(self.client.clone()));
        let of_tier = ListParams::default().fields(&format!("spec.tier={tier}"));
        let quota = quotas.get(tier).await.unwrap();
        let listed = databases.list(&of_tier).await.unwrap();
        wait::until("the watches catching up", CAUGHT_UP, async || {
            self.seen.lock().unwrap().has_reached(&quota, &listed)
        })
        .await
        .unwrap();
    }
}

impl Seen {
    /// Whether these were told, or later versions of them, and the end of what is not in the list any more.
    fn has_reached(&self, quota: &DaapQuota, listed: &ObjectList<DaapDatabase>) -> Result<()> {
        ensure!(
            self.quotas
                .iter()
                .any(|one| one.name_any() == quota.name_any() && version(one) >= version(quota)),
            "the quota is not known"
        );
        let mut latest = BTreeMap::new();
        for (database, gone) in &self.databases {
            latest.insert(database.uid(), (database, *gone));
        }
        for database in listed {
            let known = latest.remove(&database.uid());
            ensure!(
                known.is_some_and(|(known, _)| version(known) >= version(database)),
                "{} is not known",
                database.name_any()
            );
        }
        let at: u64 = listed
            .metadata
            .resource_version
            .as_deref()
            .unwrap_or_default()
            .parse()?;
        let tier = quota.name_any();
        let unheard = latest.into_values().find(|(database, gone)| {
            database.spec.tier == tier && !gone && version(*database) <= at
        });
        ensure!(unheard.is_none(), "the end of {unheard:?} is not known");
        Ok(())
    }
}

/// What must be true of one version of a quota and the next.
fn step(before: &DaapQuota, after: &DaapQuota) -> Vec<String> {
    let (old, new) = (
        before.status.as_ref().unwrap(),
        after.status.as_ref().unwrap(),
    );
    let mut broken = Vec::new();
    if new.lease_epoch < old.lease_epoch {
        broken.push(format!(
            "leadership {} wrote after {}",
            new.lease_epoch, old.lease_epoch
        ));
    }
    let admits = new
        .reservations
        .iter()
        .any(|one| old.reservations.iter().all(|other| other.uid != one.uid));
    let over: Vec<_> = Resource::ALL
        .into_iter()
        .filter(|resource| {
            after
                .spec
                .limit(*resource)
                .is_some_and(|limit| new.allocated.amount(*resource) > limit)
        })
        .collect();
    if admits && !over.is_empty() {
        broken.push(format!("admitted over the limit of {over:?}"));
    }
    broken
}

/// Databases that were bound to a revision, be it their first or another one, that was not reserved for them before.
fn unreserved(quotas: &[&DaapQuota], databases: &[&(DaapDatabase, bool)]) -> Vec<String> {
    let is_reserved = |database: &DaapDatabase, revision: &String| {
        quotas
            .iter()
            .filter(|quota| version(**quota) < version(database))
            .flat_map(|quota| &quota.status.as_ref().unwrap().reservations)
            .any(|one| Some(&one.uid) == database.uid().as_ref() && one.revision == *revision)
    };
    let mut bound = BTreeMap::new();
    let mut broken = Vec::new();
    for (database, _) in databases {
        let Some(revision) = &database.spec.tier_revision else {
            continue;
        };
        let before = bound.insert(database.uid(), revision);
        if before != Some(revision) && !is_reserved(database, revision) {
            broken.push(format!(
                "{} was bound without a reservation",
                database.name_any()
            ));
        }
    }
    broken
}

pub fn allocated(quota: &DaapQuota) -> Amounts {
    let allocated = quota.status.as_ref().unwrap().allocated;
    Resource::ALL.map(|resource| allocated.amount(resource))
}

fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().unwrap().parse().unwrap()
}

/// What was bound at a version and costs something.
fn charged(
    databases: &[&(DaapDatabase, bool)],
    at: u64,
    prices: &BTreeMap<String, Amounts>,
) -> Amounts {
    let mut latest = BTreeMap::new();
    for (database, gone) in databases.iter().filter(|(one, _)| version(one) <= at) {
        latest.insert(database.uid(), (database, *gone));
    }
    let mut sum = [0; 4];
    for (database, gone) in latest.into_values() {
        let phase = database.status.as_ref().and_then(|status| status.phase);
        let released = gone
            || matches!(phase, Some(Phase::Archived | Phase::Deleted))
            || database.is_abandoned();
        let Some(revision) = database.spec.tier_revision.as_ref().filter(|_| !released) else {
            continue;
        };
        for (total, part) in sum.iter_mut().zip(prices[revision]) {
            *total += part;
        }
    }
    sum
}

/// What each revision costs, worked out from its JSON and not by the code under test.
async fn prices(client: &Client, tier: &str) -> BTreeMap<String, Amounts> {
    let revisions: Api<DaapTierRevision> = Api::all(client.clone());
    let listed = revisions.list(&Default::default()).await.unwrap();
    let of_tier = listed.items.into_iter().filter(|one| one.spec.tier == tier);
    of_tier
        .map(|revision| {
            let template = serde_json::to_value(&revision.spec.template).unwrap();
            let number = |pointer: &str| template.pointer(pointer).map_or(0, amount);
            let instances = number("/availability/instances");
            let poolers = number("/pooling/instances");
            let price = [
                1,
                instances * number("/compute/cpu") + poolers * number("/pooling/compute/cpu"),
                instances * number("/compute/memory") + poolers * number("/pooling/compute/memory"),
                instances * (number("/storage/size") + number("/storage/walSize")),
            ];
            (revision.name_any(), price)
        })
        .collect()
}

/// A count, thousandths of a core, or mebibytes.
fn amount(value: &serde_json::Value) -> u64 {
    if let Some(count) = value.as_u64() {
        return count;
    }
    let text = value.as_str().unwrap();
    let units = [
        ("Mi", 1),
        ("Gi", 1024),
        ("Ti", 1024 * 1024),
        ("m", 1),
        ("", 1000),
    ];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .unwrap();
    number.parse::<u64>().unwrap() * factor
}
