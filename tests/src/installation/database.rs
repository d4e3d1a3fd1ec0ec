//! A database asked for over REST by a product team. Writes through the REST API only, and forwards a port.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Installation, keys,
    psql::{self, Login},
};
use crate::cluster::{progress::Progress, wait};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The name.
    pub name: &'static str,
    /// The tier.
    pub tier: &'static str,
    /// What it is for.
    pub purpose: &'static str,
}

/// The database that `make up` ends with.
pub const FIRST: Wish = Wish {
    name: "orders",
    tier: "dev",
    purpose: "What customers bought",
};

/// How long a database may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is asked for.
const PAUSE: Duration = Duration::from_millis(400);

/// A database of the product team.
#[derive(Debug, Clone)]
pub struct Database {
    /// What the REST API said of it last.
    pub record: Value,
    name: &'static str,
}

impl Database {
    /// Asks for a database, unless it exists already.
    pub async fn ask(installation: &Installation, wish: Wish) -> Result<Self> {
        let Wish {
            name,
            tier,
            purpose,
        } = wish;
        let body =
            json!({ "name": name, "owner_team": keys::TEAM, "purpose": purpose, "tier": tier });
        let answer = installation.team.post("/databases", &body).await?;
        let record = if answer.status == StatusCode::CONFLICT {
            find(installation, name).await?
        } else {
            answer.expect(StatusCode::CREATED)?
        };
        Ok(Self { record, name })
    }

    /// Returns when applications can connect, with a line for each step on the way.
    pub async fn await_ready(
        &mut self,
        installation: &Installation,
        progress: Progress,
    ) -> Result<()> {
        let mut told = String::new();
        wait::until(
            &format!("the database {} being ready", self.name),
            PATIENCE,
            async || {
                self.look(installation).await?;
                let state = self.state();
                if state != told {
                    progress.say(&format!("  {}: {state}", self.name));
                    told.clone_from(&state);
                }
                ensure!(self.record["status"] == "ready", "{state}");
                Ok(())
            },
        )
        .await
    }

    /// Asks for a copy of it as it was at `target`, an instant in RFC 3339; at the end, without one.
    pub async fn restore(
        &self,
        installation: &Installation,
        name: &'static str,
        target: Option<&str>,
    ) -> Result<Self> {
        let path = format!("/databases/{}/restore", self.id()?);
        let body = json!({ "name": name, "target_time": target });
        let answer = installation.team.post(&path, &body).await?;
        let record = answer.expect(StatusCode::CREATED)?;
        Ok(Self { record, name })
    }

    /// Destroys it as its tier says.
    pub async fn destroy(&mut self, installation: &Installation) -> Result<()> {
        let path = format!("/databases/{}", self.id()?);
        let answer = installation.team.delete(&path).await?;
        self.record = answer.expect(StatusCode::ACCEPTED)?;
        Ok(())
    }

    /// Returns when it has a status, with a line for each step on the way.
    pub async fn await_status(
        &mut self,
        installation: &Installation,
        status: &str,
        progress: Progress,
    ) -> Result<()> {
        let mut told = String::new();
        let what = format!("the database {} being {status}", self.name);
        wait::until(&what, PATIENCE, async || {
            self.look(installation).await?;
            let operation = &self.record["operation"];
            let state = format!(
                "{} {} {}",
                self.state(),
                operation["step"].as_str().unwrap_or_default(),
                operation["message"].as_str().unwrap_or_default()
            );
            if state != told {
                progress.say(&format!("  {}: {state}", self.name));
                told.clone_from(&state);
            }
            ensure!(self.record["status"] == status, "{state}");
            Ok(())
        })
        .await
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its id.
    ///
    /// # Errors
    /// When the record has none.
    pub fn id(&self) -> Result<&str> {
        self.record["id"]
            .as_str()
            .context("a database without an id")
    }

    /// Asks the REST API how it is, after a pause.
    pub async fn look(&mut self, installation: &Installation) -> Result<()> {
        tokio::time::sleep(PAUSE).await;
        let path = format!("/databases/{}", self.id()?);
        self.record = installation.team.get(&path).await?.expect(StatusCode::OK)?;
        Ok(())
    }

    /// The status, with the problem if there is one.
    fn state(&self) -> String {
        let status = self.record["status"].as_str().unwrap_or("unknown");
        match self.record["problem"]["message"].as_str() {
            Some(problem) => format!("{status}: {problem}"),
            None => status.to_owned(),
        }
    }

    /// The entries of the Secret that the REST API names.
    pub async fn secret(&self, installation: &Installation) -> Result<BTreeMap<String, String>> {
        let secret = &self.record["connection"]["secret"];
        let (namespace, name) = (secret["namespace"].as_str(), secret["name"].as_str());
        let (namespace, name) = namespace
            .zip(name)
            .context("a ready database without a Secret")?;
        psql::read_secret(installation.site.client(), namespace, name).await
    }

    /// A login to `host`, which the certificate has to name, by way of a port of this machine.
    pub async fn log_in(
        &self,
        installation: &Installation,
        host: &str,
        port: u16,
    ) -> Result<Login> {
        let mut names = host.split('.');
        let (service, namespace) = names
            .next()
            .zip(names.next())
            .context("a host that is no Service")?;
        let address = installation
            .site
            .forward(port, namespace, service, psql::PORT)
            .await?;
        Login::new(self.name, host, &self.secret(installation).await?, address)
    }

    /// A login to the primary.
    pub async fn log_in_to_primary(&self, installation: &Installation, port: u16) -> Result<Login> {
        let host = self.record["connection"]["host"]
            .as_str()
            .context("a ready database without a host")?;
        self.log_in(installation, host, port).await
    }
}

/// The database of the team with this name.
async fn find(installation: &Installation, name: &str) -> Result<Value> {
    let list = installation
        .team
        .get("/databases")
        .await?
        .expect(StatusCode::OK)?;
    let items = list["items"].as_array().context("a list without items")?;
    items
        .iter()
        .find(|item| item["name"] == name)
        .cloned()
        .context("it exists, but is not listed")
}
