//! The Secrets that an object store names. Reads the cluster, live.
//!
//! In: the spec of a DaapObjectStore. Out: the contents by the keys of the copy that instances get.

use std::collections::BTreeMap;

use daap_crds::DaapObjectStoreSpec;
use k8s_openapi::{ByteString, api::core::v1::Secret};

use crate::{
    archive::store::{KEY_ACCESS_KEY_ID, KEY_CA, KEY_REGION, KEY_SECRET_ACCESS_KEY},
    k8s::{
        client::{Lookup, Reader},
        error::CallError,
    },
};

/// The contents of the Secrets, by the keys of the copy; or what is missing, in words.
///
/// # Errors
/// When the API server does not answer.
pub async fn read(
    reader: &Reader,
    system_namespace: &str,
    spec: &DaapObjectStoreSpec,
) -> Result<Result<BTreeMap<String, ByteString>, String>, CallError> {
    let mut wanted = Vec::new();
    if let Some(secret) = &spec.credentials.secret {
        wanted.push((KEY_ACCESS_KEY_ID, &secret.name, &secret.access_key_id_key));
        wanted.push((
            KEY_SECRET_ACCESS_KEY,
            &secret.name,
            &secret.secret_access_key_key,
        ));
    }
    if let Some(ca) = &spec.ca {
        wanted.push((KEY_CA, &ca.name, &ca.key));
    }
    let mut contents = BTreeMap::new();
    for (copy, name, key) in wanted {
        let Lookup::Found(secret) = reader.get_in::<Secret>(system_namespace, name).await? else {
            return Ok(Err(format!(
                "the Secret '{name}', which does not exist in the namespace '{system_namespace}'"
            )));
        };
        let Some(value) = secret.data.as_ref().and_then(|data| data.get(key)) else {
            return Ok(Err(format!(
                "the key '{key}', which the Secret '{name}' does not have"
            )));
        };
        contents.insert(copy.to_owned(), value.clone());
    }
    if let Some(region) = &spec.region {
        contents.insert(
            KEY_REGION.to_owned(),
            ByteString(region.clone().into_bytes()),
        );
    }
    Ok(Ok(contents))
}
