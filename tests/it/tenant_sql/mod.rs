//! What the controller does in tenants' databases, on a real PostgreSQL over TLS.

use std::time::Duration;

use daap_controller::{
    k8s::error::chain,
    tenant_sql::{Postgres, TenantError},
};
use daap_tests::{
    cluster::wait,
    tenant_postgres::{APPLICATION_PASSWORD, OBSERVER_PASSWORD, TenantPostgres, serving_rules},
};
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

mod fence;
mod login;
mod sessions;

/// How long anything that should happen may take on a slow machine.
const SOON: Duration = Duration::from_secs(30);

/// The controller's hand in tenants' databases, with time enough.
fn tenants() -> Postgres {
    Postgres::new(SOON)
}

/// The rules of a Cluster whose database is locked out: the observer to `postgres`, nobody else.
fn lockout() -> Vec<String> {
    let mut rules = serving_rules().unwrap();
    rules.push("hostssl postgres daap_observer all scram-sha-256".to_owned());
    rules.push("host all all all reject".to_owned());
    rules
}

/// A session over TLS, as applications have one.
async fn session(database: &TenantPostgres, role: &str, password: &str) -> PgConnection {
    try_session(database, role, password).await.unwrap()
}

async fn try_session(
    database: &TenantPostgres,
    role: &str,
    password: &str,
) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(database.postgres.port())
        .username(role)
        .password(password)
        .database("app")
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert_from_pem(database.tenant().authority);
    PgConnection::connect_with(&options).await
}

async fn application(database: &TenantPostgres) -> PgConnection {
    session(database, "app", APPLICATION_PASSWORD).await
}

/// An error keeps to itself whatever is secret, however it is printed.
fn assert_discreet(error: &TenantError) {
    for text in [chain(error), format!("{error:?}"), format!("{error:#?}")] {
        for secret in [APPLICATION_PASSWORD, OBSERVER_PASSWORD] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
