//! What the mirror sees of the cluster. Lists and watches databases and tiers; reads one Namespace.

use daap_crds::{
    DaapDatabase,
    kind::{ClusterWide, Kind},
};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    runtime::watcher::{self, watcher},
};
pub use kube::{core::DeserializeGuard, runtime::watcher::Event};
use uuid::Uuid;

use super::{Cluster, unavailable, within_deadline};
use crate::domain::failure::Failure;

/// A watch that was silent for a little longer than this was cut off unnoticed, and is begun again.
const WATCH_SECONDS: u32 = 30;
/// The namespace whose uid stands for the cluster: it is made with it and cannot be removed.
const IDENTITY: &str = "kube-system";

impl Cluster {
    /// What identifies the cluster.
    pub async fn identity(&self) -> Result<Uuid, Failure> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = within_deadline(namespaces.get(IDENTITY))
            .await
            .map_err(unavailable)?;
        let uid = found.metadata.uid.as_deref().unwrap_or_default();
        Uuid::parse_str(uid).map_err(Failure::internal)
    }

    /// Every object of a kind, and then every change, until the first failure. One that does not decode is there too.
    pub fn watch<K: Kind>(
        &self,
    ) -> impl Stream<Item = Result<Event<DeserializeGuard<K>>, Failure>> + Send + use<K> {
        let objects: Api<DeserializeGuard<K>> = Api::all(self.client.clone());
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        watcher(objects, config).map(|event| event.map_err(unavailable))
    }

    /// Whether there is an object of this name, asked live.
    pub async fn has<K: ClusterWide>(&self, name: &str) -> Result<bool, Failure> {
        let objects: Api<K> = Api::all(self.client.clone());
        let found = within_deadline(objects.get_metadata_opt(name)).await;
        Ok(found.map_err(unavailable)?.is_some())
    }

    /// Whether this very database is there, asked live.
    pub async fn is_there(&self, namespace: &str, name: &str, id: Uuid) -> Result<bool, Failure> {
        let databases: Api<DaapDatabase> = Api::namespaced(self.client.clone(), namespace);
        let found = within_deadline(databases.get_metadata_opt(name))
            .await
            .map_err(unavailable)?;
        let uid = found.and_then(|found| found.metadata.uid);
        Ok(uid.is_some_and(|uid| uid == id.to_string()))
    }
}
