//! Mirrors databases, with their history. Reads the cluster, writes records.

use std::collections::{HashMap, HashSet};

use daap_crds::{DaapDatabase, ResourceExt as _};
use uuid::Uuid;

use crate::{
    cluster::{
        Cluster,
        watch::{DeserializeGuard, Event},
    },
    domain::{
        database::{awaits_verdict, is_deleted, is_recorded},
        failure::Failure,
    },
    store::{PresentRecord, Store},
};

type Watched = DeserializeGuard<DaapDatabase>;

/// The mirror of the databases.
pub(super) struct Databases<'a> {
    store: &'a Store,
    cluster: &'a Cluster,
    /// Where each record's resource is, by id. Versions are needed only to skip what a list shows unchanged.
    present: HashMap<Uuid, PresentRecord>,
    /// What the list under way has shown so far.
    listing: HashSet<Uuid>,
    pub(super) listed: bool,
}

impl<'a> Databases<'a> {
    pub(super) async fn new(store: &'a Store, cluster: &'a Cluster) -> Result<Self, Failure> {
        let present = store.present().await?;
        Ok(Self {
            store,
            cluster,
            present: present.into_iter().map(|one| (one.id, one)).collect(),
            listing: HashSet::new(),
            listed: false,
        })
    }

    pub(super) async fn apply(&mut self, event: Event<Watched>) -> Result<(), Failure> {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                if let Some(id) = self.observe(object).await? {
                    self.listing.insert(id);
                }
            }
            Event::InitDone => {
                self.remove_unlisted().await?;
                self.listed = true;
            }
            Event::Apply(object) => {
                self.observe(object).await?;
            }
            Event::Delete(object) => {
                if let Some(id) = id_of(&object) {
                    self.remove_if_gone(id).await?;
                }
            }
        }
        Ok(())
    }

    /// Keeps a resource, if it is news. Returns its id, also when it cannot be decoded: it exists.
    async fn observe(&mut self, object: Watched) -> Result<Option<Uuid>, Failure> {
        let Some(id) = id_of(&object) else {
            return Ok(None);
        };
        let version = object
            .resource_version()
            .and_then(|version| version.parse().ok())
            .unwrap_or_default();
        // The controller keeps what is deleted until its record is written. It may have been before a crash, unmarked.
        let is_unmarked = |resource: &DaapDatabase| is_deleted(resource) && !is_recorded(resource);
        let is_known = self
            .present
            .get(&id)
            .is_some_and(|known| known.version == version);
        if is_known && !object.0.as_ref().is_ok_and(is_unmarked) {
            return Ok(Some(id));
        }
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        match object.0 {
            Ok(resource) if awaits_verdict(&resource) => return Ok(Some(id)),
            Ok(resource) => {
                self.store.observe(&resource).await?;
                if is_unmarked(&resource) {
                    self.cluster.mark_recorded(&resource).await?;
                }
            }
            Err(invalid) => {
                tracing::warn!(object.namespace = namespace, object.name = name, error.message = %invalid, "a database cannot be decoded and is not mirrored");
                return Ok(Some(id));
            }
        }
        let record = PresentRecord {
            id,
            version,
            namespace,
            name,
        };
        self.present.insert(id, record);
        Ok(Some(id))
    }

    async fn remove_unlisted(&mut self) -> Result<(), Failure> {
        // Read again: requests write records too.
        let present = self.store.present().await?;
        self.present = present.into_iter().map(|one| (one.id, one)).collect();
        let unlisted: Vec<_> = self
            .present
            .keys()
            .filter(|id| !self.listing.contains(id))
            .copied()
            .collect();
        for id in unlisted {
            self.remove_if_gone(id).await?;
        }
        Ok(())
    }

    /// Takes a database for gone after the API server said so of this very one.
    async fn remove_if_gone(&mut self, id: Uuid) -> Result<(), Failure> {
        let Some(record) = self.present.get(&id) else {
            return Ok(());
        };
        if !self
            .cluster
            .is_there(&record.namespace, &record.name, id)
            .await?
        {
            self.store.gone(id).await?;
            self.present.remove(&id);
        }
        Ok(())
    }
}

fn id_of(object: &Watched) -> Option<Uuid> {
    object.uid()?.parse().ok()
}
