//! What has the name of a child and is somebody else's. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::{observe::Children, plan::Identity};
use crate::k8s::client::Lookup;

/// Something of the name of a child that is not this database's, in words.
pub(super) fn foreign_child(children: &Children, identity: &Identity) -> Option<String> {
    let Children {
        // Shared by the databases of the namespace.
        default_deny: _,
        instance_policy,
        pooler_policy,
        application_secret,
        observer_secret,
        connection_secret,
        // Made by CloudNativePG, for a Cluster whose ownership is told by the Cluster.
        ca_secret: _,
        store_secret,
        object_store,
        source_store,
        cluster,
        pooler,
        pooler_deployment: _,
        scheduled_backup,
        // Made for a Cluster whose ownership is told by the Cluster.
        backups: _,
        requested_backup: _,
    } = children;
    let found = [
        ("NetworkPolicy", meta(instance_policy)),
        ("NetworkPolicy", meta(pooler_policy)),
        ("Secret", meta(application_secret)),
        ("Secret", meta(observer_secret)),
        ("Secret", meta(connection_secret)),
        ("Secret", meta(store_secret)),
        ("ObjectStore", meta(object_store)),
        ("ObjectStore", meta(source_store)),
        ("Cluster", meta(cluster)),
        ("Pooler", meta(pooler)),
        ("ScheduledBackup", meta(scheduled_backup)),
    ];
    found.into_iter().find_map(|(kind, meta)| {
        let meta = meta.filter(|meta| !identity.owns(meta))?;
        let name = meta.name.as_deref().unwrap_or_default();
        Some(format!(
            "A {kind} '{name}' exists that does not belong to this database."
        ))
    })
}

fn meta<K: kube::Resource>(lookup: &Lookup<K>) -> Option<&ObjectMeta> {
    lookup.found().map(K::meta)
}
