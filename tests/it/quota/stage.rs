//! An API server, controllers with faults, and facades that share one metadata database.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use daap_controller::{
    Surroundings,
    quota::{bookkeeping::Bookkeeping, decide::offered},
    settings::Settings,
};
use daap_crds::{DaapDatabase, DaapQuota, DaapTier};
use daap_facade::settings::{AuditSettings, ServiceSettings};
use daap_tests::{
    cluster::{
        control_plane::{ControlPlane, Definitions},
        postgres::Postgres,
        wait,
    },
    faulty_client::{Asked, Fault, faulty_client},
    rest::RestClient,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::history::History;
use crate::{
    facade::{self, Facade},
    world::{SHOP, SOON, create_namespace},
};

/// An API server, and everything that happens to quotas and databases in it.
pub struct Stage {
    pub control_plane: ControlPlane,
    pub client: Client,
    pub history: History,
    /// After which time its controllers remove a database that is to be admitted at once or not at all.
    pub fail_fast_deadline: Duration,
    /// How long a call of its controllers may take. Longer than by default where calls are held up on purpose.
    pub api_deadline: Duration,
}

impl Stage {
    pub async fn start(name: &str) -> Self {
        daap_config::process::install_crypto_provider();
        let control_plane = ControlPlane::start_with(name, Definitions::Own)
            .await
            .unwrap();
        let client = control_plane.client();
        create_namespace(&client, "daap-system").await;
        create_namespace(&client, SHOP).await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let owned = json!({"metadata": {"labels": {"daap.dev/team": "shop"}}});
        namespaces
            .patch(SHOP, &PatchParams::default(), &Patch::Merge(owned))
            .await
            .unwrap();
        let history = History::start(&client);
        Self {
            control_plane,
            client,
            history,
            fail_fast_deadline: Duration::from_secs(15),
            api_deadline: Duration::from_secs(10),
        }
    }

    /// A controller that competes for the lease of this name. Two leases make two leaders.
    pub fn controller(&self, lease: &str) -> Controller {
        self.controller_with(lease, |_| Fault::None, Surroundings::default())
    }

    /// The same, with faults.
    pub fn controller_with(
        &self,
        lease: &str,
        faults: impl Fn(Asked<'_>) -> Fault + Send + Sync + 'static,
        surroundings: Surroundings,
    ) -> Controller {
        let client = faulty_client(self.control_plane.config(), faults).unwrap();
        let mut settings = Settings::from_defaults().unwrap();
        settings.http_listen = ([127, 0, 0, 1], 0).into();
        settings.fail_fast_deadline = self.fail_fast_deadline;
        settings.api_deadline = self.api_deadline;
        lease.clone_into(&mut settings.lease_name);
        let shutdown = CancellationToken::new();
        let run = daap_controller::run_in(surroundings, settings, client, shutdown.clone());
        Controller {
            shutdown,
            task: tokio::spawn(run),
        }
    }

    pub fn databases(&self) -> Api<DaapDatabase> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    pub fn quotas(&self) -> Api<DaapQuota> {
        Api::all(self.client.clone())
    }

    /// A tier with one instance of 100m, 256Mi and 1Gi, changed by `change`.
    pub async fn create_tier(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut tier = json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapTier", "metadata": {"name": name},
            "spec": {
                "description": "For trying things out.",
                "postgres": {"major": 17, "image": "registry.example/postgresql:17.6"},
                "compute": {"cpu": "100m", "memory": "256Mi"},
                "storage": {"size": "1Gi"},
                "destruction": {"strategy": "Freeze"},
            },
        });
        change(&mut tier);
        let tiers: Api<DaapTier> = Api::all(self.client.clone());
        let tier = serde_json::from_value(tier).unwrap();
        tiers.create(&PostParams::default(), &tier).await.unwrap();
    }

    /// The same, and waits until databases can be admitted on it.
    pub async fn offer_tier(&self, name: &str, change: impl FnOnce(&mut Value)) {
        self.create_tier(name, change).await;
        let tiers: Api<DaapTier> = Api::all(self.client.clone());
        wait::until("the tier being offered", SOON, async || -> Result<()> {
            let tier = tiers.get(name).await?;
            ensure!(offered(&tier).is_some(), "{:?}", tier.status);
            Ok(())
        })
        .await
        .unwrap();
    }

    pub async fn create_quota(&self, tier: &str, limits: Value) {
        let quota = DaapQuota::new(tier, serde_json::from_value(limits).unwrap());
        self.quotas()
            .create(&PostParams::default(), &quota)
            .await
            .unwrap();
    }

    /// Replaces limits; one that is null is removed.
    pub async fn change_limits(&self, tier: &str, limits: Value) {
        let changes = Patch::Merge(json!({"spec": limits}));
        self.quotas()
            .patch(tier, &PatchParams::default(), &changes)
            .await
            .unwrap();
    }

    /// Asks for a database as with kubectl.
    pub async fn ask(&self, name: &str, tier: &str) -> DaapDatabase {
        self.ask_with(name, tier, |_| ()).await
    }

    /// The same, with another spec.
    pub async fn ask_with(
        &self,
        name: &str,
        tier: &str,
        change: impl FnOnce(&mut Value),
    ) -> DaapDatabase {
        let mut database = json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase",
            "metadata": {"name": name}, "spec": {"tier": tier, "ownerTeam": "shop"},
        });
        change(&mut database);
        self.databases()
            .create(
                &PostParams::default(),
                &serde_json::from_value(database).unwrap(),
            )
            .await
            .unwrap()
    }

    pub async fn listed(&self, tier: &str) -> Vec<DaapDatabase> {
        let of_tier = ListParams::default().fields(&format!("spec.tier={tier}"));
        self.databases().list(&of_tier).await.unwrap().items
    }

    /// The names of the databases that were admitted.
    pub async fn admitted(&self, tier: &str) -> Vec<String> {
        let listed = self.listed(tier).await.into_iter();
        listed
            .filter(|database| database.spec.tier_revision.is_some())
            .map(|database| database.name_any())
            .collect()
    }

    /// Waits until so many databases are bound, all that is allocated is bound, and everybody else knows where they are.
    pub async fn await_settled(&self, tier: &str, count: usize) -> DaapQuota {
        wait::until(
            &format!("{count} databases of {tier} being admitted"),
            2 * SOON,
            async || -> Result<DaapQuota> {
                let quota = self.quotas().get(tier).await?;
                let listed = self.listed(tier).await;
                let bound = listed
                    .iter()
                    .filter(|database| {
                        database.spec.tier_revision.is_some() && !database.is_abandoned()
                    })
                    .count();
                let undecided = listed.iter().filter(|database| {
                    let status = database.status.as_ref();
                    let told = status.is_some_and(|status| status.admission.is_some());
                    database.spec.tier_revision.is_none()
                        && (!told
                            || database.spec.admission == daap_crds::database::Admission::FailFast)
                });
                let undecided = undecided.count();
                let status = quota.status.clone().unwrap_or_default();
                ensure!(
                    bound == count && undecided == 0 && status.reservations.is_empty(),
                    "{bound} bound, {undecided} undecided, {} reserved",
                    status.reservations.len()
                );
                ensure!(
                    usize::try_from(status.allocated.databases)? == count
                        && status.observed_generation == quota.metadata.generation,
                    "{status:?}"
                );
                Ok(quota)
            },
        )
        .await
        .unwrap()
    }

    /// Removes all databases of a tier, those that wait first, and waits until nothing is allocated.
    pub async fn remove_all(&self, tier: &str) {
        let mut listed = self.listed(tier).await;
        listed.sort_by_key(|database| database.spec.tier_revision.is_some());
        for database in listed {
            self.databases()
                .delete(&database.name_any(), &DeleteParams::default())
                .await
                .unwrap();
        }
        self.await_settled(tier, 0).await;
    }
}

