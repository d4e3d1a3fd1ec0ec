//! Logins: what counts as refused, and what is an error.

use std::net::Ipv4Addr;

use daap_controller::{
    database::plan::Password,
    tenant_sql::{Login, Tenant, Tenants as _},
};
use daap_tests::cluster::certificates::Authority;
use tokio::net::TcpListener;

use super::*;

async fn error(tenant: &Tenant) -> TenantError {
    let error = tenants().log_in(tenant).await.unwrap_err();
    assert_discreet(&error);
    error
}

#[tokio::test]
async fn a_lockout_is_proved_by_a_refused_login() {
    let database = TenantPostgres::start().await.unwrap();
    let tenant = database.tenant();
    assert_eq!(tenants().log_in(&tenant).await.unwrap(), Login::Accepted);

    database.set_rules(&lockout()).await.unwrap();
    assert_eq!(tenants().log_in(&tenant).await.unwrap(), Login::Refused);
    // Not even the right password is asked for.
    let mut ignorant = tenant.clone();
    ignorant.application_password = Password::new("wrong".to_owned());
    assert_eq!(tenants().log_in(&ignorant).await.unwrap(), Login::Refused);
    // The observer goes on.
    tenants().fence(&tenant).await.unwrap();
    assert_eq!(tenants().end_sessions(&tenant).await.unwrap(), 0);

    database.set_rules(&serving_rules().unwrap()).await.unwrap();
    assert_eq!(tenants().log_in(&tenant).await.unwrap(), Login::Accepted);
}

/// Everything else that keeps the application out may let somebody else in.
#[tokio::test]
async fn only_rules_refuse() {
    let database = TenantPostgres::start().await.unwrap();
    let mut tenant = database.tenant();
    tenant.application_password = Password::new("wrong".to_owned());
    let wrong_password = error(&tenant).await;
    assert!(
        matches!(wrong_password, TenantError::Refused(_)),
        "{wrong_password:?}"
    );

    let tenant = database.tenant();
    database
        .administrate("ALTER ROLE app NOLOGIN")
        .await
        .unwrap();
    let no_login = error(&tenant).await;
    assert!(matches!(no_login, TenantError::Refused(_)), "{no_login:?}");
    assert!(!no_login.is_transient());

    database
        .administrate("ALTER ROLE app LOGIN CONNECTION LIMIT 0")
        .await
        .unwrap();
    let full = error(&tenant).await;
    assert!(
        matches!(full, TenantError::Full(_)) && full.is_transient(),
        "{full:?}"
    );
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_trusted() {
    let database = TenantPostgres::start().await.unwrap();
    let mut stranger = database.tenant();
    stranger.authority = Authority::new("other")
        .unwrap()
        .certificate()
        .as_bytes()
        .to_vec();
    let mut misnamed = database.tenant();
    misnamed.host = "localhost".to_owned();
    let mut unreadable = database.tenant();
    unreadable.authority = b"no certificate".to_vec();
    for tenant in [&stranger, &misnamed, &unreadable] {
        let error = error(tenant).await;
        assert!(matches!(error, TenantError::Tls(_)), "{error:?}");
    }

    database
        .administrate("ALTER SYSTEM SET ssl = off")
        .await
        .unwrap();
    database.reload().await.unwrap();
    let plaintext = error(&database.tenant()).await;
    assert!(matches!(plaintext, TenantError::Tls(_)), "{plaintext:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_unreachable() {
    let mut database = TenantPostgres::start().await.unwrap();
    database.postgres.stop();
    let tenant = database.tenant();
    let error = error(&tenant).await;
    assert!(
        matches!(error, TenantError::Unreachable(_)) && error.is_transient(),
        "{error:?}"
    );
    let error = tenants().fence(&tenant).await.unwrap_err();
    assert_discreet(&error);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_at_the_deadline() {
    const DEADLINE: Duration = Duration::from_millis(300);
    daap_config::process::install_crypto_provider();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let tenant = Tenant {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        authority: Authority::new("cluster")
            .unwrap()
            .certificate()
            .as_bytes()
            .to_vec(),
        observer_password: Password::new(OBSERVER_PASSWORD.to_owned()),
        application_password: Password::new(APPLICATION_PASSWORD.to_owned()),
    };
    let hurried = Postgres::new(DEADLINE);
    let errors = tokio::time::timeout(SOON, async {
        [
            hurried.log_in(&tenant).await.unwrap_err(),
            hurried.fence(&tenant).await.unwrap_err(),
            hurried.end_sessions(&tenant).await.unwrap_err(),
        ]
    });
    for error in errors.await.expect("the deadline holds") {
        assert!(
            matches!(error, TenantError::Deadline(DEADLINE)) && error.is_transient(),
            "{error:?}"
        );
        assert_discreet(&error);
    }
}
