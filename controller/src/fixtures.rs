//! Objects for unit tests. Each name is used once, so that swapped arguments show.

use daap_crds::{
    DaapDatabase, DaapObjectStore, DaapTier, DaapTierRevision, DaapTierSpec,
    cnpg::Cluster,
    database::Incarnation,
    name::{DatabaseName, TeamName},
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde::de::DeserializeOwned;

use crate::{
    database::{
        build,
        decide::Chance,
        observe::{ArchiveLook, Children, Observed, SourceLookup, StoreLookup, Symptoms},
        plan::{Access, Desired, Identity, Password, Store},
    },
    k8s::client::Lookup,
    settings::Settings,
};

pub fn from_yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_yaml::from_str(text).expect("a fixture is YAML of its type")
}

/// A number of seconds after the beginning of the tests' time.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("a fixture's time is a time")
}

pub fn settings() -> Settings {
    Settings::from_defaults().expect("the default settings are valid")
}

/// A tier with everything that a tier can have.
pub fn tier_spec() -> DaapTierSpec {
    from_yaml(
        r"
        description: Everything
        postgres:
          major: 17
          image: registry.example/postgresql:17.6-standard
          parameters: {shared_buffers: 512MB, max_connections: '150'}
          extensions: [vector]
        compute: {cpu: 1500m, memory: 2Gi}
        storage: {size: 20Gi, class: fast, walSize: 5Gi}
        availability:
          instances: 3
          synchronous: {number: 1, durability: Preferred}
        backup: {schedule: '0 3 * * *', retention: 30d, objectStore: vault, archiveTimeout: 2min}
        pooling:
          mode: Transaction
          maxClientConnections: 400
          defaultPoolSize: 25
          instances: 2
          compute: {cpu: 200m, memory: 96Mi}
        destruction: {strategy: Archive, archiveRetention: 12w}
        ",
    )
}

/// A tier with nothing that a tier need not have.
pub fn plain_tier_spec() -> DaapTierSpec {
    from_yaml(
        r"
        description: The least
        postgres: {major: 16, catalog: {name: blessed}}
        compute: {cpu: '1', memory: 1Gi}
        storage: {size: 3Gi}
        destruction: {strategy: Hard}
        ",
    )
}

pub fn object_store() -> DaapObjectStore {
    from_yaml(
        r"
        metadata: {name: vault}
        spec:
          url: s3://backups/tenants
          endpoint: http://s3.storage.example:7070
          region: eu-north-1
          credentials: {secret: {name: vault-key, accessKeyIdKey: id, secretAccessKeyKey: key}}
          ca: {name: vault-ca, key: bundle}
        status:
          conditions:
            - {type: Accepted, status: 'True', reason: Accepted, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}
            - {type: Reachable, status: 'True', reason: Reachable, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}
        ",
    )
}

pub fn tier() -> DaapTier {
    let mut tier = DaapTier::new("gold", tier_spec());
    tier.metadata.uid = Some("33333333-0000-4000-8000-000000000000".into());
    tier.metadata.generation = Some(4);
    tier
}

pub fn revision(spec: DaapTierSpec) -> DaapTierRevision {
    let name = "gold-0123456789";
    DaapTierRevision::new(
        name,
        daap_crds::DaapTierRevisionSpec {
            tier: "gold".into(),
            template: spec,
        },
    )
}

pub const UID: &str = "11111111-0000-4000-8000-000000000000";
pub const SERVER_NAME: &str = "22222222-0000-4000-8000-000000000000";
pub const CLUSTER_UID: &str = "44444444-0000-4000-8000-000000000000";

pub fn identity() -> Identity {
    Identity {
        name: DatabaseName::parse("orders").expect("a name"),
        namespace: "shop-prod".into(),
        uid: UID.into(),
        team: TeamName::parse("checkout").expect("a name"),
        tier: "gold".into(),
    }
}

pub fn incarnation() -> Incarnation {
    Incarnation {
        server_name: SERVER_NAME.into(),
        revision: "gold-0123456789".into(),
        postgres_major: 17,
        backup_url: Some(build::database_url(
            "s3://backups/tenants",
            "shop-prod",
            UID,
        )),
        cluster_uid: Some(CLUSTER_UID.into()),
        fence: None,
        restored_from: None,
        reserved_connections: Some(3),
    }
}

