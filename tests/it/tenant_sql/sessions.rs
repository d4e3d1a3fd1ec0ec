//! Ended sessions: all of clients, none of CloudNativePG's.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use anyhow::ensure;
use daap_controller::tenant_sql::Tenants as _;
use daap_tests::cluster::scratch::Scratch;
use tokio::process::Command;

use super::*;

async fn is_alive(session: &mut PgConnection) -> bool {
    sqlx::query("SELECT 1").execute(session).await.is_ok()
}

/// Waits until the server has so many sessions of a role, beside the one that asks.
async fn await_backends(database: &TenantPostgres, role: &str, count: &str) {
    let statement = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND pid <> pg_backend_pid()
           AND backend_type IN ('client backend', 'walsender')"
    );
    wait::until("the sessions being there", SOON, async || {
        let found = database.administrate(&statement).await?;
        ensure!(found == count, "{found} of {role}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn sessions_of_clients_are_ended_whatever_they_do() {
    let database = TenantPostgres::start().await.unwrap();
    database
        .administrate("ALTER ROLE cnpg_pooler_pgbouncer PASSWORD 'pooler'")
        .await
        .unwrap();
    let mut idle = application(&database).await;
    let mut writing = application(&database).await;
    for statement in [
        "CREATE TABLE entry (id int)",
        "BEGIN",
        "INSERT INTO entry VALUES (1)",
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut writing)
            .await
            .unwrap();
    }
    let mut busy = application(&database).await;
    let busy =
        tokio::spawn(async move { sqlx::query("SELECT pg_sleep(600)").execute(&mut busy).await });
    let _in_pod = database
        .session_in_pod("app", "SELECT pg_sleep(600)")
        .unwrap();
    await_backends(&database, "app", "4").await;

    assert_eq!(tenants().end_sessions(&database.tenant()).await.unwrap(), 0);
    assert!(!is_alive(&mut idle).await && !is_alive(&mut writing).await);
    busy.await.unwrap().unwrap_err();
    await_backends(&database, "app", "0").await;
    let mut later = application(&database).await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM entry")
        .fetch_one(&mut later)
        .await
        .unwrap();
    assert_eq!(rows, 0, "what was not committed is not there");
}

#[tokio::test]
async fn sessions_of_the_pooler_are_ended() {
    let database = TenantPostgres::start().await.unwrap();
    // A certificate is CloudNativePG's way; what counts here is who it is.
    database
        .administrate("ALTER ROLE cnpg_pooler_pgbouncer PASSWORD 'pooler'")
        .await
        .unwrap();
    let own = fs::read_to_string(database.postgres.data().join("pg_hba.conf")).unwrap();
    let by_password = own.replace(
        "cnpg_pooler_pgbouncer all cert",
        "cnpg_pooler_pgbouncer all scram-sha-256",
    );
    database
        .postgres
        .write_private("pg_hba.conf", &by_password)
        .unwrap();
    database.reload().await.unwrap();
    let mut pooler = session(&database, "cnpg_pooler_pgbouncer", "pooler").await;
    assert!(is_alive(&mut pooler).await);
    assert_eq!(tenants().end_sessions(&database.tenant()).await.unwrap(), 0);
    assert!(!is_alive(&mut pooler).await);
}

/// A program that speaks to the server over the network as a replica does, with a certificate.
fn replica(database: &TenantPostgres, files: &Path, program: &str) -> Command {
    let mut command = Command::new(database.postgres.programs().join(program));
    command.args(["--host=127.0.0.1", "--username=streaming_replica"]);
    command.args(["--port", &database.postgres.port().to_string()]);
    command.env("PGSSLMODE", "require");
    command.env("PGSSLCERT", files.join("crt"));
    command.env("PGSSLKEY", files.join("key"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// The certificate of replicas in a directory of its own.
fn certificate(database: &TenantPostgres) -> Scratch {
    let files = Scratch::new("replica").unwrap();
    let certificate = database
        .authority
        .client("streaming_replica", None)
        .unwrap();
    fs::write(files.path().join("crt"), certificate.certificate).unwrap();
    fs::write(files.path().join("key"), certificate.private_key).unwrap();
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(files.path().join("key"), private).unwrap();
    files
}

#[tokio::test]
async fn cloudnativepgs_own_sessions_and_the_observers_stay() {
    const SLEEP: &str = "SELECT pg_sleep(600)";
    let database = TenantPostgres::start().await.unwrap();
    let files = certificate(&database);
    let mut streaming = replica(&database, files.path(), "pg_receivewal");
    streaming.arg("--directory").arg(files.path());
    let mut asking = replica(&database, files.path(), "psql");
    asking.args(["--dbname=postgres", "-c", SLEEP]);
    let mut sessions = [
        streaming.spawn().unwrap(),
        asking.spawn().unwrap(),
        database.session_in_pod("postgres", SLEEP).unwrap(),
        database.session_in_pod("daap_observer", SLEEP).unwrap(),
    ];
    let expected = [
        ("streaming_replica", "2"),
        ("postgres", "1"),
        ("daap_observer", "1"),
    ];
    for (role, count) in expected {
        await_backends(&database, role, count).await;
    }

    assert_eq!(tenants().end_sessions(&database.tenant()).await.unwrap(), 0);
    for (role, count) in expected {
        await_backends(&database, role, count).await;
    }
    for session in &mut sessions {
        assert!(session.try_wait().unwrap().is_none());
    }
}

/// An application that holds every connection cannot keep the observer out, so its sessions can be ended. Before version 16
/// PostgreSQL keeps connections for superusers only; then it is told what is wrong.
#[tokio::test]
async fn an_application_does_not_keep_the_observer_out() {
    let database = TenantPostgres::start_with(&["max_connections=20"])
        .await
        .unwrap();
    let mut held = Vec::new();
    let refused = loop {
        match try_session(&database, "app", APPLICATION_PASSWORD).await {
            Ok(session) => held.push(session),
            Err(error) => break error,
        }
    };
    let code = refused.as_database_error().and_then(|error| error.code());
    assert_eq!(code.as_deref(), Some("53300"), "{refused}");
    let outcome = tenants().end_sessions(&database.tenant()).await;
    if database.postgres.major().unwrap() >= 16 {
        assert_eq!(outcome.unwrap(), 0);
        for session in &mut held {
            assert!(!is_alive(session).await);
        }
    } else {
        let full = outcome.unwrap_err();
        assert!(matches!(full, TenantError::Full(_)), "{full:?}");
    }
}

/// The observer may not end superusers' sessions. Those that come like a client are counted, and the others ended.
#[tokio::test]
async fn sessions_that_cannot_be_ended_are_told() {
    let database = TenantPostgres::start().await.unwrap();
    database
        .administrate("CREATE ROLE chief SUPERUSER LOGIN PASSWORD 'chief'")
        .await
        .unwrap();
    let mut chief = session(&database, "chief", "chief").await;
    let mut client = application(&database).await;
    assert_eq!(tenants().end_sessions(&database.tenant()).await.unwrap(), 1);
    assert!(is_alive(&mut chief).await && !is_alive(&mut client).await);
}

/// Without its grants the observer sees no kinds of sessions. It must not take that for an empty server.
#[tokio::test]
async fn what_the_observer_cannot_see_is_not_taken_for_nothing() {
    let database = TenantPostgres::start().await.unwrap();
    let _client = application(&database).await;
    database
        .administrate("REVOKE pg_monitor, pg_signal_backend FROM daap_observer")
        .await
        .unwrap();
    let outcome = tenants().end_sessions(&database.tenant()).await;
    assert!(!matches!(outcome, Ok(0)), "{outcome:?}");
}
