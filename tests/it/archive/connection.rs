//! Reaching an object store: what is told when that fails, and that no credentials are in it.

use std::{
    error::Error as _,
    time::{Duration, Instant},
};

use daap_controller::archive::{
    ArchiveError, Archives as _, S3, Store,
    store::{KEY_ACCESS_KEY_ID, KEY_CA, KEY_SECRET_ACCESS_KEY},
};
use daap_tests::{
    cluster::certificates::Authority,
    s3_server::{BUCKET, S3Server},
};

use super::{archives, bytes, contents, store};

/// The code of what a probe failed with. Its texts hold none of the credentials.
async fn failure(store: &Store) -> &'static str {
    let error = archives().probe(store).await.unwrap_err();
    let texts = format!("{error} {error:?} {:?}", error.source());
    for key in [KEY_ACCESS_KEY_ID, KEY_SECRET_ACCESS_KEY] {
        let secret = store
            .secrets
            .get(key)
            .map(|value| String::from_utf8_lossy(&value.0).into_owned());
        let told = secret.is_some_and(|secret| !secret.is_empty() && texts.contains(&secret));
        assert!(!told, "the {key} is in: {texts}");
    }
    error.reason()
}

fn with(store: Store, key: &str, value: &str) -> Store {
    let mut store = store;
    store.secrets.insert(key.to_owned(), bytes(value));
    store
}

#[tokio::test]
async fn a_probe_tries_the_store_and_leaves_nothing() {
    let server = S3Server::start("probe").await.unwrap();
    archives().probe(&store(&server)).await.unwrap();
    assert!(contents(&server.client()).await.others.is_empty());
    server.keep_versions().await.unwrap();
    archives().probe(&store(&server)).await.unwrap();
    assert!(
        contents(&server.client()).await.others.is_empty(),
        "versions of a probe"
    );
}

#[tokio::test]
async fn a_probe_tells_what_is_wrong() {
    let mut server = S3Server::start("wrong").await.unwrap();
    let right = store(&server);
    let case = with(right.clone(), KEY_ACCESS_KEY_ID, "AKIAUNKNOWNKEY");
    assert_eq!(failure(&case).await, "CredentialsRefused");
    let case = with(right.clone(), KEY_SECRET_ACCESS_KEY, "another-secret-key");
    assert_eq!(failure(&case).await, "CredentialsRefused");
    let case = with(right.clone(), KEY_SECRET_ACCESS_KEY, "");
    assert_eq!(failure(&case).await, "NoCredentials");
    let mut case = right.clone();
    case.spec.url = "s3://no-such-bucket/daap".to_owned();
    assert_eq!(failure(&case).await, "NoBucket");
    // After all that the same client still works: a failure is not remembered.
    let archives = archives();
    archives.probe(&right).await.unwrap();
    server.stop();
    assert_eq!(failure(&right).await, "NoAnswer");
    server.resume().await.unwrap();
    archives.probe(&right).await.unwrap();
}

#[tokio::test]
async fn a_store_that_hangs_fails_within_its_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = S3Server::start("hangs").await.unwrap();
    let mut hanging = store(&server);
    hanging.spec.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let begin = Instant::now();
    let error = S3::new(Duration::from_secs(1))
        .probe(&hanging)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "NoAnswer");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_private_authority_is_trusted_and_no_other() {
    let server = S3Server::start_with_tls("tls").await.unwrap();
    let right = store(&server);
    archives().probe(&right).await.unwrap();
    let another = Authority::new("another authority").unwrap();
    let case = with(right.clone(), KEY_CA, another.certificate());
    assert_eq!(failure(&case).await, "CertificateNotTrusted");
    for text in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let case = with(right.clone(), KEY_CA, text);
        assert_eq!(
            failure(&case).await,
            "InvalidCertificateAuthority",
            "{text:?}"
        );
    }
    // The name that it is reached by has to be the certificate's too.
    let mut case = right.clone();
    case.spec.endpoint = Some(server.endpoint.replace("127.0.0.1", "localhost"));
    assert_eq!(failure(&case).await, "CertificateNotTrusted");
}

#[tokio::test]
async fn what_no_one_asked_for_is_refused_by_its_name() {
    let server = S3Server::start("names").await.unwrap();
    let mut wrong = store(&server);
    wrong.url = format!("s3://{BUCKET}/daap/shop/");
    let catalogue = archives().catalogue(&wrong, "server").await;
    assert!(matches!(catalogue, Err(ArchiveError::NotOneDatabase(_))));
}
