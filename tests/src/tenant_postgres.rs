//! A database as CloudNativePG sets it up for DAAP: a real PostgreSQL with the roles, grants and rules that the controller
//! writes into a Cluster. What CloudNativePG does with them is done here by a stand-in.
//!
//! Writes a temporary directory and starts one server; both end with the value.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use daap_controller::{
    database::{
        build,
        plan::{Access, Desired, Identity, Password},
    },
    settings::Settings,
    tenant_sql::Tenant,
};
use daap_crds::{
    DaapTier,
    cnpg::Cluster,
    name::{DatabaseName, TeamName},
};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::cluster::{certificates::Authority, postgres::Postgres, wait};

/// The password of the application.
pub const APPLICATION_PASSWORD: &str = "open sesame: the application's";
/// The password of the observer.
pub const OBSERVER_PASSWORD: &str = "seen it all: the observer's";

/// A tier that has all that a database needs.
const TIER: &str = include_str!("../../manifests/samples/tier-dev.yaml");
/// A version whose rules are those of all.
const OLDEST: i32 = 15;
/// How long the server gets to take up new rules.
const RELOAD: Duration = Duration::from_secs(10);
/// What CloudNativePG writes before the rules of a Cluster. Its own sessions come through the socket, where it maps the
/// user of the operating system; whoever gets to the socket of this server is trusted.
const OWN_RULES: [&str; 4] = [
    "local all all trust",
    "hostssl postgres streaming_replica all cert",
    "hostssl replication streaming_replica all cert",
    "hostssl all cnpg_pooler_pgbouncer all cert",
];
/// What CloudNativePG writes after them.
const LAST_RULE: &str = "host all all all scram-sha-256";

/// A database of DAAP. Dropping it ends the server and removes its files.
pub struct TenantPostgres {
    /// The server.
    pub postgres: Postgres,
    /// What vouches for it and for its replicas.
    pub authority: Authority,
}

impl TenantPostgres {
    /// Makes a database that is ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with these settings too.
    pub async fn start_with(settings: &[&str]) -> Result<Self> {
        // The archive takes everything; which segments it was given is seen in the server's directory.
        let archive = ["archive_mode=on", "archive_command=/bin/true"];
        let postgres = Postgres::start_with(&[&archive, settings].concat()).await?;
        let authority = Authority::new("cluster")?;
        let server = authority.server("ledger-rw", &["127.0.0.1".to_owned()])?;
        postgres.write_private("authority.crt", authority.certificate())?;
        postgres.write_private("server.crt", &server.certificate)?;
        postgres.write_private("server.key", &server.private_key)?;
        let mut tenant = Self {
            postgres,
            authority,
        };
        let cluster = cluster(tenant.postgres.major()?)?;
        for statement in statements(&cluster)? {
            tenant.administrate(&statement).await?;
        }
        // For what is taken up at a start only.
        tenant.postgres.stop();
        tenant.postgres.resume().await?;
        tenant.set_rules(&rules(&cluster)?).await?;
        Ok(tenant)
    }

    /// How the controller reaches it.
    pub fn tenant(&self) -> Tenant {
        Tenant {
            host: "127.0.0.1".to_owned(),
            port: self.postgres.port(),
            authority: self.authority.certificate().as_bytes().to_vec(),
            observer_password: Password::new(OBSERVER_PASSWORD.to_owned()),
            application_password: Password::new(APPLICATION_PASSWORD.to_owned()),
        }
    }

    /// Runs a statement as CloudNativePG does: as superuser, through the socket.
    pub async fn administrate(&self, statement: &str) -> Result<String> {
        let mut command = self.psql("postgres", "postgres");
        let output = command.args(["-c", statement]).output().await;
        let output = output.context("running psql")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{statement}: {errors}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts a session through the socket that runs a statement. It ends when the value is dropped.
    pub fn session_in_pod(&self, role: &str, statement: &str) -> Result<Child> {
        let mut command = self.psql(role, "postgres");
        command.args(["-c", statement]).kill_on_drop(true);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("starting psql")
    }

    fn psql(&self, role: &str, database: &str) -> Command {
        let mut command = Command::new(self.postgres.programs().join("psql"));
        command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]);
        command.arg("--host").arg(self.postgres.data());
        command.args(["--port", &self.postgres.port().to_string()]);
        command.args(["--username", role, "--dbname", database]);
        command.stdin(Stdio::null());
        command
    }

    /// Puts rules in the place of those of the Cluster, and returns when they hold for new sessions.
    pub async fn set_rules(&self, rules: &[String]) -> Result<()> {
        let own = OWN_RULES.iter().map(|&rule| rule.to_owned());
        let last = LAST_RULE.to_owned();
        let lines: Vec<_> = own.chain(rules.iter().cloned()).chain([last]).collect();
        self.postgres
            .write_private("pg_hba.conf", &format!("{}\n", lines.join("\n")))?;
        self.reload().await
    }

    /// Returns when what is written in the configuration holds for new sessions.
    pub async fn reload(&self) -> Result<()> {
        const LOADED: &str = "SELECT pg_conf_load_time()";
        let before = self.administrate(LOADED).await?;
        self.administrate("SELECT pg_reload_conf()").await?;
        wait::until("the configuration being loaded", RELOAD, async || {
            let loaded = self.administrate(LOADED).await?;
            ensure!(loaded != before, "loaded at {before}");
            Ok(())
        })
        .await
    }
}