/// A controller that runs in this process.
pub struct Controller {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), daap_controller::RunError>>,
}

impl Controller {
    /// Asks it to end, and waits until it has.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it where it stands, without giving the lease back.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Judgements with a mistake.
pub fn mistaken(bookkeeping: impl Bookkeeping + 'static) -> Surroundings {
    Surroundings {
        bookkeeping: Arc::new(bookkeeping),
        ..Surroundings::default()
    }
}

/// Replicas of the facade.
pub struct Facades {
    /// A client of each replica, with a key of the team `shop`.
    pub clients: Vec<RestClient>,
    /// A client of the first replica, with a key of the platform.
    pub platform: RestClient,
    replicas: Vec<Facade>,
    _postgres: Postgres,
}

impl Facades {
    /// So many replicas, which wait so long for an admission.
    pub async fn start(stage: &Stage, count: usize, patience: Duration) -> Self {
        let postgres = Postgres::start().await.unwrap();
        let store = facade::store(&postgres).await;
        let mut replicas = Vec::new();
        for _ in 0..count {
            let settings = |settings: &mut ServiceSettings| {
                settings.listen.limits.admission_timeout_seconds = patience.as_secs_f32();
                settings.audit = AuditSettings::default();
            };
            let client = stage.client.clone();
            let replica = Facade::start_through(client, store.clone(), settings);
            replicas.push(Box::pin(replica).await);
        }
        Self {
            clients: replicas.iter().map(|one| one.shop.clone()).collect(),
            platform: replicas[0].platform.clone(),
            replicas,
            _postgres: postgres,
        }
    }

    /// Waits until a tier takes databases.
    pub async fn await_offer(&self, tier: &str) {
        wait::until("the tier being offered", SOON, async || {
            let answer = self.clients[0].get(&format!("/tiers/{tier}")).await?;
            ensure!(answer.body["available"] == true, "{answer:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Asks them to end, and waits until they have.
    pub async fn stop(self) {
        for replica in self.replicas {
            replica.stop().await;
        }
    }
}
