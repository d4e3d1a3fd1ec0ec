//! A real API server with the controller running in this process, and CloudNativePG's part scripted.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use daap_controller::{Surroundings, settings::Settings};
use daap_crds::{DaapDatabase, DaapObjectStore, DaapTier, Phase};
use daap_tests::{
    cluster::{control_plane::ControlPlane, wait},
    installation::kubectl::Kubectl,
    recording_client::{Record, recording_client},
    s3_server::{BUCKET, S3Server},
    stand_in_archives::StandInArchives,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything that should happen may take on a slow machine.
pub const SOON: Duration = Duration::from_secs(60);

/// The namespace of the team `shop`.
pub const SHOP: &str = "daap-team-shop";

/// A real API server.
pub struct World {
    pub control_plane: ControlPlane,
    pub client: Client,
}

impl World {
    /// With the namespace of the team `shop`.
    pub async fn start(name: &str) -> Self {
        let world = Self::without_teams(name).await;
        create_namespace(&world.client, SHOP).await;
        world
    }

    /// Without a namespace of any team: the facade makes those.
    pub async fn without_teams(name: &str) -> Self {
        daap_config::process::install_crypto_provider();
        let control_plane = ControlPlane::start(name).await.unwrap();
        let client = control_plane.client();
        create_namespace(&client, "daap-system").await;
        Self {
            control_plane,
            client,
        }
    }

    /// A running controller, and the memory of what it sends.
    pub fn controller(&self) -> RunningController {
        self.controller_with(|_| ())
    }

    /// The same, with other settings.
    pub fn controller_with(&self, change: impl FnOnce(&mut Settings)) -> RunningController {
        self.controller_in(Surroundings::default(), change)
    }

    /// The same, in other surroundings.
    pub fn controller_in(
        &self,
        surroundings: Surroundings,
        change: impl FnOnce(&mut Settings),
    ) -> RunningController {
        start_controller(self.control_plane.config(), surroundings, change)
    }

    /// The same under its own name, with the permissions of its manifest.
    pub fn controller_as_installed(&self, change: impl FnOnce(&mut Settings)) -> RunningController {
        let config = self.service_account("daap-controller");
        start_controller(config, Surroundings::default(), change)
    }

    /// The configuration of a program of DAAP, with the permissions of its manifest.
    pub fn service_account(&self, name: &str) -> Config {
        const GROUPS: [&str; 3] = [
            "system:authenticated",
            "system:serviceaccounts",
            "system:serviceaccounts:daap-system",
        ];
        self.config_as(
            &format!("system:serviceaccount:daap-system:{name}"),
            &GROUPS,
        )
    }

    /// A client that the API server takes for this user, who may do everything that no policy forbids.
    pub fn client_as(&self, user: &str) -> Client {
        Client::try_from(self.config_as(user, &["system:masters"])).unwrap()
    }

    fn config_as(&self, user: &str, groups: &[&str]) -> Config {
        let mut config = self.control_plane.config();
        config.auth_info.impersonate = Some(user.to_owned());
        let groups = groups.iter().map(|&group| group.to_owned());
        config.auth_info.impersonate_groups = Some(groups.collect());
        config
    }

    /// Applies what every installation has: permissions and policies, and programs, which nothing runs here.
    ///
    /// The API server takes a moment to take up policies: wait for a refusal before anything is concluded from success.
    pub async fn install(&self) {
        let kubectl = Kubectl::new(self.control_plane.kubeconfig()).await.unwrap();
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base");
        kubectl.apply(&base).await.unwrap();
    }

    pub async fn create_tier(&self, name: &str) {
        self.create_tier_with(name, |_| ()).await;
    }

    pub async fn create_tier_with(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut tier = json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapTier",
            "metadata": {"name": name},
            "spec": {
                "description": "For trying things out.",
                "postgres": {"major": 17, "image": "registry.example/postgresql:17.6"},
                "compute": {"cpu": "100m", "memory": "256Mi"},
                "storage": {"size": "1Gi"},
                "destruction": {"strategy": "Hard"},
            },
        });
        change(&mut tier);
        let tiers: Api<DaapTier> = Api::all(self.client.clone());
        tiers
            .create(
                &PostParams::default(),
                &serde_json::from_value(tier).unwrap(),
            )
            .await
            .unwrap();
    }

    /// An object store `vault`, which is this server.
    pub async fn create_object_store(&self, server: &S3Server) {
        let secret = json!({
            "metadata": {"name": "vault-keys"},
            "stringData": {"accessKeyId": server.access_key, "secretAccessKey": server.secret_key},
        });
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "daap-system");
        let secret = serde_json::from_value(secret).unwrap();
        secrets
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
        let store = json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapObjectStore", "metadata": {"name": "vault"},
            "spec": {
                "url": format!("s3://{BUCKET}/daap"), "endpoint": server.endpoint,
                "credentials": {"secret": {"name": "vault-keys"}},
            },
        });
        let stores: Api<DaapObjectStore> = Api::all(self.client.clone());
        let store = serde_json::from_value(store).unwrap();
        stores.create(&PostParams::default(), &store).await.unwrap();
    }

    /// Has a tier back up to that object store.
    pub fn backed_up(tier: &mut Value) {
        tier["spec"]["backup"] =
            json!({"schedule": "0 3 * * *", "retention": "30d", "objectStore": "vault"});
    }

    pub fn databases(&self) -> Api<DaapDatabase> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    pub async fn create_database(&self, name: &str, tier: &str) {
        let database = json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase",
            "metadata": {"name": name}, "spec": {"tier": tier, "ownerTeam": "shop"},
        });
        let database = serde_json::from_value(database).unwrap();
        self.databases()
            .create(&PostParams::default(), &database)
            .await
            .unwrap();
    }

    /// Waits until a database has a phase, and returns it.
    pub async fn await_phase(&self, name: &str, phase: Phase) -> DaapDatabase {
        self.await_database(name, &format!("being {phase}"), |database| {
            database.status.as_ref().and_then(|status| status.phase) == Some(phase)
        })
        .await
    }

    /// Waits until a database is as `condition` wants it, and returns it.
    pub async fn await_database(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&DaapDatabase) -> bool,
    ) -> DaapDatabase {
        let databases = self.databases();
        wait::until(
            &format!("{name} {what}"),
            SOON,
            async || -> Result<DaapDatabase> {
                let database = databases.get(name).await?;
                ensure!(condition(&database), "it is {:?}", database.status);
                Ok(database)
            },
        )
        .await
        .unwrap()
    }

    /// Waits until every database of the team is ready.
    pub async fn await_all_ready(&self, count: usize) {
        let databases = self.databases();
        wait::until(
            "all databases being ready",
            3 * SOON,
            async || -> Result<()> {
                let list = databases
                    .list(&Default::default())
                    .await
                    .context("listing databases")?;
                let ready = |database: &&DaapDatabase| {
                    database.status.as_ref().and_then(|status| status.phase) == Some(Phase::Ready)
                };
                let waiting: Vec<_> = list
                    .items
                    .iter()
                    .filter(|database| !ready(database))
                    .map(|database| database.name_any())
                    .collect();
                ensure!(
                    list.items.len() == count && waiting.is_empty(),
                    "waiting for {waiting:?}"
                );
                Ok(())
            },
        )
        .await
        .unwrap();
    }
}

/// What surrounds a controller whose object stores are a stand-in, for tests whose stores do not exist.
pub fn without_object_stores() -> Surroundings {
    Surroundings {
        archives: Arc::new(StandInArchives::default()),
        ..Surroundings::default()
    }
}

pub async fn create_namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
}

fn start_controller(
    config: Config,
    surroundings: Surroundings,
    change: impl FnOnce(&mut Settings),
) -> RunningController {
    let (client, record) = recording_client(config).unwrap();
    let mut settings = Settings::from_defaults().unwrap();
    settings.http_listen = ([127, 0, 0, 1], 0).into();
    change(&mut settings);
    let shutdown = CancellationToken::new();
    let run = daap_controller::run_in(surroundings, settings, client, shutdown.clone());
    let task = tokio::spawn(run);
    RunningController {
        record,
        shutdown,
        task: Some(task),
    }
}

/// A controller that runs in this process.
pub struct RunningController {
    pub record: Record,
    shutdown: CancellationToken,
    task: Option<JoinHandle<Result<(), daap_controller::RunError>>>,
}

impl RunningController {
    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) {
        self.end().await;
    }

    /// The same, where it is in use by others. Once it has ended, this does nothing.
    pub async fn end(&mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap().unwrap();
        }
    }
}
