//! PostgreSQL for tests: databases that are empty, and a server that comes back after a crash.

use std::process::Command;

use daap_tests::cluster::postgres::Postgres;

/// The answer to a query, or the error's text.
fn query(url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .args([url, "--no-psqlrc", "--tuples-only", "--no-align", "-c", sql])
        .output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

#[tokio::test]
async fn databases_are_fresh_and_survive_a_crash() {
    let mut postgres = Postgres::start().await.unwrap();
    let one = postgres.fresh_database().await.unwrap();
    let two = postgres.fresh_database().await.unwrap();
    query(&one, "CREATE TABLE kept AS SELECT 1").unwrap();
    assert!(
        query(&two, "SELECT * FROM kept").is_err(),
        "another database"
    );

    postgres.stop();
    assert!(query(&one, "SELECT 1").is_err(), "nobody answers");
    postgres.resume().await.unwrap();
    assert_eq!(query(&one, "SELECT * FROM kept").unwrap(), "1");
}
