//! The children of a database. Pure: [`Desired`] in, [`Objects`] out, one builder for each object.

mod backup;
mod cluster;
mod network_policy;
mod object_store;
mod pooler;
mod scheduled_backup;
mod secret;

use std::collections::BTreeMap;

use daap_crds::{
    cnpg::{Cluster, ObjectStore, Pooler, ScheduledBackup},
    label,
    schedule::ScheduleError,
};
use k8s_openapi::{
    api::{
        core::v1::{ResourceRequirements, Secret},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use thiserror::Error;

use super::plan::{Desired, Identity};
use crate::settings::Settings;

pub use backup::build_backup;
pub use cluster::{LOGINS_ARE_OVER, REJECT_PLAINTEXT, kept_connections, reserved_connections};
pub use network_policy::{DEFAULT_DENY, instance_policy_name};
pub use object_store::{
    KEY_ACCESS_KEY_ID, KEY_CA, KEY_REGION, KEY_SECRET_ACCESS_KEY, database_url,
};

/// Everything that is made for a database.
#[derive(Clone, PartialEq)]
pub struct Objects {
    /// Nothing in, nothing out, but what the others allow.
    pub default_deny: NetworkPolicy,
    /// What the instances may do.
    pub instance_policy: NetworkPolicy,
    /// What the pooler may do.
    pub pooler_policy: Option<NetworkPolicy>,
    /// The password of the application's role.
    pub application_secret: Secret,
    /// The password of the observer role.
    pub observer_secret: Secret,
    /// What an application needs to connect, once the certificate is known.
    pub connection_secret: Option<Secret>,
    /// The credentials of the object store.
    pub store_secret: Option<Secret>,
    /// Where the instances archive to.
    pub object_store: Option<ObjectStore>,
    /// Where the instances restore from.
    pub source_store: Option<ObjectStore>,
    /// PostgreSQL.
    pub cluster: Cluster,
    /// PgBouncer.
    pub pooler: Option<Pooler>,
    /// When base backups are taken.
    pub scheduled_backup: Option<ScheduledBackup>,
}

/// Why the children cannot be told.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The revision's backup schedule is none. A tier with such a schedule is not accepted.
    #[error("the backup schedule cannot be used")]
    Schedule(#[from] ScheduleError),
}

/// The children of a database.
///
/// # Errors
/// When the revision has something that an accepted tier does not have.
pub fn build(desired: &Desired, settings: &Settings) -> Result<Objects, BuildError> {
    let pools = desired.template.pooling.is_some();
    Ok(Objects {
        default_deny: network_policy::build_default_deny(&desired.identity),
        instance_policy: network_policy::build_instance_policy(desired, settings),
        pooler_policy: pools
            .then(|| network_policy::build_pooler_policy(&desired.identity, &settings.network)),
        application_secret: secret::build_application_secret(desired),
        observer_secret: secret::build_observer_secret(desired),
        connection_secret: secret::build_connection_secret(desired),
        store_secret: object_store::build_store_secret(desired),
        object_store: object_store::build_object_store(desired),
        source_store: object_store::build_source_object_store(desired),
        cluster: cluster::build_cluster(desired),
        pooler: pooler::build_pooler(desired),
        scheduled_backup: scheduled_backup::build_scheduled_backup(desired)?,
    })
}

/// The names under which the pooler's certificate must know it.
pub fn pooler_names(identity: &Identity) -> Vec<String> {
    let service = identity.name.pooler();
    let namespace = &identity.namespace;
    vec![
        service.clone(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ]
}

/// The host name of a Service of the database, inside the cluster.
pub fn host(identity: &Identity, service: &str) -> String {
    format!("{service}.{}.svc", identity.namespace)
}

/// The metadata of a child.
fn metadata(identity: &Identity, name: String) -> ObjectMeta {
    let mut labels = inherited_labels(identity);
    labels.insert(
        label::MANAGED_BY.to_owned(),
        label::MANAGED_BY_DAAP.to_owned(),
    );
    ObjectMeta {
        name: Some(name),
        namespace: Some(identity.namespace.clone()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// The labels that pods and volumes carry too.
fn inherited_labels(identity: &Identity) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::DATABASE.to_owned(), identity.name.to_string()),
        (label::DATABASE_UID.to_owned(), identity.uid.clone()),
        (label::TEAM.to_owned(), identity.team.to_string()),
        (label::TIER.to_owned(), identity.tier.clone()),
    ])
}

/// Requests that equal limits, so that a database gets what its tier promises, whoever runs beside it.
fn guaranteed(cpu: impl ToString, memory: impl ToString) -> ResourceRequirements {
    let amounts = BTreeMap::from([
        ("cpu".to_owned(), Quantity(cpu.to_string())),
        ("memory".to_owned(), Quantity(memory.to_string())),
    ]);
    ResourceRequirements {
        requests: Some(amounts.clone()),
        limits: Some(amounts),
        claims: None,
    }
}

#[cfg(test)]
mod tests;
