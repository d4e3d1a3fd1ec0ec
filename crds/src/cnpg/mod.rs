//! The fields of CloudNativePG and Barman Cloud objects that DAAP owns or reads. Pure.
//!
//! Not the whole of those kinds: specs have what DAAP sets, statuses what it reads, and everything is optional,
//! so that an object decodes whatever else is in it and server-side apply owns exactly what is written here.
//! Names are those of CloudNativePG 1.30 and the Barman Cloud plugin 0.14; a test compares what DAAP emits with
//! their CRDs.

mod backup;
mod cluster;
mod object_store;
mod pooler;
mod scheduled_backup;

pub use backup::{Backup, BackupSpec, BackupStatus};
pub use cluster::{
    Affinity, Bootstrap, Certificates, CertificatesStatus, Cluster, ClusterSpec, ClusterStatus,
    ExternalCluster, ImageCatalogRef, InheritedMetadata, InitDb, LocalObjectReference, Managed,
    Plugin, PluginParameters, PostgresConfiguration, Recovery, RecoveryTarget, Role,
    ServiceAccountMetadata, ServiceAccountTemplate, Storage, Synchronous,
};
pub use object_store::{
    BarmanObjectStore, DataBackup, ObjectStore, ObjectStoreSpec, ObjectStoreStatus, RecoveryWindow,
    S3Credentials, SecretKeySelector, SidecarConfiguration, WalBackup,
};
pub use pooler::{PgBouncer, Pooler, PoolerSpec, PoolerStatus};
pub use scheduled_backup::{
    PluginConfiguration, ScheduledBackup, ScheduledBackupSpec, ScheduledBackupStatus,
};

/// The name under which CloudNativePG knows the Barman Cloud plugin.
pub const BARMAN_PLUGIN: &str = "barman-cloud.cloudnative-pg.io";

/// Annotations of CloudNativePG.
pub mod annotation {
    /// On a Cluster: [`ON`] stops its instances and keeps their volumes. Also the type of the condition that tells so.
    pub const HIBERNATION: &str = "cnpg.io/hibernation";
    /// A value of [`HIBERNATION`].
    pub const ON: &str = "on";
    /// On a Cluster: the instances, as a JSON array, in which PostgreSQL is stopped.
    pub const FENCED_INSTANCES: &str = "cnpg.io/fencedInstances";
    /// The value of [`FENCED_INSTANCES`] for all of them.
    pub const ALL_INSTANCES: &str = "[\"*\"]";
}

/// Labels of CloudNativePG.
pub mod label {
    /// On pods, Jobs, volumes and base backups: the Cluster.
    pub const CLUSTER: &str = "cnpg.io/cluster";
    /// On base backups that a schedule asked for: the ScheduledBackup.
    pub const SCHEDULED_BACKUP: &str = "cnpg.io/scheduled-backup";
    /// On pods: the instance.
    pub const INSTANCE_NAME: &str = "cnpg.io/instanceName";
    /// On pods: [`ROLE_INSTANCE`] or [`ROLE_POOLER`].
    pub const POD_ROLE: &str = "cnpg.io/podRole";
    /// A PostgreSQL instance.
    pub const ROLE_INSTANCE: &str = "instance";
    /// A pooler.
    pub const ROLE_POOLER: &str = "pooler";
    /// On pods of a pooler: the Pooler.
    pub const POOLER_NAME: &str = "cnpg.io/poolerName";
    /// On a Secret: changes of it are taken over at once.
    pub const RELOAD: &str = "cnpg.io/reload";
    /// On a pod of the operator.
    pub const OPERATOR: (&str, &str) = ("app.kubernetes.io/name", "cloudnative-pg");
}
