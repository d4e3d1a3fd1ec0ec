//! An API server on which databases are frozen, archived, destroyed and restored. CloudNativePG, PostgreSQL and the
//! object store are scripted: what is tested is what the controller does with what they say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use daap_controller::{
    Surroundings,
    archive::{
        ArchiveError, Archives, Catalogue, Left, Purged, Segment, Store,
        backup::{BackupState, BaseBackup, Extent, Position},
    },
    clock::Clock,
    settings::Settings,
    tenant_sql::{Login, Tenant, TenantError, Tenants},
};
use daap_crds::{
    DaapDatabase, DaapObjectStore, DaapQuota, Phase,
    cnpg::{Backup, Cluster, ObjectStore, Pooler, ScheduledBackup},
    database::Fence,
};
use daap_tests::{
    cluster::wait,
    scripted_cnpg::{ScriptedCnpg, completed_backup, healthy_status},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::{PersistentVolumeClaim, Secret},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::guard::{Guard, is_released};
use crate::{
    mortal::{Doom, Mortal},
    world::{SHOP, SOON, World},
};

/// How many things each database has in the object store.
const STORED: usize = 5;

/// An API server, and what surrounds the controllers on it.
pub struct Stage {
    pub world: World,
    pub tenants: Arc<ScriptedTenants>,
    pub archives: Arc<ScriptedArchives>,
    pub clock: MovableClock,
    pub guard: Guard,
    /// What is set otherwise than by default.
    pub settings: fn(&mut Settings),
    _cnpg: ScriptedCnpg,
}

impl Stage {
    /// With tiers `freeze`, `archive` and `hard`, named by what destruction does. `script` says what CloudNativePG says of
    /// each Cluster.
    pub async fn start(
        name: &str,
        script: impl Fn(&Cluster) -> Value + Send + Sync + 'static,
    ) -> Self {
        let world = World::start(name).await;
        let guard = Guard::start(&world.client);
        let script = move |cluster: &Cluster| Some(script(cluster));
        let cnpg = ScriptedCnpg::start_with_volumes(&world.client, script);
        let cnpg = cnpg.with_backups(&world.client, completed_backup);
        create_object_store(&world).await;
        let destructions = [
            ("freeze", json!({"strategy": "Freeze"})),
            (
                "archive",
                json!({"strategy": "Archive", "archiveRetention": "30d"}),
            ),
            ("hard", json!({"strategy": "Hard"})),
        ];
        for (tier, destruction) in destructions {
            let change = |tier: &mut Value| {
                World::backed_up(tier);
                tier["spec"]["destruction"] = destruction;
                tier["spec"]["pooling"] =
                    json!({"mode": "Session", "maxClientConnections": 100, "defaultPoolSize": 10});
            };
            world.create_tier_with(tier, change).await;
        }
        Self {
            world,
            tenants: Arc::default(),
            archives: Arc::default(),
            clock: MovableClock::default(),
            guard,
            settings: |_| (),
            _cnpg: cnpg,
        }
    }

    pub fn controller(&self, doom: Option<Doom>) -> Mortal {
        let surroundings = Surroundings {
            tenants: Arc::clone(&self.tenants) as Arc<dyn Tenants>,
            archives: Arc::clone(&self.archives) as Arc<dyn Archives>,
            clock: self.clock.clock(),
            ..Surroundings::default()
        };
        let controller = Mortal::start(&self.world, surroundings, |settings| {
            settings.purge_recheck = Duration::from_secs(1);
            (self.settings)(settings);
        });
        controller.doom(doom);
        controller
    }

    /// Has databases made by a controller that then ends, and waits until they are recoverable.
    pub async fn prepare(&self, names: &[String], tier: &str) {
        let controller = self.controller(None);
        for name in names {
            self.world.create_database(name, tier).await;
        }
        for name in names {
            let database = self.world.await_phase(name, Phase::Ready).await;
            let server_name = &database.status.unwrap().incarnations[0].server_name;
            let window = json!({"status": {"serverRecoveryWindow": {server_name: {
                "firstRecoverabilityPoint": "2026-01-02T03:04:05Z", "lastSuccessfulBackupTime": "2026-01-02T03:04:05Z",
            }}}});
            let stores: Api<ObjectStore> = self.api();
            let name = format!("{name}-store");
            stores
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(window))
                .await
                .unwrap();
        }
        for name in names {
            let is_recoverable = |database: &DaapDatabase| {
                let backup = database
                    .status
                    .as_ref()
                    .and_then(|status| status.backup.as_ref());
                backup.is_some_and(|backup| backup.restorable_from.is_some())
            };
            self.world
                .await_database(name, "being recoverable", is_recoverable)
                .await;
        }
        controller.end().await;
    }

    /// Has databases made whose Clusters do not come up, by a controller that then ends.
    pub async fn prepare_ill(&self, names: &[String], tier: &str, phase: Phase) {
        let controller = self.controller(None);
        for name in names {
            self.world.create_database(name, tier).await;
        }
        for name in names {
            let has_cluster = |database: &DaapDatabase| {
                let status = database.status.clone().unwrap_or_default();
                let last = status.incarnations.last();
                status.phase == Some(phase) && last.is_some_and(|last| last.cluster_uid.is_some())
            };
            let what = format!("being {phase} with a Cluster");
            self.world.await_database(name, &what, has_cluster).await;
            let claims: Api<PersistentVolumeClaim> = self.api();
            wait::until("its volume", SOON, async || {
                Ok(claims.get(&format!("{name}-1")).await?)
            })
            .await
            .unwrap();
        }
        controller.end().await;
    }

    pub async fn change(&self, name: &str, spec: Value) {
        let changes = Patch::Merge(json!({"spec": spec}));
        self.world
            .databases()
            .patch(name, &PatchParams::default(), &changes)
            .await
            .unwrap();
    }

    /// Asks for a database that is restored from another.
    pub async fn restore(&self, name: &str, source: &str) {
        let source = self.world.databases().get(source).await.unwrap();
        let database = json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase", "metadata": {"name": name},
            "spec": {
                "tier": source.spec.tier, "ownerTeam": "shop",
                "restore": {"source": {"name": source.name_any(), "uid": source.uid()}},
            },
        });
        let database = serde_json::from_value(database).unwrap();
        self.world
            .databases()
            .create(&PostParams::default(), &database)
            .await
            .unwrap();
    }

    /// Waits until the operation of a database has ended well and nothing more is left to come.
    pub async fn await_end(&self, name: &str) {
        let has_ended = |database: &DaapDatabase| {
            let status = database.status.as_ref();
            let operation = status.and_then(|status| status.operation.as_ref());
            let is_generation = status.and_then(|status| status.observed_generation)
                == database.metadata.generation;
            let is_still = status.and_then(|status| status.phase) != Some(Phase::Provisioning);
            is_generation
                && is_still
                && operation.is_some_and(|operation| operation.result.is_some())
        };
        self.world
            .await_database(name, "having ended its operation", has_ended)
            .await;
    }

    /// Waits until the operation of a database is at a step.
    pub async fn await_step(&self, name: &str, step: &str) {
        let is_there = |database: &DaapDatabase| {
            let status = database.status.as_ref();
            let operation = status.and_then(|status| status.operation.as_ref());
            operation.is_some_and(|operation| operation.step == step)
        };
        let what = format!("being at {step}");
        self.world.await_database(name, &what, is_there).await;
    }

    /// Waits until exactly those databases of a tier are charged that are not released.
    pub async fn await_charges(&self, tier: &str) {
        let quotas: Api<DaapQuota> = Api::all(self.world.client.clone());
        let of_tier = ListParams::default().fields(&format!("spec.tier={tier}"));
        wait::until("the charges being right", SOON, async || {
            let quota = quotas.get(tier).await?;
            let databases = self.world.databases().list(&of_tier).await?.items;
            let charged = databases
                .iter()
                .filter(|database| database.spec.tier_revision.is_some() && !is_released(database))
                .count();
            let allocated = quota.status.clone().unwrap_or_default().allocated.databases;
            ensure!(
                usize::try_from(allocated)? == charged,
                "{allocated} allocated, {charged} charged"
            );
            Ok(())
        })
        .await
        .unwrap();
    }

    /// What there is of a database, without what differs from one to the next.
    pub async fn state(&self, name: &str) -> Result<String> {
        let database = self.world.databases().get(name).await?;
        let uid = database.uid().unwrap_or_default();
        let mut lines = vec![told(&database)];
        lines.extend(
            self.objects::<Cluster>(&uid, |cluster| {
                let sleeps = cluster.annotations().get("cnpg.io/hibernation").cloned();
                format!(
                    "{sleeps:?} {:?}",
                    cluster.spec.postgresql.map(|postgresql| postgresql.pg_hba)
                )
            })
            .await?,
        );
        lines.extend(
            self.objects::<Pooler>(&uid, |pooler| format!("{:?}", pooler.spec.instances))
                .await?,
        );
        lines.extend(
            self.objects::<ScheduledBackup>(&uid, |schedule| {
                format!("{:?}", schedule.spec.suspend)
            })
            .await?,
        );
        lines.extend(
            self.objects::<Backup>(&uid, |backup| format!("{:?}", backup.state()))
                .await?,
        );
        lines.extend(
            self.objects::<PersistentVolumeClaim>(&uid, |_| String::new())
                .await?,
        );
        lines.extend(self.objects::<ObjectStore>(&uid, |_| String::new()).await?);
        lines.extend(self.objects::<Secret>(&uid, |_| String::new()).await?);
        lines.extend(
            self.objects::<NetworkPolicy>(&uid, |_| String::new())
                .await?,
        );
        lines.push(format!("in the object store: {}", self.archives.left(&uid)));
        let operation = database.status.and_then(|status| status.operation);
        let id = operation.map_or(String::new(), |operation| {
            operation.id.chars().take(8).collect()
        });
        let mut state = lines.join("\n").replace(&uid, "UID").replace(name, "NAME");
        if !id.is_empty() {
            state = state.replace(&id, "OPERATION");
        }
        Ok(state)
    }

    /// Waits until a state is the same for a while.
    pub async fn settled_state(&self, name: &str) -> String {
        let mut before = String::new();
        wait::until("a state that stays", SOON, async || -> Result<String> {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let now = self.state(name).await?;
            let is_same = now == std::mem::replace(&mut before, now.clone());
            ensure!(is_same, "{now}");
            Ok(now)
        })
        .await
        .unwrap()
    }

    async fn objects<K>(&self, uid: &str, tell: impl Fn(K) -> String) -> Result<Vec<String>>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let of_database = ListParams::default().labels(&format!("daap.dev/database-uid={uid}"));
        let listed = self.api::<K>().list(&of_database).await?;
        let mut lines: Vec<_> = listed
            .items
            .into_iter()
            .map(|object| format!("{} {} {}", K::kind(&()), object.name_any(), tell(object)))
            .collect();
        lines.sort();
        Ok(lines)
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.world.client.clone(), SHOP)
    }
}

