//! An object store without an access key: the credentials are those of a role.
//!
//! A small stand-in plays the service that hands out credentials of a role: there is none on this machine, and no STS that
//! would make temporary ones. It speaks the protocol of the container credentials of AWS, and hands out the key of a real
//! S3 server. Which services are asked, a process is told by its environment, so the half that asks is a process of its own.

use std::{collections::BTreeMap, process::Stdio};

use daap_controller::archive::{Archives as _, Store};
use daap_crds::{DaapObjectStoreSpec, object_store::Credentials};
use daap_tests::s3_server::{BUCKET, S3Server};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    process::Command,
};

use super::archives;

/// The endpoint of the S3 server, for the process that asks.
const ENDPOINT: &str = "DAAP_TEST_ENDPOINT";
/// What that process prints before what came of it.
const OUTCOME: &str = "outcome: ";

#[tokio::test]
async fn the_credentials_of_a_role_are_asked_for() {
    let server = S3Server::start("role").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = format!("http://{}/role", listener.local_addr().unwrap());
    let credentials = json!({
        "AccessKeyId": server.access_key,
        "SecretAccessKey": server.secret_key,
        "Token": "",
        "Expiration": "2100-01-01T00:00:00Z",
    });
    let serving = tokio::spawn(hand_out(listener, credentials));
    assert_eq!(probe(&server, &service).await, "Ok");
    serving.abort();
    // And without the service, that is what is told, and not that the store does not answer.
    assert_eq!(probe(&server, &service).await, "NoCredentials");
}

/// What comes of a probe in another process, which gets the credentials of its role from this service.
async fn probe(server: &S3Server, service: &str) -> String {
    let probe = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "archive::role::probes_under_a_role"])
        .args(["--ignored", "--nocapture"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", service)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(ENDPOINT, &server.endpoint)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8(probe.stdout).unwrap();
    let outcome = told.lines().find_map(|line| line.strip_prefix(OUTCOME));
    outcome.unwrap_or_else(|| panic!("{told}")).to_owned()
}

/// The half that asks.
#[tokio::test]
#[ignore = "runs in a process of its own, started by the test above"]
async fn probes_under_a_role() {
    let spec = DaapObjectStoreSpec {
        url: format!("s3://{BUCKET}/daap"),
        endpoint: Some(std::env::var(ENDPOINT).expect("started by the test above")),
        region: None,
        credentials: Credentials {
            secret: None,
            inherit_from_iam_role: Some(true),
            service_account_annotations: None,
        },
        ca: None,
    };
    let keyless = Store::new(spec, BTreeMap::new());
    let outcome = archives().probe(&keyless).await;
    let outcome = outcome.map_or_else(|error| error.reason(), |()| "Ok");
    println!("\n{OUTCOME}{outcome}");
}

/// Answers every request with the credentials.
async fn hand_out(listener: TcpListener, credentials: serde_json::Value) {
    let body = credentials.to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    while let Ok((mut connection, _)) = listener.accept().await {
        let mut request = [0; 4096];
        if connection.read(&mut request).await.is_ok() {
            connection.write_all(answer.as_bytes()).await.ok();
        }
    }
}
