//! What is removed with a database. Pure.

use daap_crds::{cnpg::Cluster, database::Removal};
use kube::{Resource, ResourceExt as _};

use super::super::{
    observe::{Children, Observed},
    plan::{Child, Identity},
};
use crate::k8s::client::Lookup;

/// The Cluster.
pub fn cluster(cluster: &Cluster) -> Child {
    Child::Cluster(Box::new(cluster.clone()))
}

/// What is left of a database whose Cluster is gone. What a restore from its archive needs may be kept.
///
/// The namespace's default-deny policy is the namespace's, not the database's.
pub fn removable(observed: &Observed, keeps_archive: bool) -> Vec<Child> {
    let identity = &observed.identity;
    let Children {
        default_deny: _,
        instance_policy,
        pooler_policy,
        application_secret,
        observer_secret,
        connection_secret,
        ca_secret: _,
        store_secret,
        object_store,
        source_store,
        cluster: _,
        pooler,
        pooler_deployment: _,
        scheduled_backup,
        backups,
        // Among the others, once it was made.
        requested_backup: _,
    } = &observed.children;
    let mut left = Vec::new();
    left.extend(ours(pooler, identity, Child::Pooler));
    left.extend(ours(scheduled_backup, identity, Child::ScheduledBackup));
    left.extend(
        backups
            .iter()
            .filter(|backup| backup.metadata.deletion_timestamp.is_none())
            .map(|backup| Child::Backup(Box::new(backup.clone()))),
    );
    left.extend(ours(source_store, identity, Child::ObjectStore));
    for policy in [instance_policy, pooler_policy] {
        left.extend(ours(policy, identity, Child::NetworkPolicy));
    }
    for secret in [application_secret, observer_secret, connection_secret] {
        left.extend(ours(secret, identity, Child::Secret));
    }
    if !keeps_archive {
        left.extend(ours(object_store, identity, Child::ObjectStore));
        left.extend(ours(store_secret, identity, Child::Secret));
    }
    left
}

fn ours<K: Resource + Clone>(
    lookup: &Lookup<K>,
    identity: &Identity,
    child: fn(Box<K>) -> Child,
) -> Option<Child> {
    let object = lookup.found()?;
    let is_leaving = object.meta().deletion_timestamp.is_some();
    (identity.owns(object.meta()) && !is_leaving).then(|| child(Box::new(object.clone())))
}

/// What a receipt says of objects that went with a Cluster.
pub fn volumes(observed: &Observed) -> Vec<Removal> {
    observed
        .symptoms
        .volumes
        .iter()
        .map(|volume| removal("PersistentVolumeClaim", volume.name_any()))
        .collect()
}

/// What a receipt says of an object that is removed by itself.
pub fn removal_of(child: &Child) -> Removal {
    fn told<K: Resource<DynamicType = ()>>(object: &K) -> Removal {
        removal(&K::kind(&()), object.name_any())
    }
    match child {
        Child::Cluster(object) => told(&**object),
        Child::Pooler(object) => told(&**object),
        Child::ScheduledBackup(object) => told(&**object),
        Child::Backup(object) => told(&**object),
        Child::ObjectStore(object) => told(&**object),
        Child::Secret(object) => told(&**object),
        Child::NetworkPolicy(object) => told(&**object),
    }
}

/// What a receipt says of an object.
pub fn removal(kind: &str, name: String) -> Removal {
    Removal {
        kind: kind.to_owned(),
        name,
        count: None,
    }
}
