//! What is done at the steps of a restore, up to its Cluster. Pure.

use daap_crds::{
    database::{Incarnation, RestoredFrom},
    reason::Reason,
};
use jiff::Timestamp;

use super::{
    super::{
        build,
        observe::{Source, SourceLookup, StoreLookup},
        plan::{Archive, Claimed, Deed, Trouble},
    },
    deed::Stage,
};

impl<'a> Stage<'a> {
    pub(super) fn claim_source(&self) -> Deed {
        match self.source() {
            Ok(source) => Deed::Claim(Box::new(Claimed {
                source: source.database.clone(),
                reader: self.observed.identity.uid.clone(),
            })),
            Err(give_up) => give_up,
        }
    }

    fn source(&self) -> Result<&'a Source, Deed> {
        match &self.observed.source {
            SourceLookup::Found(source) => Ok(source),
            SourceLookup::NotNeeded => Err(Deed::Wait("its source".to_owned())),
            SourceLookup::Unusable(message) => Err(Deed::GiveUp(Trouble::new(
                Reason::RestoreSourceUnavailable,
                message,
            ))),
        }
    }

    /// The instant that is to be restored.
    pub fn target(&self) -> Option<Timestamp> {
        let restore = self.observed.database.spec.restore.as_ref()?;
        restore.target_time.as_ref().map(|time| time.0)
    }

    pub(super) fn fence_source(&self) -> Deed {
        let source = match self.source() {
            Ok(source) => source,
            Err(give_up) => return give_up,
        };
        let outside =
            |message: String| Deed::GiveUp(Trouble::new(Reason::RestoreOutsideWindow, message));
        let Some(from) = source.restorable_from else {
            return outside("The source has no base backup yet.".to_owned());
        };
        if let Some(target) = self.target().filter(|target| *target < from) {
            return outside(format!(
                "{target} is before {from}, the end of the source's first base backup."
            ));
        }
        match &source.tenant {
            Some(tenant) => Deed::Fence(tenant.clone()),
            // It rests, and what it committed last was written down when it stopped.
            None => match (&source.fence, self.target()) {
                (Some(fence), Some(target)) if target > fence.time.0 => outside(format!(
                    "{target} is after {}, the source's last archived commit.",
                    fence.time.0
                )),
                _ => Deed::Proceed,
            },
        }
    }

    /// The incarnation of a database whose source has archived everything it needs.
    pub fn restored_incarnation(&self, server_name: &str) -> Option<Incarnation> {
        let source = self.source().ok()?;
        let url = match &self.observed.store {
            StoreLookup::Available(store) => Some(store.url.clone()),
            StoreLookup::NotNeeded | StoreLookup::Unavailable(_) => None,
        };
        let spec = &self.observed.database.spec;
        Some(Incarnation {
            server_name: server_name.to_owned(),
            revision: spec.tier_revision.clone().unwrap_or_default(),
            postgres_major: self.template.postgres.major,
            backup_url: url,
            cluster_uid: None,
            fence: None,
            restored_from: Some(RestoredFrom {
                backup_url: source.backup_url.clone(),
                server_name: source.server_name.clone(),
                target_time: spec.restore.as_ref()?.target_time.clone(),
            }),
            reserved_connections: build::reserved_connections(self.template),
        })
    }

    pub(super) fn await_source(&self) -> Deed {
        let source = match self.source() {
            Ok(source) => source,
            Err(give_up) => return give_up,
        };
        let Some(fence) = &self.operation.fence else {
            return Deed::Proceed;
        };
        match self.store() {
            Ok(mut store) => {
                store.url.clone_from(&source.backup_url);
                let archive = Archive {
                    store,
                    server_name: source.server_name.clone(),
                };
                Deed::FindSegment(archive, fence.segment.clone())
            }
            Err(wait) => wait,
        }
    }
}
