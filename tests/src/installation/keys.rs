//! The first API keys. Made by the facade's own bootstrap command inside its pod, where the metadata database is.

use std::path::Path;

use anyhow::{Context, Result};
use http::StatusCode;

use super::{SYSTEM_NAMESPACE, environment::Environment, kubectl::Kubectl};
use crate::rest::RestClient;

/// The product team that gets a key.
pub const TEAM: &str = "shop";

/// A key for each role.
pub struct Keys {
    /// The platform team's.
    pub platform: String,
    /// The product team's.
    pub team: String,
}

impl Keys {
    /// The keys that an earlier run left in `directory`, if they still work; otherwise new ones.
    pub async fn obtain(
        url: &str,
        authority: &str,
        directory: &Path,
        kubectl: &Kubectl,
    ) -> Result<Self> {
        if let Some((platform, team)) = Environment::read_keys(directory) {
            let client = RestClient::new(url, authority, &platform)?;
            if works(&client).await? && works(&client.with_key(&team)).await? {
                return Ok(Self { platform, team });
            }
        }
        Self::make(kubectl).await
    }

    async fn make(kubectl: &Kubectl) -> Result<Self> {
        // An earlier run may have made a platform key that got lost.
        let platform = bootstrap(kubectl, &["--force"]).await?;
        let team = bootstrap(kubectl, &["--team", TEAM]).await?;
        Ok(Self { platform, team })
    }
}

/// Makes a key in the facade's pod, where the metadata database is.
async fn bootstrap(kubectl: &Kubectl, arguments: &[&str]) -> Result<String> {
    let pod = [
        "exec",
        "--namespace",
        SYSTEM_NAMESPACE,
        "deployment/daap-facade",
        "--container=facade",
        "--",
    ];
    let command = ["/usr/local/bin/daap-facade", "bootstrap", "--name=make-up"];
    let output = kubectl
        .run(&[&pod[..], &command[..], arguments].concat())
        .await?;
    let key = output.lines().find(|line| line.starts_with("daap_"));
    key.map(str::to_owned).context("the facade printed no key")
}

async fn works(client: &RestClient) -> Result<bool> {
    Ok(client.get("/tiers").await?.status == StatusCode::OK)
}
