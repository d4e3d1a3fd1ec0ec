//! A real S3 server on loopback, with a bucket of its own. Starts a process and writes a temporary directory; both end
//! with the value, and with this process.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aws_sdk_s3::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
    primitives::ByteStream,
    types::{BucketVersioningStatus, VersioningConfiguration},
};
use aws_smithy_http_client::Builder;
use nix::sys::signal::Signal;
use uuid::Uuid;

use crate::cluster::{
    artifacts::{self, Program},
    certificates::Authority,
    child::{Child, dies_with_parent},
    control_plane::free_addresses,
    scratch::Scratch,
    wait,
};

/// The bucket that exists from the beginning.
pub const BUCKET: &str = "backups";
const REGION: &str = "us-east-1";
/// How long the server gets to answer. On an idle machine it takes a tenth of a second.
const READY: Duration = Duration::from_secs(60);

/// A running S3 server.
pub struct S3Server {
    /// Its URL.
    pub endpoint: String,
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
    /// The certificate that verifies the server's, if it speaks TLS.
    pub authority: Option<String>,
    address: SocketAddr,
    program: PathBuf,
    child: Option<Child>,
    scratch: Scratch,
}

impl S3Server {
    /// Starts one.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, false).await
    }

    /// Starts one that speaks TLS, with a certificate of a private authority.
    pub async fn start_with_tls(name: &str) -> Result<Self> {
        Self::start_with(name, true).await
    }

    async fn start_with(name: &str, tls: bool) -> Result<Self> {
        let program = tokio::task::spawn_blocking(|| artifacts::program(Program::Versitygw));
        let program = program.await.context("looking for the S3 server")??;
        let scratch = Scratch::new(&format!("s3-{name}"))?;
        for directory in ["versions", &format!("data/{BUCKET}")] {
            fs::create_dir_all(scratch.path().join(directory)).context("making a bucket")?;
        }
        let [address] = free_addresses()?;
        let authority = if tls {
            Some(write_certificate(scratch.path(), address)?)
        } else {
            None
        };
        let scheme = if tls { "https" } else { "http" };
        let mut server = Self {
            endpoint: format!("{scheme}://{address}"),
            access_key: Uuid::new_v4().simple().to_string(),
            secret_key: format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
            authority,
            address,
            program,
            child: None,
            scratch,
        };
        server.resume().await?;
        Ok(server)
    }

    /// Ends the server; connections are refused until [`resume`](Self::resume).
    pub fn stop(&mut self) {
        self.child = None;
    }

    /// Starts it again on the same address with the same data, and returns when it answers.
    pub async fn resume(&mut self) -> Result<()> {
        let directory = self.scratch.path();
        let mut command = dies_with_parent(Signal::SIGKILL, &[], &self.program);
        command
            .env("ROOT_ACCESS_KEY", &self.access_key)
            .env("ROOT_SECRET_KEY", &self.secret_key)
            .args([
                format!("--port={}", self.address),
                format!("--region={REGION}"),
            ]);
        if self.authority.is_some() {
            command.arg("--cert").arg(directory.join("certificate"));
            command.arg("--key").arg(directory.join("key"));
        }
        command
            .arg("posix")
            .arg("--versioning-dir")
            .arg(directory.join("versions"));
        command.arg(directory.join("data"));
        let mut child = Child::start("versitygw", directory, Signal::SIGTERM, command)?;
        let address = self.address;
        wait::until("the S3 server listening", READY, async || {
            child.check()?;
            TcpStream::connect(address).map(drop).context("connecting")
        })
        .await?;
        self.child = Some(child);
        Ok(())
    }

    /// A client of its own for a test that puts things there, or looks for them. Not through TLS.
    pub fn client(&self) -> Client {
        client(&self.endpoint, &self.access_key, &self.secret_key)
    }

    /// Lets the bucket keep every version of its objects from now on.
    pub async fn keep_versions(&self) -> Result<()> {
        let configuration = VersioningConfiguration::builder();
        let put = self.client().put_bucket_versioning().bucket(BUCKET);
        put.versioning_configuration(
            configuration
                .status(BucketVersioningStatus::Enabled)
                .build(),
        )
        .send()
        .await
        .context("turning versions on")
        .map(drop)
    }
}

/// A client of an S3 server that speaks plain HTTP.
pub fn client(endpoint: &str, access_key: &str, secret_key: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(Builder::new().build_http())
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .force_path_style(true);
    Client::from_conf(config.build())
}

/// Begins an upload of many parts, uploads one, and leaves it at that.
pub async fn interrupt_upload(client: &Client, bucket: &str, key: &str) -> Result<String> {
    let begin = client.create_multipart_upload().bucket(bucket).key(key);
    let upload = begin.send().await.context("beginning an upload")?;
    let id = upload.upload_id.context("an upload without an id")?;
    let part = client.upload_part().bucket(bucket).key(key).upload_id(&id);
    let body = ByteStream::from(vec![7; 5 * 1024 * 1024]);
    let part = part.part_number(1).body(body).send();
    part.await.context("uploading a part")?;
    Ok(id)
}

/// Writes a certificate and its key, and returns the authority's certificate.
fn write_certificate(directory: &Path, address: SocketAddr) -> Result<String> {
    let authority = Authority::new("private authority of an object store")?;
    let server = authority.server("s3", &[address.ip().to_string()])?;
    fs::write(directory.join("certificate"), server.certificate)
        .context("writing a certificate")?;
    fs::write(directory.join("key"), server.private_key).context("writing a key")?;
    Ok(authority.certificate().to_owned())
}