pub fn store() -> Store {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    Store {
        spec: object_store().spec,
        url: build::database_url("s3://backups/tenants", "shop-prod", UID),
        secrets: [
            (build::KEY_ACCESS_KEY_ID.into(), bytes("the-access-key-id")),
            (
                build::KEY_SECRET_ACCESS_KEY.into(),
                bytes("the-secret-access-key"),
            ),
            (build::KEY_REGION.into(), bytes("eu-north-1")),
            (build::KEY_CA.into(), bytes("the-store-ca")),
        ]
        .into(),
    }
}

pub fn desired(template: DaapTierSpec) -> Desired {
    let store = template.backup.is_some().then(store);
    Desired {
        identity: identity(),
        template,
        incarnation: incarnation(),
        application_password: Password::new("application-password".into()),
        observer_password: Password::new("observer-password".into()),
        certificate_authority: Some(ByteString(b"the-cluster-ca".to_vec())),
        store,
        access: Access::Open,
        keeps_backups: false,
    }
}

pub fn chance() -> Chance {
    Chance {
        server_name: "55555555-0000-4000-8000-000000000000".into(),
        application_password: Password::new("drawn-application-password".into()),
        observer_password: Password::new("drawn-observer-password".into()),
    }
}

pub fn database() -> DaapDatabase {
    from_yaml(&format!(
        r"
        metadata:
          name: orders
          namespace: shop-prod
          uid: {UID}
          generation: 2
          resourceVersion: '77'
          finalizers: [daap.dev/database]
        spec: {{tier: gold, ownerTeam: checkout, tierRevision: gold-0123456789}}
        "
    ))
}

/// A database that is bound, and has nothing yet.
pub fn observed(template: DaapTierSpec) -> Observed {
    let store = if template.backup.is_some() {
        StoreLookup::Available(Box::new(store()))
    } else {
        StoreLookup::NotNeeded
    };
    Observed {
        database: database(),
        identity: identity(),
        namespace: Some(from_yaml("metadata: {name: shop-prod}")),
        tier: Lookup::Absent,
        revision: Lookup::Found(revision(template)),
        store,
        store_trouble: None,
        children: Children::default(),
        symptoms: Symptoms::default(),
        archive: ArchiveLook::default(),
        source: SourceLookup::NotNeeded,
        readers: Vec::new(),
    }
}

/// A database whose children exist as desired, and whose Cluster and pooler are well.
pub fn settled(template: DaapTierSpec) -> Observed {
    let mut observed = observed(template.clone());
    let objects =
        build::build(&desired(template.clone()), &settings()).expect("the fixture can be built");
    let mut cluster = objects.cluster;
    cluster.metadata.uid = Some(CLUSTER_UID.into());
    cluster.status = Some(from_yaml(&format!(
        "
        phase: Cluster in healthy state
        readyInstances: {}
        currentPrimary: orders-1
        targetPrimary: orders-1
        certificates: {{serverAltDNSNames: {:?}}}
        ",
        template.availability.instances,
        build::pooler_names(&identity()),
    )));
    let found = |secret: Option<Secret>| secret.map_or(Lookup::Absent, Lookup::Found);
    let mut status = daap_crds::DaapDatabaseStatus::default();
    status.incarnations.push(incarnation());
    observed.database.status = Some(status);
    observed.children = Children {
        default_deny: Lookup::Found(objects.default_deny),
        instance_policy: Lookup::Found(objects.instance_policy),
        pooler_policy: objects.pooler_policy.map_or(Lookup::Absent, Lookup::Found),
        application_secret: Lookup::Found(objects.application_secret),
        observer_secret: Lookup::Found(objects.observer_secret),
        connection_secret: found(objects.connection_secret),
        ca_secret: Lookup::Found(from_yaml("data: {ca.crt: dGhlLWNsdXN0ZXItY2E=}")),
        store_secret: found(objects.store_secret),
        object_store: objects.object_store.map_or(Lookup::Absent, Lookup::Found),
        source_store: Lookup::Absent,
        cluster: Lookup::Found(cluster),
        pooler: objects.pooler.map_or(Lookup::Absent, Lookup::Found),
        pooler_deployment: Lookup::Found(from_yaml("status: {readyReplicas: 1}")),
        scheduled_backup: objects
            .scheduled_backup
            .map_or(Lookup::Absent, Lookup::Found),
        backups: Vec::new(),
        requested_backup: Lookup::Absent,
    };
    observed
}

/// Changes the Cluster of a database.
pub fn with_cluster(mut observed: Observed, change: impl FnOnce(&mut Cluster)) -> Observed {
    if let Lookup::Found(cluster) = &mut observed.children.cluster {
        change(cluster);
    }
    observed
}
