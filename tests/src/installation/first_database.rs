//! A database asked for over REST by a product team, and queried with psql. Writes through the REST API only.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Installation, keys,
    psql::{self, Login},
};
use crate::cluster::{progress::Progress, wait};

/// Its name.
pub const NAME: &str = "orders";

/// The port on this machine at which it answers.
const PORT: u16 = 5432;

/// How long it may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(300);

/// A database that is ready, and that psql can log in to.
#[derive(Debug, Clone)]
pub struct FirstDatabase {
    /// What the REST API says of it.
    pub record: Value,
    service_file: PathBuf,
}

impl FirstDatabase {
    /// Asks for it, unless it exists already, and waits until it is ready, with a line for each step on the way.
    pub async fn create(installation: &Installation, progress: Progress) -> Result<Self> {
        let id = progress
            .step("database asked for over REST", ask(installation))
            .await?;
        let record = progress
            .step("database ready", await_ready(installation, &id, progress))
            .await?;
        let service_file = progress
            .step("login over TLS", log_in(installation, &record))
            .await?;
        Ok(Self {
            record,
            service_file,
        })
    }

    /// Runs one statement in it.
    pub async fn query(&self, statement: &str) -> Result<String> {
        psql::query(&self.service_file, NAME, statement).await
    }
}

/// Returns the database's id.
async fn ask(installation: &Installation) -> Result<String> {
    let wanted = json!({ "name": NAME, "owner_team": keys::TEAM, "purpose": "What customers bought", "tier": "dev" });
    let answer = installation.team.post("/databases", &wanted).await?;
    let record = if answer.status == StatusCode::CONFLICT {
        find(installation).await?
    } else {
        answer.expect(StatusCode::CREATED)?
    };
    Ok(record["id"]
        .as_str()
        .context("a database without an id")?
        .to_owned())
}

/// The database that an earlier run asked for.
async fn find(installation: &Installation) -> Result<Value> {
    let list = installation
        .team
        .get("/databases")
        .await?
        .expect(StatusCode::OK)?;
    let items = list["items"].as_array().context("a list without items")?;
    items
        .iter()
        .find(|item| item["name"] == NAME)
        .cloned()
        .context("it exists, but is not listed")
}

async fn await_ready(installation: &Installation, id: &str, progress: Progress) -> Result<Value> {
    let path = format!("/databases/{id}");
    let mut told = String::new();
    wait::until(
        &format!("the database {NAME} being ready"),
        PATIENCE,
        async || {
            // Not as fast as it can be asked: a person would not either.
            tokio::time::sleep(Duration::from_millis(400)).await;
            let record = installation.team.get(&path).await?.expect(StatusCode::OK)?;
            let state = describe(&record);
            if state != told {
                progress.say(&format!("  {NAME}: {state}"));
                told.clone_from(&state);
            }
            ensure!(record["status"] == "ready", "{state}");
            Ok(record)
        },
    )
    .await
}

/// The status, with the problem if there is one.
fn describe(record: &Value) -> String {
    let status = record["status"].as_str().unwrap_or("unknown");
    match record["problem"]["message"].as_str() {
        Some(problem) => format!("{status}: {problem}"),
        None => status.to_owned(),
    }
}

async fn log_in(installation: &Installation, record: &Value) -> Result<PathBuf> {
    let secret = &record["connection"]["secret"];
    let (namespace, name) = (secret["namespace"].as_str(), secret["name"].as_str());
    let (namespace, name) = namespace
        .zip(name)
        .context("a ready database without a Secret")?;
    let site = &installation.site;
    let entries = psql::read_secret(site.client(), namespace, name).await?;
    let host = entries.get("host").context("the Secret has no host")?;
    let service = host.split('.').next().unwrap_or_default();
    let address = site.forward(PORT, namespace, service, PORT).await?;
    let login = Login::new(NAME, &entries, address)?;
    let directory = installation
        .environment
        .authority
        .parent()
        .context("an installation without a directory")?;
    login.write(directory)
}
