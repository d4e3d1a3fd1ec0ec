//! An object store, and what is one database's in it. Pure.

use std::{collections::BTreeMap, fmt};

use daap_crds::DaapObjectStoreSpec;
use k8s_openapi::ByteString;
use uuid::Uuid;

use super::error::ArchiveError;

/// The key of the access key's id in the copied Secret.
pub const KEY_ACCESS_KEY_ID: &str = "ACCESS_KEY_ID";
/// The key of the secret access key in the copied Secret.
pub const KEY_SECRET_ACCESS_KEY: &str = "SECRET_ACCESS_KEY";
/// The key of the region in the copied Secret.
pub const KEY_REGION: &str = "REGION";
/// The key of the private certificate authority in the copied Secret.
pub const KEY_CA: &str = "ca.crt";

/// What begins the name of objects that only try a store out. No namespace has a name with a dot.
const PROBES: &str = ".daap-probe";

/// Where backups go.
#[derive(Clone)]
pub struct Store {
    /// The object store.
    pub spec: DaapObjectStoreSpec,
    /// Where this database's backups are, up to and without the server name.
    pub url: String,
    /// The contents of the Secrets the object store names, by the keys of the copy.
    pub secrets: BTreeMap<String, ByteString>,
}

/// What is printed of a store has no secrets in it.
impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Store({})", self.url)
    }
}

/// A bucket, and the beginning that keys in it share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// The beginning of the keys. It ends with a slash, so that it is never the beginning of a neighbour's.
    pub prefix: String,
}

/// Where a database's backups are, up to and without the server name.
///
/// Below it is nothing else, and it ends with a slash, so that it is never the beginning of a neighbour's.
pub fn database_url(store_url: &str, namespace: &str, uid: &str) -> String {
    format!("{}/{namespace}/{uid}/", store_url.trim_end_matches('/'))
}

impl Store {
    /// An object store itself, without any database.
    pub fn new(spec: DaapObjectStoreSpec, secrets: BTreeMap<String, ByteString>) -> Self {
        Self {
            url: spec.url.clone(),
            spec,
            secrets,
        }
    }

    /// Where the backups of one database are: `<object store>/<namespace>/<uid>/`.
    ///
    /// # Errors
    /// When the URL is anything else. Nothing is read there, and above all nothing deleted.
    pub fn database(&self) -> Result<Location, ArchiveError> {
        let parts = self
            .url
            .strip_prefix(self.spec.url.trim_end_matches('/'))
            .and_then(|rest| rest.strip_prefix('/'))
            .map(|rest| rest.split('/').collect::<Vec<_>>());
        match parts.as_deref() {
            Some([namespace, uid, ""]) if !namespace.is_empty() && is_uid(uid) => {
                location(&self.url)
            }
            _ => Err(ArchiveError::NotOneDatabase(self.url.clone())),
        }
    }

    /// Where one incarnation of the database archives to.
    ///
    /// # Errors
    /// As [`Store::database`], and when the name would lead elsewhere.
    pub fn server(&self, server_name: &str) -> Result<Location, ArchiveError> {
        let Location { bucket, prefix } = self.database()?;
        let is_name = !server_name.is_empty()
            && server_name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !is_name {
            return Err(ArchiveError::ServerName(server_name.to_owned()));
        }
        Ok(Location {
            bucket,
            prefix: format!("{prefix}{server_name}/"),
        })
    }

    /// Where objects are put that only try the store out.
    ///
    /// # Errors
    /// When the URL of the object store is none, which its CRD excludes.
    pub fn probes(&self) -> Result<Location, ArchiveError> {
        location(&format!(
            "{}/{PROBES}/",
            self.spec.url.trim_end_matches('/')
        ))
    }

    /// The port of the endpoint, if its URL names one or its scheme implies it.
    pub fn endpoint_port(&self) -> u16 {
        let Some(endpoint) = &self.spec.endpoint else {
            return 443;
        };
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let port = rest
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        port.unwrap_or(if scheme == "http" { 80 } else { 443 })
    }
}

/// Whether a text is the uid of an object: a UUID as Kubernetes writes it.
fn is_uid(text: &str) -> bool {
    Uuid::try_parse(text).is_ok_and(|uuid| uuid.hyphenated().to_string() == text)
}

fn location(url: &str) -> Result<Location, ArchiveError> {
    let path = url.strip_prefix("s3://");
    match path.and_then(|path| path.split_once('/')) {
        Some((bucket, prefix)) if !bucket.is_empty() => Ok(Location {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }),
        _ => Err(ArchiveError::NotOneDatabase(url.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use daap_crds::object_store::Credentials;

    use super::*;

    const UID: &str = "9d8e872d-657c-4380-8b5e-3c6d73c165b8";

    fn store(url: &str) -> Store {
        let spec = DaapObjectStoreSpec {
            url: "s3://backups/databases".to_owned(),
            endpoint: None,
            region: None,
            credentials: Credentials {
                secret: None,
                inherit_from_iam_role: Some(true),
                service_account_annotations: None,
            },
            ca: None,
        };
        Store {
            url: url.to_owned(),
            ..Store::new(spec, BTreeMap::new())
        }
    }

    #[test]
    fn the_prefix_of_one_database() {
        let url = database_url("s3://backups/databases", "shop", UID);
        let location = store(&url).database().unwrap();
        assert_eq!(location.bucket, "backups");
        assert_eq!(location.prefix, format!("databases/shop/{UID}/"));
        let server = store(&url).server("7f6f").unwrap();
        assert_eq!(server.prefix, format!("databases/shop/{UID}/7f6f/"));
        for name in ["", "..", ".", "a/b", "a b"] {
            assert!(store(&url).server(name).is_err(), "{name}");
        }
    }

    #[test]
    fn every_other_prefix_is_refused() {
        let wrong = [
            "s3://backups/databases".to_owned(),
            "s3://backups/databases/".to_owned(),
            "s3://backups/databases/shop/".to_owned(),
            "s3://backups/databases/shop//".to_owned(),
            "s3://backups/databases/shop/orders/".to_owned(),
            format!("s3://backups/databases/shop/{UID}"),
            format!("s3://backups/databases/shop/{UID}//"),
            format!("s3://backups/databases/shop/{UID}/7f6f/"),
            format!("s3://backups/databases//{UID}/"),
            format!("s3://backups/databases/{UID}/"),
            format!("s3://backups/databases/shop/{}/", &UID[..35]),
            format!("s3://backups/databases/shop/{}/", UID.to_uppercase()),
            format!("s3://backups/databases/shop/{}/", UID.replace('-', "")),
            // Of another object store.
            format!("s3://backups/shop/{UID}/"),
            format!("s3://elsewhere/databases/shop/{UID}/"),
            format!("s3://backups/databases-old/shop/{UID}/"),
            String::new(),
        ];
        for url in wrong {
            let error = store(&url).database().unwrap_err();
            assert!(matches!(error, ArchiveError::NotOneDatabase(_)), "{url}");
        }
    }

    #[test]
    fn probes_are_no_databases() {
        let location = store("").probes().unwrap();
        assert_eq!(location.prefix, "databases/.daap-probe/");
        assert!(!format!("{:?}", store("s3://b/")).contains("secret"));
    }
}
