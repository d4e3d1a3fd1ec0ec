//! The archives of the controller against a real S3 server.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::{Client, primitives::ByteStream};
use daap_controller::archive::{
    S3, Store,
    store::{KEY_ACCESS_KEY_ID, KEY_CA, KEY_SECRET_ACCESS_KEY, database_url},
};
use daap_crds::{
    DaapObjectStoreSpec,
    object_store::{Credentials, CredentialsSecret},
};
use daap_tests::s3_server::{BUCKET, S3Server, interrupt_upload};
use futures::{StreamExt as _, stream};
use k8s_openapi::ByteString;

use crate::world::SOON;

mod connection;
mod purge;
mod reading;
mod role;

/// The uid of the database that the tests are about.
const UID: &str = "9d8e872d-657c-4380-8b5e-3c6d73c165b8";
/// The prefix of its backups.
const PREFIX: &str = "daap/shop/9d8e872d-657c-4380-8b5e-3c6d73c165b8/";
/// The server name of its incarnation.
const SERVER: &str = "0b0f7a0e-7f0b-4c85-9f0a-4f6b58e6f0c1";

fn archives() -> S3 {
    S3::new(SOON)
}

/// The store of the database, as the controller has it.
fn store(server: &S3Server) -> Store {
    let secret = CredentialsSecret {
        name: "keys".to_owned(),
        access_key_id_key: "accessKeyId".to_owned(),
        secret_access_key_key: "secretAccessKey".to_owned(),
    };
    let spec = DaapObjectStoreSpec {
        url: format!("s3://{BUCKET}/daap"),
        endpoint: Some(server.endpoint.clone()),
        region: None,
        credentials: Credentials {
            secret: Some(secret),
            inherit_from_iam_role: None,
            service_account_annotations: None,
        },
        ca: None,
    };
    let mut secrets = BTreeMap::from([
        (KEY_ACCESS_KEY_ID.to_owned(), bytes(&server.access_key)),
        (KEY_SECRET_ACCESS_KEY.to_owned(), bytes(&server.secret_key)),
    ]);
    if let Some(authority) = &server.authority {
        secrets.insert(KEY_CA.to_owned(), bytes(authority));
    }
    Store {
        url: database_url(&spec.url, "shop", UID),
        ..Store::new(spec, secrets)
    }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

async fn put(client: &Client, key: &str, content: impl Into<Vec<u8>>) {
    let body = ByteStream::from(content.into());
    let put = client.put_object().bucket(BUCKET).key(key).body(body);
    put.send().await.unwrap();
}

/// Puts many objects, a few at once.
async fn put_all(client: &Client, keys: impl IntoIterator<Item = String>) {
    stream::iter(keys)
        .for_each_concurrent(
            16,
            |key| async move { put(client, &key, key.as_bytes()).await },
        )
        .await;
}

async fn begin_upload(client: &Client, key: &str) -> String {
    interrupt_upload(client, BUCKET, key).await.unwrap()
}

/// Everything in the bucket outside of a prefix, and the names of what is below it.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    /// Every version of every other object, byte by byte. A deletion marker has no bytes.
    others: BTreeMap<(String, String), Option<Vec<u8>>>,
    /// Unfinished uploads of others.
    other_uploads: BTreeSet<(String, String)>,
    /// How many versions, markers and uploads are below the prefix.
    ours: usize,
}

async fn contents(client: &Client) -> Contents {
    let mut contents = Contents {
        others: BTreeMap::new(),
        other_uploads: BTreeSet::new(),
        ours: 0,
    };
    // The server begins a page with the last entry of the one before.
    let mut versions = BTreeSet::new();
    let (mut key, mut version) = (None, None);
    loop {
        let list = client.list_object_versions().bucket(BUCKET);
        let page = list
            .set_key_marker(key)
            .set_version_id_marker(version)
            .send()
            .await
            .unwrap();
        for object in page.versions() {
            versions.insert((object.key.clone().unwrap(), object.version_id.clone(), true));
        }
        for marker in page.delete_markers() {
            versions.insert((
                marker.key.clone().unwrap(),
                marker.version_id.clone(),
                false,
            ));
        }
        if page.is_truncated != Some(true) {
            break;
        }
        (key, version) = (page.next_key_marker, page.next_version_id_marker);
    }
    for (key, version, is_object) in versions {
        if key.starts_with(PREFIX) {
            contents.ours += 1;
            continue;
        }
        let content = if is_object {
            Some(read(client, &key, version.clone()).await)
        } else {
            None
        };
        contents
            .others
            .insert((key, version.unwrap_or_default()), content);
    }
    let uploads = client
        .list_multipart_uploads()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    for upload in uploads.uploads() {
        let (key, id) = (
            upload.key.clone().unwrap(),
            upload.upload_id.clone().unwrap(),
        );
        if key.starts_with(PREFIX) {
            contents.ours += 1;
        } else {
            contents.other_uploads.insert((key, id));
        }
    }
    contents
}

async fn read(client: &Client, key: &str, version: Option<String>) -> Vec<u8> {
    let get = client
        .get_object()
        .bucket(BUCKET)
        .key(key)
        .set_version_id(version);
    let object = get.send().await.unwrap();
    object.body.collect().await.unwrap().to_vec()
}
