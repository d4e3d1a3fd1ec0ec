//! What is done at the steps that remove something. Pure.

use daap_crds::database::{LONGEST_RECEIPT, OperationKind, Removal};
use jiff::SignedDuration;
use kube::ResourceExt as _;

use super::{
    super::{
        observe::Observed,
        plan::{Child, Deed},
    },
    children,
    deed::Stage,
};

impl Stage<'_> {
    pub(super) fn delete_cluster(&self) -> Deed {
        match self.cluster {
            Some(cluster) if cluster.metadata.deletion_timestamp.is_none() => {
                let mut taken = children::volumes(self.observed);
                taken.push(children::removal("Cluster", cluster.name_any()));
                self.remove(vec![children::cluster(cluster)], taken)
            }
            Some(_) => Deed::Wait("its Cluster is being removed".to_owned()),
            None => Deed::Proceed,
        }
    }

    pub(super) fn await_gone(&self) -> Deed {
        if self.cluster.is_none() && !self.is_something_left() {
            Deed::Proceed
        } else {
            Deed::Wait("its pods and volumes are being removed".to_owned())
        }
    }

    /// Whether pods or volumes are left. They are found by the name of the Cluster, which may be somebody else's now.
    fn is_something_left(&self) -> bool {
        let Observed {
            identity, symptoms, ..
        } = self.observed;
        let namesake = self.observed.children.cluster.found();
        let is_taken = namesake.is_some_and(|cluster| !identity.owns(&cluster.metadata));
        let pods = symptoms.pods.iter().map(|pod| &pod.metadata);
        let volumes = symptoms.volumes.iter().map(|volume| &volume.metadata);
        pods.chain(volumes)
            .any(|meta| !is_taken || identity.owns(meta))
    }

    pub(super) fn remove_children(&self) -> Deed {
        let keeps_archive = self.operation.kind == OperationKind::Archive;
        let left = children::removable(self.observed, keeps_archive);
        if left.is_empty() {
            Deed::Proceed
        } else {
            let taken = left.iter().map(children::removal_of).collect();
            self.remove(left, taken)
        }
    }

    /// Removes objects that the receipt names already, or lets it name them first.
    fn remove(&self, left: Vec<Child>, mut taken: Vec<Removal>) -> Deed {
        taken.retain(|removal| !self.operation.receipt.contains(removal));
        if taken.is_empty() || self.operation.receipt.len() >= LONGEST_RECEIPT {
            Deed::Remove(left)
        } else {
            Deed::List(taken)
        }
    }

    pub(super) fn purge(&self) -> Deed {
        if self.backup_url().is_none() {
            return Deed::Proceed;
        }
        if !self.observed.readers.is_empty() {
            let readers = self.observed.readers.join(", ");
            return Deed::Wait(format!("its backups are being restored from: {readers}"));
        }
        self.store().map_or_else(|wait| wait, Deed::Purge)
    }

    /// A pod that was cut off from the cluster may still have been about to write.
    pub(super) fn recheck(&self) -> Deed {
        let pause = SignedDuration::try_from(self.settings.purge_recheck)
            .unwrap_or(SignedDuration::from_mins(1));
        if self.backup_url().is_some() && self.age() < pause {
            return Deed::Wait("the emptied archive is looked at once more".to_owned());
        }
        self.purge()
    }
}
