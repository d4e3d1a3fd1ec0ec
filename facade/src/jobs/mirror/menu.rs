//! Mirrors a kind that has no history, only a state: tiers, quotas. Reads the cluster, writes what it holds now.

use std::collections::{HashMap, HashSet};

use daap_crds::{ResourceExt as _, kind::ClusterWide};

use crate::{
    cluster::{
        Cluster,
        watch::{DeserializeGuard, Event},
    },
    domain::failure::Failure,
    store::Store,
};

/// The mirror of one kind.
pub(super) struct Menu<'a, K> {
    store: &'a Store,
    cluster: &'a Cluster,
    /// The version of each, by name.
    versions: HashMap<String, i64>,
    listing: HashSet<String>,
    pub(super) listed: bool,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<'a, K: ClusterWide> Menu<'a, K> {
    pub(super) async fn new(store: &'a Store, cluster: &'a Cluster) -> Result<Self, Failure> {
        Ok(Self {
            store,
            cluster,
            versions: store.resource_versions::<K>().await?,
            listing: HashSet::new(),
            listed: false,
            kind: std::marker::PhantomData,
        })
    }

    pub(super) async fn apply(&mut self, event: Event<DeserializeGuard<K>>) -> Result<(), Failure> {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                self.listing.insert(object.name_any());
                self.observe(object).await?;
            }
            Event::InitDone => {
                self.remove_unlisted().await?;
                self.listed = true;
            }
            Event::Apply(object) => self.observe(object).await?,
            Event::Delete(object) => self.remove_if_gone(&object.name_any()).await?,
        }
        Ok(())
    }

    async fn observe(&mut self, object: DeserializeGuard<K>) -> Result<(), Failure> {
        let name = object.name_any();
        let version = object
            .resource_version()
            .and_then(|version| version.parse().ok())
            .unwrap_or_default();
        if self.versions.get(&name) == Some(&version) {
            return Ok(());
        }
        match object.0 {
            Ok(resource) => self.store.keep_resource(&resource).await?,
            Err(invalid) => {
                tracing::warn!(
                    object.kind = %K::kind(&()),
                    object.name = name,
                    error.message = %invalid,
                    "an object cannot be decoded and is not mirrored"
                );
            }
        }
        self.versions.insert(name, version);
        Ok(())
    }

    async fn remove_unlisted(&mut self) -> Result<(), Failure> {
        // Read again: requests write records too.
        self.versions = self.store.resource_versions::<K>().await?;
        let unlisted: Vec<_> = self
            .versions
            .keys()
            .filter(|name| !self.listing.contains(*name))
            .cloned()
            .collect();
        for name in unlisted {
            self.remove_if_gone(&name).await?;
        }
        Ok(())
    }

    async fn remove_if_gone(&mut self, name: &str) -> Result<(), Failure> {
        if !self.cluster.has::<K>(name).await? {
            self.store.forget_resource::<K>(name).await?;
            self.versions.remove(name);
        }
        Ok(())
    }
}
