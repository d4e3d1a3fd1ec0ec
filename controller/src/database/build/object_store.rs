//! The Barman Cloud ObjectStore and the Secret it reads. Pure.

use std::collections::BTreeMap;

use daap_crds::cnpg::{
    BarmanObjectStore, DataBackup, ObjectStore, ObjectStoreSpec, S3Credentials, SecretKeySelector,
    SidecarConfiguration, WalBackup,
};
use k8s_openapi::{
    api::core::v1::{ResourceRequirements, Secret},
    apimachinery::pkg::api::resource::Quantity,
};

use super::{super::plan::Desired, metadata};
use crate::archive::Store;
pub use crate::archive::store::{
    KEY_ACCESS_KEY_ID, KEY_CA, KEY_REGION, KEY_SECRET_ACCESS_KEY, database_url,
};

/// What the archiving container beside each instance asks for.
const SIDECAR_REQUESTS: [(&str, &str); 2] = [("cpu", "50m"), ("memory", "128Mi")];
/// The memory it may use: it holds parts of uploads, and 128Mi are known to be too few.
const SIDECAR_MEMORY_LIMIT: &str = "768Mi";

/// The credentials, copied to where the instances can read them.
pub(super) fn build_store_secret(desired: &Desired) -> Option<Secret> {
    let store = desired
        .store
        .as_ref()
        .filter(|store| !store.secrets.is_empty())?;
    Some(Secret {
        metadata: metadata(
            &desired.identity,
            desired.identity.name.object_store_secret(),
        ),
        type_: Some("Opaque".to_owned()),
        data: Some(store.secrets.clone()),
        ..Secret::default()
    })
}

/// Where the instances archive to, and for how long, if the tier has a backup.
pub(super) fn build_object_store(desired: &Desired) -> Option<ObjectStore> {
    let backup = desired.template.backup.as_ref()?;
    let store = desired.store.as_ref()?;
    // While another database is restored from these backups, none of them expires.
    let retention = (!desired.keeps_backups).then(|| backup.retention.clone());
    let name = desired.identity.name.object_store();
    Some(build(desired, store, name, store.url.clone(), retention))
}

/// Where the instances restore from, if the database was restored.
pub(super) fn build_source_object_store(desired: &Desired) -> Option<ObjectStore> {
    let from = desired.incarnation.restored_from.as_ref()?;
    let store = desired.store.as_ref()?;
    let name = desired.identity.name.source_object_store();
    Some(build(desired, store, name, from.backup_url.clone(), None))
}

fn build(
    desired: &Desired,
    store: &Store,
    name: String,
    url: String,
    retention: Option<String>,
) -> ObjectStore {
    let secret_name = desired.identity.name.object_store_secret();
    let key = |key: &str| {
        let present = store.secrets.contains_key(key);
        present.then(|| SecretKeySelector {
            name: secret_name.clone(),
            key: key.to_owned(),
        })
    };
    let configuration = BarmanObjectStore {
        destination_path: Some(url),
        endpoint_url: store.spec.endpoint.clone(),
        endpoint_ca: key(KEY_CA),
        s3_credentials: Some(S3Credentials {
            access_key_id: key(KEY_ACCESS_KEY_ID),
            secret_access_key: key(KEY_SECRET_ACCESS_KEY),
            region: key(KEY_REGION),
            inherit_from_iam_role: store.spec.credentials.inherit_from_iam_role,
        }),
        wal: Some(WalBackup {
            compression: Some("gzip".to_owned()),
            max_parallel: Some(2),
        }),
        data: Some(DataBackup {
            compression: Some("gzip".to_owned()),
            immediate_checkpoint: Some(true),
        }),
    };
    let spec = ObjectStoreSpec {
        configuration: Some(configuration),
        retention_policy: retention,
        instance_sidecar_configuration: Some(SidecarConfiguration {
            resources: Some(sidecar_resources()),
        }),
    };
    ObjectStore {
        metadata: metadata(&desired.identity, name),
        spec,
        status: None,
    }
}

fn sidecar_resources() -> ResourceRequirements {
    let quantity = |(name, amount): (&str, &str)| (name.to_owned(), Quantity(amount.to_owned()));
    ResourceRequirements {
        requests: Some(SIDECAR_REQUESTS.map(quantity).into()),
        limits: Some(BTreeMap::from([quantity(("memory", SIDECAR_MEMORY_LIMIT))])),
        claims: None,
    }
}