/// What a database says of itself that does not depend on the time.
fn told(database: &DaapDatabase) -> String {
    let status = database.status.clone().unwrap_or_default();
    let incarnations: Vec<_> = status
        .incarnations
        .iter()
        .map(|one| {
            (
                one.cluster_uid.is_some(),
                one.fence.is_some(),
                one.restored_from.is_some(),
            )
        })
        .collect();
    let operation = status.operation.map(|operation| {
        let steps: Vec<_> = operation.steps.into_iter().map(|step| step.name).collect();
        // What one controller removed from the object store just before it ended is counted by none.
        let receipt: BTreeSet<_> = operation
            .receipt
            .into_iter()
            .map(|removal| match &*removal.kind {
                // It says from when on.
                "Lost" => removal.kind,
                kind => format!("{kind} {}", removal.name),
            })
            .collect();
        format!(
            "{:?} {:?} at {} after {steps:?}, backup {:?}, receipt {receipt:#?}",
            operation.kind, operation.result, operation.step, operation.backup
        )
    });
    format!(
        "{:?}, incarnations {incarnations:?}, archived {}, abandoned {}, problem {:?}, marked {:?}\n{}",
        status.phase,
        status.archived_until.is_some(),
        status.abandoned_at.is_some(),
        status.problem.map(|problem| problem.reason),
        database.annotations().get("daap.dev/readers"),
        operation.unwrap_or_default()
    )
}

