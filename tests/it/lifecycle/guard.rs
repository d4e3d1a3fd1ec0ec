//! What must be true of every version of every database: who gave its place in the quota back has nothing, and stays so.
//! Watches and reads; never writes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use daap_crds::{
    DaapDatabase, Phase,
    cnpg::{self, Cluster},
};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use tokio::task::JoinHandle;

use crate::world::SHOP;

/// Whether a database is not charged any more. Told by its status, as the quota's controller is not asked here.
pub fn is_released(database: &DaapDatabase) -> bool {
    let phase = database.status.as_ref().and_then(|status| status.phase);
    matches!(phase, Some(Phase::Archived | Phase::Deleted)) || database.is_abandoned()
}

/// What was seen that must not be.
pub struct Guard {
    broken: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<Result<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Guard {
    pub fn start(client: &Client) -> Self {
        let broken: Arc<Mutex<Vec<String>>> = Arc::default();
        let task = tokio::spawn(watch(client.clone(), Arc::clone(&broken)));
        Self { broken, task }
    }

    /// Fails if anything was seen that must not be.
    pub fn assert_nothing_seen(&self) {
        assert!(!self.task.is_finished(), "it looks no more");
        let broken = self.broken.lock().unwrap();
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

async fn watch(client: Client, broken: Arc<Mutex<Vec<String>>>) -> Result<()> {
    let databases: Api<DaapDatabase> = Api::namespaced(client.clone(), SHOP);
    let mut changes = watcher(databases, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    let mut abandoned = BTreeSet::new();
    while let Some(database) = changes.next().await {
        let Ok(database) = database else { continue };
        if database.is_abandoned() {
            abandoned.insert(database.uid());
        }
        let mut seen = Vec::new();
        if abandoned.contains(&database.uid()) && !is_at_its_end(&database) {
            seen.push(format!("{} was revived", database.name_any()));
        }
        if is_released(&database) {
            let left = left(&client, &database).await?;
            seen.extend(left.map(|left| format!("{} is free with {left}", database.name_any())));
        }
        broken.lock().unwrap().extend(seen);
    }
    Ok(())
}

/// Whether a database whose restore failed is what it may be.
fn is_at_its_end(database: &DaapDatabase) -> bool {
    let phase = database.status.as_ref().and_then(|status| status.phase);
    database.is_abandoned() && matches!(phase, Some(Phase::Error | Phase::Deleted))
}

/// What a database has that takes room. Nothing comes back, so what is there now was there before.
async fn left(client: &Client, database: &DaapDatabase) -> Result<Option<String>> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), SHOP);
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), SHOP);
    let name = database.name_any();
    let of_cluster = ListParams::default().labels(&format!("{}={name}", cnpg::label::CLUSTER));
    let claims = claims.list(&of_cluster).await?.items;
    if !claims.is_empty() {
        return Ok(Some(format!("{} volumes", claims.len())));
    }
    let cluster = clusters.get_opt(&name).await?;
    Ok(cluster.map(|_| "its Cluster".to_owned()))
}
