//! The CloudNativePG Cluster. Pure.

use std::collections::BTreeMap;

use daap_crds::{
    cnpg::{
        Affinity, BARMAN_PLUGIN, Bootstrap, Certificates, Cluster, ClusterSpec, ExternalCluster,
        ImageCatalogRef, InheritedMetadata, InitDb, LocalObjectReference, Managed, Plugin,
        PluginParameters, PostgresConfiguration, Recovery, RecoveryTarget, Role,
        ServiceAccountMetadata, ServiceAccountTemplate, Storage, Synchronous, annotation,
    },
    label,
    quantity::Bytes,
    tier::{self, Durability},
};

use jiff::SignedDuration;

use super::{
    super::plan::{APPLICATION, Access, Desired, OBSERVER},
    guaranteed, inherited_labels, metadata, pooler_names,
};

/// Before every other line of pg_hba.conf that is not CloudNativePG's own: without it, its last line would accept
/// a password in the clear.
pub const REJECT_PLAINTEXT: &str = "hostnossl all all all reject";

/// While a database is locked, after [`REJECT_PLAINTEXT`]: the observer reaches the database `postgres`, and nobody
/// reaches anything else.
const LOCKOUT: [&str; 2] = [
    "hostssl postgres daap_observer all scram-sha-256",
    "host all all all reject",
];
/// How long a login may take. Who began one before a lockout is in or out after this time.
const AUTHENTICATION_TIMEOUT: &str = "15s";
/// The same, and a little more.
pub const LOGINS_ARE_OVER: SignedDuration = SignedDuration::from_secs(17);
/// What keeps connections free for roles that may have them, since PostgreSQL 16.
const RESERVED_CONNECTIONS: &str = "reserved_connections";
/// How many are kept free: an operation takes one at a time, and so does each restore from this database.
const RESERVED: i32 = 3;
/// The name that a Cluster has for the archive it is restored from.
const SOURCE: &str = "source";

/// The Cluster that holds the data.
pub(super) fn build_cluster(desired: &Desired) -> Cluster {
    let identity = &desired.identity;
    let template = &desired.template;
    let mut metadata = metadata(identity, identity.name.cluster());
    let incarnation = desired.incarnation.server_name.clone();
    metadata
        .labels
        .get_or_insert_default()
        .insert(label::INCARNATION.to_owned(), incarnation);
    metadata.annotations = annotations(desired.access);
    let spec = ClusterSpec {
        instances: Some(template.availability.instances),
        image_name: template.postgres.image.clone(),
        image_catalog_ref: template
            .postgres
            .catalog
            .as_ref()
            .map(|catalog| ImageCatalogRef {
                api_group: "postgresql.cnpg.io".to_owned(),
                kind: "ClusterImageCatalog".to_owned(),
                name: catalog.name.clone(),
                major: template.postgres.major,
            }),
        postgresql: Some(postgresql(&template.postgres, desired)),
        bootstrap: Some(bootstrap(desired)),
        enable_superuser_access: Some(false),
        // A budget of one for one instance would only block the draining of its node.
        enable_pdb: Some(template.availability.instances > 1),
        managed: Some(Managed {
            roles: Some(vec![observer_role(desired)]),
        }),
        resources: Some(guaranteed(template.compute.cpu, template.compute.memory)),
        storage: Some(storage(template.storage.size, template)),
        wal_storage: template
            .storage
            .wal_size
            .map(|size| storage(size, template)),
        affinity: Some(Affinity {
            enable_pod_anti_affinity: Some(true),
            pod_anti_affinity_type: Some("preferred".to_owned()),
            topology_key: Some("kubernetes.io/hostname".to_owned()),
        }),
        certificates: template.pooling.as_ref().map(|_| Certificates {
            server_alt_dns_names: Some(pooler_names(identity)),
        }),
        inherited_metadata: Some(InheritedMetadata {
            labels: Some(inherited_labels(identity)),
        }),
        service_account_template: service_account(desired),
        plugins: template.backup.as_ref().map(|_| vec![archiver(desired)]),
        external_clusters: source(desired).map(|source| vec![source]),
    };
    Cluster {
        metadata,
        spec,
        status: None,
    }
}

fn postgresql(postgres: &tier::Postgres, desired: &Desired) -> PostgresConfiguration {
    PostgresConfiguration {
        parameters: Some(parameters(postgres, desired)),
        pg_hba: Some(host_based_authentication(desired.access)),
        synchronous: desired
            .template
            .availability
            .synchronous
            .as_ref()
            .map(|synchronous| Synchronous {
                method: "any".to_owned(),
                number: synchronous.number,
                data_durability: match synchronous.durability {
                    Durability::Required => "required",
                    Durability::Preferred => "preferred",
                }
                .to_owned(),
            }),
    }
}

fn annotations(access: Access) -> Option<BTreeMap<String, String>> {
    let mut annotations = BTreeMap::new();
    if access >= Access::Asleep {
        annotations.insert(
            annotation::HIBERNATION.to_owned(),
            annotation::ON.to_owned(),
        );
    }
    if access >= Access::Isolated {
        annotations.insert(
            annotation::FENCED_INSTANCES.to_owned(),
            annotation::ALL_INSTANCES.to_owned(),
        );
    }
    (!annotations.is_empty()).then_some(annotations)
}

fn host_based_authentication(access: Access) -> Vec<String> {
    let lockout = (access >= Access::LockedOut).then_some(LOCKOUT);
    [REJECT_PLAINTEXT]
        .into_iter()
        .chain(lockout.into_iter().flatten())
        .map(str::to_owned)
        .collect()
}