/// What CloudNativePG says of a Cluster: it is well, or it sleeps.
pub fn well(cluster: &Cluster) -> Value {
    let mut status = healthy_status(cluster);
    if cluster
        .annotations()
        .get("cnpg.io/hibernation")
        .map(String::as_str)
        == Some("on")
    {
        status["readyInstances"] = json!(0);
        let hibernated = json!({
            "type": "cnpg.io/hibernation", "status": "True", "reason": "Hibernated", "message": "Cluster has been hibernated",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        if let Some(conditions) = status["conditions"].as_array_mut() {
            conditions.push(hibernated);
        }
    }
    status
}

/// What CloudNativePG says of a Cluster whose first instance is being made.
pub fn beginning(_: &Cluster) -> Value {
    json!({"phase": "Setting up primary", "conditions": [initialised()]})
}

/// What CloudNativePG says of a Cluster whose first instance could not be made, as often as that was tried.
pub fn unable(_: &Cluster) -> Value {
    json!({
        "phase": "Cluster is unrecoverable and needs manual intervention",
        "phaseReason": "Instance creation failed for the following jobs: one",
        "conditions": [initialised()],
    })
}

/// What CloudNativePG says of a Cluster whose disk is full.
pub fn full(cluster: &Cluster) -> Value {
    json!({"phase": "Not enough disk space", "currentPrimary": format!("{}-1", cluster.name_any())})
}

/// It is true as soon as there is a volume, whether or not anything is in it.
fn initialised() -> Value {
    json!({
        "type": "Initialized", "status": "True", "reason": "ClusterIsInitialized", "message": "There is a volume",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// A clock that goes, and can be moved.
#[derive(Clone, Default)]
pub struct MovableClock(Arc<AtomicI64>);

impl MovableClock {
    /// Moves it ahead.
    pub fn move_ahead(&self, hours: i64) {
        self.0.fetch_add(hours, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        let hours = move || SignedDuration::from_hours(ahead.load(Ordering::SeqCst));
        Clock::from_fn(move || Timestamp::now() + hours())
    }
}

/// An object store that nobody reaches: what is in it is scripted.
async fn create_object_store(world: &World) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "daap-system");
    let keys = json!({
        "metadata": {"name": "vault-keys"}, "stringData": {"accessKeyId": "id", "secretAccessKey": "key"},
    });
    let keys = serde_json::from_value(keys).unwrap();
    secrets.create(&PostParams::default(), &keys).await.unwrap();
    let store = json!({
        "apiVersion": "daap.dev/v1alpha1", "kind": "DaapObjectStore", "metadata": {"name": "vault"},
        "spec": {"url": "s3://backups/daap", "credentials": {"secret": {"name": "vault-keys"}}},
    });
    let stores: Api<DaapObjectStore> = Api::all(world.client.clone());
    let store = serde_json::from_value(store).unwrap();
    stores.create(&PostParams::default(), &store).await.unwrap();
}

/// PostgreSQL, played: it takes commits, and nobody is let in who should not be.
#[derive(Default)]
pub struct ScriptedTenants {
    fences: AtomicU64,
}

#[async_trait]
impl Tenants for ScriptedTenants {
    async fn fence(&self, _: &Tenant) -> Result<Fence, TenantError> {
        let number = 3 + self.fences.fetch_add(1, Ordering::SeqCst);
        let segment = Segment::new(1, number).unwrap();
        Ok(Fence {
            time: MicroTime(Timestamp::now()),
            segment: segment.to_string(),
        })
    }

    async fn log_in(&self, _: &Tenant) -> Result<Login, TenantError> {
        Ok(Login::Refused)
    }

    async fn end_sessions(&self, _: &Tenant) -> Result<u32, TenantError> {
        Ok(0)
    }
}

/// An object store, played: every segment arrives, unless it is to lose them, and each database has something to be purged.
#[derive(Default)]
pub struct ScriptedArchives {
    left: Mutex<BTreeMap<String, usize>>,
    removed: AtomicUsize,
    /// No segment arrives.
    pub loses_segments: AtomicBool,
    /// Base backups are not there any more.
    pub loses_backups: AtomicBool,
}

impl ScriptedArchives {
    /// How many things a database still has.
    pub fn left(&self, uid: &str) -> usize {
        let left = self.left.lock().unwrap();
        let found = left.iter().find(|(url, _)| url.contains(uid));
        found.map_or(STORED, |(_, count)| *count)
    }

    /// How many things were removed, by anybody.
    pub fn removed(&self) -> usize {
        self.removed.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Archives for ScriptedArchives {
    async fn probe(&self, _: &Store) -> Result<(), ArchiveError> {
        Ok(())
    }

    async fn has_segment(&self, _: &Store, _: &str, _: &Segment) -> Result<bool, ArchiveError> {
        Ok(!self.loses_segments.load(Ordering::SeqCst))
    }

    async fn catalogue(&self, _: &Store, _: &str) -> Result<Catalogue, ArchiveError> {
        if self.loses_backups.load(Ordering::SeqCst) {
            return Ok(Catalogue::default());
        }
        let segment = |number| Segment::new(1, number).unwrap();
        let position = |number: u64| Position {
            segment: segment(number),
            location: number << 24,
        };
        let began_at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let extent = Extent {
            begin: position(1),
            end: position(2),
            began_at,
            ended_at: began_at,
            system_id: None,
        };
        Ok(Catalogue {
            backups: vec![BaseBackup {
                id: "20260102T030405".to_owned(),
                bytes: 1,
                state: BackupState::Whole(extent),
            }],
            segments: (1..2000).map(segment).collect(),
            histories: BTreeMap::new(),
        })
    }

    async fn purge(&self, store: &Store, _: usize) -> Result<Purged, ArchiveError> {
        let mut left = self.left.lock().unwrap();
        let removed = std::mem::take(left.entry(store.url.clone()).or_insert(STORED));
        self.removed.fetch_add(removed, Ordering::SeqCst);
        Ok(Purged {
            removed,
            left: Left::Nothing,
        })
    }
}
