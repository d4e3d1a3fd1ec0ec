//! psql with the credentials that DAAP made, over TLS that is verified. Reads a Secret, writes two files.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::process::Command;

use super::environment;
use crate::cluster::artifacts::debian;

/// What PostgreSQL and the poolers listen on.
pub const PORT: u16 = 5432;

/// The name of the file by which psql knows the databases.
pub const SERVICE_FILE: &str = "pg_service.conf";

/// A way into a database from this machine.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name of the database, by which psql knows the login.
    pub name: String,
    /// The host name in the server's certificate.
    pub host: String,
    /// Where it is forwarded to on this machine.
    pub address: SocketAddr,
    /// The PostgreSQL database.
    pub database: String,
    /// The role.
    pub user: String,
    /// The role's password.
    pub password: String,
    /// The certificate authority of the server, as PEM.
    pub authority: String,
}

/// The entries of a Secret, as text.
pub async fn read_secret(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<BTreeMap<String, String>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = api
        .get(name)
        .await
        .with_context(|| format!("reading the Secret {namespace}/{name}"))?;
    let entries = secret.data.unwrap_or_default().into_iter();
    entries
        .map(|(key, value)| {
            Ok((
                key,
                String::from_utf8(value.0).context("an entry that is no text")?,
            ))
        })
        .collect()
}

impl Login {
    /// The login to `host` that a connection Secret describes, by way of `address`.
    pub fn new(
        name: &str,
        host: &str,
        secret: &BTreeMap<String, String>,
        address: SocketAddr,
    ) -> Result<Self> {
        let entry = |key: &str| {
            secret
                .get(key)
                .cloned()
                .with_context(|| format!("the Secret has no {key}"))
        };
        Ok(Self {
            name: name.to_owned(),
            host: host.to_owned(),
            address,
            database: entry("database")?,
            user: entry("username")?,
            password: entry("password")?,
            authority: entry("ca.crt")?,
        })
    }

    /// Writes the login where psql finds it by name: `PGSERVICEFILE=<returned path> psql service=<name>`.
    pub fn write(&self, directory: &Path) -> Result<PathBuf> {
        let authority = directory.join(format!("{}-ca.crt", self.name));
        environment::write_private(&authority, &self.authority)?;
        let service = directory.join(SERVICE_FILE);
        let Self {
            name,
            host,
            address,
            database,
            user,
            password,
            ..
        } = self;
        let (ip, port, authority) = (address.ip(), address.port(), authority.display());
        // `host` is what the certificate is checked against, `hostaddr` where the packets go.
        let text = format!(
            "[{name}]\nhost={host}\nhostaddr={ip}\nport={port}\ndbname={database}\nuser={user}\npassword={password}\n\
             sslmode=verify-full\nsslrootcert={authority}\n"
        );
        environment::write_private(&service, &text)?;
        Ok(service)
    }
}

/// Runs one statement over a connection such as `service=orders`, and returns what psql prints of its result.
pub async fn query(service_file: &Path, connection: &str, statement: &str) -> Result<String> {
    if !is_installed().await {
        let install = || debian::ensure(&["postgresql-client"]);
        tokio::task::spawn_blocking(install)
            .await
            .context("installing psql")??;
    }
    let mut command = Command::new("psql");
    command
        .env("PGSERVICEFILE", service_file)
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::null());
    command.args([
        "--no-psqlrc",
        "--no-align",
        "--tuples-only",
        "--set=ON_ERROR_STOP=1",
    ]);
    command.args(["--command", statement, connection]);
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .context("running psql")?;
    ensure!(
        output.status.success(),
        "psql: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

async fn is_installed() -> bool {
    let mut command = Command::new("psql");
    command.arg("--version").stdin(Stdio::null());
    command
        .output()
        .await
        .is_ok_and(|output| output.status.success())
}
