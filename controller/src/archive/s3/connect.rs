//! Clients of object stores. Makes them; the credentials of a role are fetched when they are first needed.

use std::time::Duration;

use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, Credentials, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, SharedCredentialsProvider, SharedHttpClient,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use k8s_openapi::ByteString;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};

use crate::archive::{
    error::{ArchiveError, Cause},
    store::{KEY_ACCESS_KEY_ID, KEY_CA, KEY_SECRET_ACCESS_KEY, Store},
};

/// The region of an object store that names none. Stores other than AWS seldom care.
const DEFAULT_REGION: &str = "us-east-1";
/// How long a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How often a request is tried that may succeed when it is tried again.
const TRIES: u32 = 3;

/// What a client depends on, as a digest: credentials are not kept a second time.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity([u8; 32]);

impl Identity {
    pub(super) fn of(store: &Store) -> Self {
        let role = [u8::from(uses_role(store))];
        let fixed = [
            store
                .spec
                .endpoint
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
            store.spec.region.as_deref().unwrap_or_default().as_bytes(),
            &role,
        ];
        let secrets = store.secrets.iter();
        let secrets = secrets.flat_map(|(key, value)| [key.as_bytes(), value.0.as_slice()]);
        let mut digest = Sha256::new();
        for part in fixed.into_iter().chain(secrets) {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

/// A client of an object store.
pub(super) async fn connect(store: &Store, deadline: Duration) -> Result<Client, ArchiveError> {
    let endpoint = store.spec.endpoint.as_deref();
    let authority = store.secrets.get(KEY_CA).map(|pem| pem.0.as_slice());
    let region = Region::new(
        store
            .spec
            .region
            .clone()
            .unwrap_or_else(|| DEFAULT_REGION.to_owned()),
    );
    let http = http_client(endpoint, authority)?;
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .credentials_provider(credentials(store, &region).await?)
        .region(region)
        // Only AWS has a host name for each bucket.
        .force_path_style(endpoint.is_some())
        // Checksums of their own are known to few stores beside AWS.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_DEADLINE.min(deadline))
                .operation_timeout(deadline)
                .build(),
        );
    config.set_endpoint_url(endpoint.map(str::to_owned));
    Ok(Client::from_conf(config.build()))
}

fn uses_role(store: &Store) -> bool {
    store.spec.credentials.inherit_from_iam_role == Some(true)
}

/// The access key; or who hands out that of the role this process runs under: the web identity of its service account,
/// or the metadata service of its node.
async fn credentials(
    store: &Store,
    region: &Region,
) -> Result<SharedCredentialsProvider, ArchiveError> {
    if uses_role(store) {
        let role = aws_config::defaults(BehaviorVersion::latest())
            .region(region.clone())
            // These services are AWS's own, whatever the endpoint of the store.
            .http_client(http_client(None, None)?)
            .load()
            .await;
        return role
            .credentials_provider()
            .ok_or_else(|| ArchiveError::NoCredentials(Cause("no role is configured".to_owned())));
    }
    let text = |key: &str| {
        let value = store
            .secrets
            .get(key)
            .map(|ByteString(value)| value.clone());
        value
            .and_then(|value| String::from_utf8(value).ok())
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                ArchiveError::NoCredentials(Cause(format!("{key} is absent or no text")))
            })
    };
    let (id, key) = (text(KEY_ACCESS_KEY_ID)?, text(KEY_SECRET_ACCESS_KEY)?);
    Ok(SharedCredentialsProvider::new(Credentials::new(
        id, key, None, None, "Secret",
    )))
}

/// A client that trusts one authority; or, without one, those of the system.
fn http_client(
    endpoint: Option<&str>,
    authority: Option<&[u8]>,
) -> Result<SharedHttpClient, ArchiveError> {
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        return Ok(Builder::new().build_http());
    }
    let trust = match authority {
        Some(pem) => {
            check_authority(pem)?;
            TrustStore::empty().with_pem_certificate(pem)
        }
        None => TrustStore::default(),
    };
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| ArchiveError::Authority(Cause(error.to_string())))?;
    Ok(Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

/// The client takes certificates on trust, and panics on anything else.
fn check_authority(pem: &[u8]) -> Result<(), ArchiveError> {
    let invalid = |text: String| ArchiveError::Authority(Cause(text));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| invalid(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(invalid("it holds no certificate".to_owned()));
    }
    Ok(())
}
