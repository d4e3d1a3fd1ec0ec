//! Every path and type that the controller emits exists in the CRDs of the pinned CloudNativePG and Barman plugin.

use std::collections::BTreeMap;

use daap_controller::{
    database::{
        build::{Objects, build, build_backup, database_url},
        plan::{Access, Desired, Identity, Password, Store},
    },
    settings::Settings,
};
use daap_crds::{
    database::{Incarnation, RestoredFrom},
    name::{DatabaseName, TeamName},
    validation::Structure,
};
use daap_tests::cluster::{
    artifacts::{self, Manifest},
    manifest,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Serialize;
use serde_json::json;

/// The structures of the pinned CRDs, by kind.
fn structures() -> BTreeMap<String, Structure> {
    [Manifest::Cnpg, Manifest::BarmanPlugin]
        .into_iter()
        .flat_map(|upstream| manifest::read(&artifacts::manifest(upstream).unwrap()).unwrap())
        .filter(|object| manifest::kind(object) == "CustomResourceDefinition")
        .map(|definition| {
            let spec = &definition.data["spec"];
            let kind = spec["names"]["kind"].as_str().unwrap();
            let schema = spec["versions"][0]["schema"]["openAPIV3Schema"].clone();
            (kind.to_owned(), Structure::new(kind, schema).unwrap())
        })
        .collect()
}

/// A database of a tier with everything that a tier can have.
fn everything() -> Desired {
    let identity = Identity {
        name: DatabaseName::parse("orders").unwrap(),
        namespace: "daap-team-shop".to_owned(),
        uid: "11111111-0000-4000-8000-000000000000".to_owned(),
        team: TeamName::parse("shop").unwrap(),
        tier: "gold".to_owned(),
    };
    let template = json!({
        "description": "Everything",
        "postgres": {"major": 17, "image": "registry.example/postgresql:17.6", "parameters": {"work_mem": "8MB"}},
        "compute": {"cpu": "1500m", "memory": "2Gi"},
        "storage": {"size": "20Gi", "class": "fast", "walSize": "5Gi"},
        "availability": {"instances": 3, "synchronous": {"number": 1, "durability": "Preferred"}},
        "backup": {"schedule": "0 3 * * *", "retention": "30d", "objectStore": "vault", "archiveTimeout": "2min"},
        "pooling": {"mode": "Transaction", "maxClientConnections": 400, "defaultPoolSize": 25, "instances": 2},
        "destruction": {"strategy": "Archive", "archiveRetention": "12w"},
    });
    let store = json!({
        "url": "s3://backups/tenants", "endpoint": "https://s3.storage.example:7070", "region": "eu-north-1",
        "credentials": {"secret": {"name": "vault-key"}}, "ca": {"name": "vault-ca", "key": "bundle"},
    });
    let url = database_url("s3://backups/tenants", &identity.namespace, &identity.uid);
    Desired {
        incarnation: Incarnation {
            server_name: "22222222-0000-4000-8000-000000000000".to_owned(),
            revision: "gold-0123456789".to_owned(),
            postgres_major: 17,
            backup_url: Some(url.clone()),
            cluster_uid: Some("44444444-0000-4000-8000-000000000000".to_owned()),
            fence: None,
            restored_from: None,
            reserved_connections: None,
        },
        identity,
        template: serde_json::from_value(template).unwrap(),
        application_password: Password::new("one".to_owned()),
        observer_password: Password::new("two".to_owned()),
        certificate_authority: None,
        store: Some(Store {
            spec: serde_json::from_value(store).unwrap(),
            url,
            secrets: BTreeMap::new(),
        }),
        access: Access::Open,
        keeps_backups: false,
    }
}

/// A database that was restored, and then locked and put to sleep.
fn restored_and_asleep() -> Desired {
    let mut desired = everything();
    desired.incarnation.restored_from = Some(RestoredFrom {
        backup_url: "s3://backups/tenants/daap-team-shop/66666666-0000-4000-8000-000000000000/"
            .to_owned(),
        server_name: "77777777-0000-4000-8000-000000000000".to_owned(),
        target_time: Some(MicroTime("2026-11-24T12:00:00.123456Z".parse().unwrap())),
    });
    desired.access = Access::Isolated;
    desired.keeps_backups = true;
    desired
}

/// A database of a tier whose image comes from a catalogue: the one thing that excludes another.
fn from_a_catalogue() -> Desired {
    let mut desired = everything();
    desired.template.postgres.image = None;
    desired.template.postgres.catalog =
        Some(serde_json::from_value(json!({"name": "blessed"})).unwrap());
    desired
}

fn assert_conforms(structures: &BTreeMap<String, Structure>, kind: &str, object: &impl Serialize) {
    let object = serde_json::to_value(object).unwrap();
    assert_eq!(object["kind"], kind);
    let found = structures[kind].violations(&object);
    assert!(found.is_empty(), "{kind}: {found:#?}");
}

#[test]
fn what_is_emitted_fits_the_pinned_crds() {
    let structures = structures();
    for desired in [everything(), from_a_catalogue(), restored_and_asleep()] {
        let Objects {
            object_store,
            source_store,
            cluster,
            pooler,
            scheduled_backup,
            ..
        } = build(&desired, &Settings::from_defaults().unwrap()).unwrap();
        assert_conforms(&structures, "Cluster", &cluster);
        assert_conforms(&structures, "Pooler", &pooler.unwrap());
        assert_conforms(&structures, "ObjectStore", &object_store.unwrap());
        assert_conforms(&structures, "ScheduledBackup", &scheduled_backup.unwrap());
        if let Some(source_store) = source_store {
            assert_conforms(&structures, "ObjectStore", &source_store);
        }
        let backup = build_backup(&desired.identity, "orders-last-1".to_owned());
        assert_conforms(&structures, "Backup", &backup);
    }
}

/// The check itself can fail: a field that CloudNativePG never had is found.
#[test]
fn an_invented_field_is_found() {
    let object =
        json!({"metadata": {}, "spec": {"instances": 1, "replicas": 3, "storage": {"size": 5}}});
    let found = structures()["Cluster"].violations(&object);
    assert_eq!(found.len(), 2, "{found:?}");
}
