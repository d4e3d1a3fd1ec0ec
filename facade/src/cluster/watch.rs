//! What the mirror sees of the cluster. Lists and watches DaapDatabases; reads one Namespace.

use daap_crds::DaapDatabase;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    core::DeserializeGuard,
    runtime::watcher::{self, Event, watcher},
};
use uuid::Uuid;

use super::{Cluster, unavailable, within_deadline};
use crate::domain::failure::Failure;

/// A watch that was silent for a little longer than this was cut off unnoticed, and is begun again.
const WATCH_SECONDS: u32 = 30;
/// The namespace whose uid stands for the cluster: it is made with it and cannot be removed.
const IDENTITY: &str = "kube-system";

/// A database, or what is known of one that cannot be decoded.
pub type Watched = DeserializeGuard<DaapDatabase>;

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

    /// Every database, and then every change, until the first failure.
    pub fn watch_databases(
        &self,
    ) -> impl Stream<Item = Result<Event<Watched>, Failure>> + Send + use<> {
        let databases: Api<Watched> = Api::all(self.client.clone());
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        watcher(databases, config).map(|event| event.map_err(unavailable))
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