/// The rules of a Cluster that serves.
pub fn serving_rules() -> Result<Vec<String>> {
    rules(&cluster(OLDEST)?)
}

fn rules(cluster: &Cluster) -> Result<Vec<String>> {
    let postgresql = cluster.spec.postgresql.as_ref();
    let rules = postgresql.and_then(|postgresql| postgresql.pg_hba.clone());
    rules.context("the Cluster has no rules")
}

/// The Cluster that the controller makes for a database of this major version.
fn cluster(major: i32) -> Result<Cluster> {
    let mut tier: DaapTier = serde_yaml::from_str(TIER).context("the sample of a tier")?;
    tier.spec.postgres.major = major;
    let incarnation = serde_json::from_value(json!({
        "serverName": "22222222-0000-4000-8000-000000000000",
        "revision": "dev-0123456789",
        "postgresMajor": major,
        "reservedConnections": build::reserved_connections(&tier.spec),
    }))
    .context("an incarnation")?;
    let desired = Desired {
        identity: Identity {
            name: DatabaseName::parse("ledger")?,
            namespace: "daap-team-orders".to_owned(),
            uid: "11111111-0000-4000-8000-000000000000".to_owned(),
            team: TeamName::parse("orders")?,
            tier: "dev".to_owned(),
        },
        incarnation,
        template: tier.spec,
        application_password: Password::new(APPLICATION_PASSWORD.to_owned()),
        observer_password: Password::new(OBSERVER_PASSWORD.to_owned()),
        certificate_authority: None,
        store: None,
        access: Access::Open,
        keeps_backups: false,
    };
    let settings = Settings::from_defaults()?;
    Ok(build::build(&desired, &settings)?.cluster)
}

/// What CloudNativePG does in a new server for a Cluster, in its order.
fn statements(cluster: &Cluster) -> Result<Vec<String>> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let postgresql = cluster.spec.postgresql.as_ref();
    let parameters = postgresql.and_then(|postgresql| postgresql.parameters.as_ref());
    let parameter = |name: &str| {
        let value = parameters.and_then(|parameters| parameters.get(name));
        value.with_context(|| format!("the Cluster does not set {name}"))
    };
    let mut statements = vec![
        "CREATE ROLE streaming_replica LOGIN REPLICATION".to_owned(),
        "CREATE ROLE cnpg_pooler_pgbouncer LOGIN".to_owned(),
        "ALTER SYSTEM SET ssl_ca_file = 'authority.crt'".to_owned(),
        "ALTER SYSTEM SET ssl = on".to_owned(),
    ];
    for name in ["ssl_min_protocol_version", "password_encryption"] {
        let value = quoted(parameter(name)?);
        statements.push(format!("ALTER SYSTEM SET {name} = {value}"));
    }
    if let Some(count) = build::kept_connections(cluster) {
        statements.push(format!("ALTER SYSTEM SET reserved_connections = {count}"));
    }
    let bootstrap = cluster.spec.bootstrap.as_ref();
    let initdb = bootstrap.and_then(|bootstrap| bootstrap.initdb.as_ref());
    let initdb = initdb.context("the Cluster is not made by initdb")?;
    let (owner, database) = (&initdb.owner, &initdb.database);
    let password = quoted(APPLICATION_PASSWORD);
    statements.push(format!("CREATE ROLE {owner} LOGIN PASSWORD {password}"));
    statements.push(format!("CREATE DATABASE {database} OWNER {owner}"));
    statements.extend(initdb.post_init_sql.iter().flatten().cloned());
    let managed = cluster.spec.managed.as_ref();
    for role in managed
        .and_then(|managed| managed.roles.as_ref())
        .into_iter()
        .flatten()
    {
        let (name, password) = (&role.name, quoted(OBSERVER_PASSWORD));
        statements.push(format!("ALTER ROLE {name} LOGIN PASSWORD {password}"));
        for group in role.in_roles.iter().flatten() {
            statements.push(format!("GRANT {group} TO {name}"));
        }
    }
    Ok(statements)
}