/// The tier's settings, and over them those on which a guarantee hangs.
fn parameters(postgres: &tier::Postgres, desired: &Desired) -> BTreeMap<String, String> {
    let mut parameters = postgres.parameters.clone();
    let mut guarantee =
        |name: &str, value: &str| parameters.insert(name.to_owned(), value.to_owned());
    guarantee("password_encryption", "scram-sha-256");
    guarantee("ssl_min_protocol_version", "TLSv1.3");
    guarantee("authentication_timeout", AUTHENTICATION_TIMEOUT);
    // Setting one of these makes CloudNativePG load the library and create the extension. Parameters of statements
    // are not logged, since they may be secrets.
    guarantee("pgaudit.log", "ddl, role");
    guarantee("pgaudit.log_catalog", "off");
    guarantee("pgaudit.log_parameter", "off");
    if let Some(backup) = &desired.template.backup {
        guarantee("archive_timeout", &backup.archive_timeout);
    }
    if let Some(count) = desired.incarnation.reserved_connections {
        guarantee(RESERVED_CONNECTIONS, &count.to_string());
    }
    parameters
}

/// How many connections a new Cluster keeps free for DAAP: none where PostgreSQL cannot, or where there are too few.
pub fn reserved_connections(template: &tier::DaapTierSpec) -> Option<i32> {
    let postgres = &template.postgres;
    let setting = |name: &str, default: i32| {
        let text = postgres.parameters.get(name);
        text.and_then(|text| text.trim().parse().ok())
            .unwrap_or(default)
    };
    // With more kept than there are, PostgreSQL does not start.
    let others = setting("max_connections", 100) - setting("superuser_reserved_connections", 3);
    (postgres.major >= 16 && others > 2 * RESERVED).then_some(RESERVED)
}

/// How many connections an existing Cluster keeps free for DAAP.
pub fn kept_connections(cluster: &Cluster) -> Option<i32> {
    let parameters = cluster.spec.postgresql.as_ref()?.parameters.as_ref()?;
    parameters.get(RESERVED_CONNECTIONS)?.parse().ok()
}

fn bootstrap(desired: &Desired) -> Bootstrap {
    let application_secret = LocalObjectReference {
        name: desired.identity.name.application_secret(),
    };
    if let Some(from) = &desired.incarnation.restored_from {
        return Bootstrap {
            initdb: None,
            recovery: Some(Recovery {
                source: SOURCE.to_owned(),
                database: APPLICATION.to_owned(),
                owner: APPLICATION.to_owned(),
                secret: Some(application_secret),
                recovery_target: from.target_time.as_ref().map(|time| RecoveryTarget {
                    target_time: Some(format!("{:.6}", time.0)),
                }),
            }),
        };
    }
    Bootstrap {
        recovery: None,
        initdb: Some(InitDb {
            database: APPLICATION.to_owned(),
            owner: APPLICATION.to_owned(),
            secret: Some(application_secret),
            data_checksums: Some(true),
            // The grant is made here, in the database 'postgres', because a managed role cannot have it.
            post_init_sql: Some(vec![
                format!("CREATE ROLE {OBSERVER} NOLOGIN"),
                format!("GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO {OBSERVER}"),
            ]),
        }),
    }
}

/// The archive that the data comes from.
fn source(desired: &Desired) -> Option<ExternalCluster> {
    let from = desired.incarnation.restored_from.as_ref()?;
    Some(ExternalCluster {
        name: SOURCE.to_owned(),
        plugin: Some(Plugin {
            name: BARMAN_PLUGIN.to_owned(),
            enabled: None,
            is_wal_archiver: None,
            parameters: Some(PluginParameters {
                barman_object_name: Some(desired.identity.name.source_object_store()),
                // By default it would be the new Cluster's own name.
                server_name: Some(from.server_name.clone()),
            }),
        }),
    })
}

/// The service account of the instances, where their role in the object store hangs on it.
fn service_account(desired: &Desired) -> Option<ServiceAccountTemplate> {
    let credentials = &desired.store.as_ref()?.spec.credentials;
    let annotations = credentials.service_account_annotations.clone()?;
    Some(ServiceAccountTemplate {
        metadata: ServiceAccountMetadata {
            annotations: Some(annotations),
        },
    })
}

/// The role sees statistics, ends sessions and closes segments of write-ahead log; it reads no data.
fn observer_role(desired: &Desired) -> Role {
    let reserved = desired.incarnation.reserved_connections.is_some();
    Role {
        name: OBSERVER.to_owned(),
        ensure: Some("present".to_owned()),
        login: Some(true),
        in_roles: Some(
            ["pg_monitor", "pg_signal_backend"]
                .into_iter()
                .chain(reserved.then_some("pg_use_reserved_connections"))
                .map(str::to_owned)
                .collect(),
        ),
        connection_limit: None,
        password_secret: Some(LocalObjectReference {
            name: desired.identity.name.observer_secret(),
        }),
    }
}

fn storage(size: Bytes, template: &tier::DaapTierSpec) -> Storage {
    Storage {
        size: Some(size.to_string()),
        storage_class: template.storage.class.clone(),
    }
}

/// The plugin that archives. Under a server name of its own, never used twice, so that no incarnation can meet
/// another's write-ahead log.
fn archiver(desired: &Desired) -> Plugin {
    Plugin {
        name: BARMAN_PLUGIN.to_owned(),
        enabled: Some(true),
        is_wal_archiver: Some(true),
        parameters: Some(PluginParameters {
            barman_object_name: Some(desired.identity.name.object_store()),
            server_name: Some(desired.incarnation.server_name.clone()),
        }),
    }
}
