//! Fences: the segment they name has their commit and everything before it, and goes to the archive.

use std::process::Command;

use anyhow::ensure;
use daap_controller::tenant_sql::Tenants as _;
use daap_crds::database::Fence;
use jiff::Timestamp;

use super::*;

/// A commit as it is in a segment of write-ahead log.
#[derive(Debug)]
struct Commit {
    transaction: u64,
    time: Timestamp,
}

/// The commits in a segment.
fn commits(database: &TenantPostgres, segment: &str) -> Vec<Commit> {
    let mut command = Command::new(database.postgres.programs().join("pg_waldump"));
    command.args(["--rmgr=Transaction", "--path"]);
    command.arg(database.postgres.data().join("pg_wal"));
    // Whatever is wrong with the segment is seen in what is missing: it may begin with the end of a record.
    let output = command.arg(segment).env("TZ", "UTC").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.contains("desc: COMMIT "));
    lines.map(commit).collect()
}

/// Reads a line such as `… tx: 735, … desc: COMMIT 2026-11-24 12:00:00.123456 UTC; …`.
fn commit(line: &str) -> Commit {
    let after = |word: &str| line.split_once(word).unwrap().1;
    let transaction = after("tx:").trim_start().split(',').next().unwrap();
    let time = after("COMMIT ").split(" UTC").next().unwrap();
    Commit {
        transaction: transaction.parse().unwrap(),
        time: format!("{}Z", time.replace(' ', "T")).parse().unwrap(),
    }
}

/// Waits until the server has given a segment to the archive.
async fn await_archived(database: &TenantPostgres, segment: &str) {
    let status = database.postgres.data().join("pg_wal/archive_status");
    wait::until("the segment being archived", SOON, async || {
        let done = status.join(format!("{segment}.done"));
        ensure!(done.exists(), "{segment} is not");
        Ok(())
    })
    .await
    .unwrap();
}

/// Makes a row, and returns the transaction that did.
async fn insert(session: &mut PgConnection) -> u64 {
    let transaction: String =
        sqlx::query_scalar("INSERT INTO entry DEFAULT VALUES RETURNING pg_current_xact_id()::text")
            .fetch_one(session)
            .await
            .unwrap();
    transaction.parse().unwrap()
}

async fn create_table(session: &mut PgConnection) {
    sqlx::query("CREATE TABLE entry (id serial PRIMARY KEY)")
        .execute(session)
        .await
        .unwrap();
}

/// The segment has a commit after `last` and after the fence's time, and goes to the archive.
async fn assert_closes(database: &TenantPostgres, fence: &Fence, last: u64) {
    let commits = commits(database, &fence.segment);
    let own = |commit: &Commit| commit.transaction > last && commit.time >= fence.time.0;
    assert!(
        commits.iter().any(own),
        "{fence:?} has no commit after {last}: {commits:?}"
    );
    await_archived(database, &fence.segment).await;
}

async fn now(session: &mut PgConnection) -> Timestamp {
    let text: String = sqlx::query_scalar(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    )
    .fetch_one(session)
    .await
    .unwrap();
    text.parse().unwrap()
}

#[tokio::test]
async fn a_fence_comes_after_what_was_acknowledged() {
    let database = TenantPostgres::start().await.unwrap();
    let tenant = database.tenant();
    let mut session = application(&database).await;
    create_table(&mut session).await;
    for _ in 0..3 {
        let last = insert(&mut session).await;
        let before = now(&mut session).await;
        let fence = tenants().fence(&tenant).await.unwrap();
        assert!(before <= fence.time.0, "{fence:?} before {before}");
        assert_closes(&database, &fence, last).await;
    }
}

#[tokio::test]
async fn an_idle_database_gets_a_fence_each_time() {
    let database = TenantPostgres::start().await.unwrap();
    let mut segments = Vec::new();
    for _ in 0..3 {
        let next = "pg_snapshot_xmax(pg_current_snapshot())";
        let last = number(&database, next).await - 1;
        let fence = tenants().fence(&database.tenant()).await.unwrap();
        assert_closes(&database, &fence, last).await;
        segments.push(fence.segment);
    }
    assert!(
        segments.is_sorted_by(|one, next| one < next),
        "{segments:?}"
    );
}

/// While others write, everything that was acknowledged before a fence was asked for is in its segment or before it.
#[tokio::test]
async fn a_fence_holds_under_writers() {
    let database = TenantPostgres::start().await.unwrap();
    let tenant = database.tenant();
    create_table(&mut application(&database).await).await;
    let (acknowledged, mut latest) = tokio::sync::watch::channel((0, String::new()));
    let mut writer = application(&database).await;
    let writer = tokio::spawn(async move {
        while !acknowledged.is_closed() {
            let transaction = insert(&mut writer).await;
            let segment = "SELECT pg_walfile_name(pg_current_wal_flush_lsn() - 1)";
            let segment = sqlx::query_scalar(segment).fetch_one(&mut writer).await;
            acknowledged.send_replace((transaction, segment.unwrap()));
        }
    });
    latest.changed().await.unwrap();
    for _ in 0..10 {
        let (last, segment) = latest.borrow().clone();
        let fence = tenants().fence(&tenant).await.unwrap();
        assert!(segment <= fence.segment, "{segment} is after {fence:?}");
        assert_closes(&database, &fence, last).await;
    }
    drop(latest);
    writer.await.unwrap();
}

/// How much of the write-ahead log a fence's commit takes.
const COMMIT_SIZE: u64 = 40;

/// The commit of the fence may be the last thing that fits in a segment. Then the next one is empty and never closed, and
/// the fence must not name it.
#[tokio::test]
async fn a_fence_that_fills_its_segment_names_that_one() {
    let database = TenantPostgres::start().await.unwrap();
    let tenant = database.tenant();
    // The server itself writes now and then, and may come in between: then the scene is set again.
    for _ in 0..20 {
        fill_segment_up_to(&database, COMMIT_SIZE).await;
        let before = position(&database).await;
        let fence = tenants().fence(&tenant).await.unwrap();
        await_archived(&database, &fence.segment).await;
        let commits = commits(&database, &fence.segment);
        assert!(!commits.is_empty(), "{fence:?} has no commit");
        if position(&database).await == before + COMMIT_SIZE + SEGMENT_HEAD {
            return;
        }
    }
    panic!("the scene could not be set");
}

/// The size of a segment, and of what its first and its other pages begin with.
const SEGMENT: u64 = 16 << 20;
const PAGE: u64 = 8192;
const SEGMENT_HEAD: u64 = 40;

async fn number(database: &TenantPostgres, expression: &str) -> u64 {
    let statement = format!("SELECT ({expression})::text");
    let text = database.administrate(&statement).await.unwrap();
    text.parse().unwrap()
}

/// Where the next record goes.
async fn position(database: &TenantPostgres) -> u64 {
    number(database, "pg_current_wal_insert_lsn() - '0/0'").await
}

/// Writes a message with so much text to the write-ahead log.
async fn emit(database: &TenantPostgres, length: u64) {
    let message =
        format!("pg_logical_emit_message(false, 'filler', repeat('.', {length})) - '0/0'");
    number(database, &message).await;
}

/// Writes until so many bytes are left in the segment.
async fn fill_segment_up_to(database: &TenantPostgres, left: u64) {
    loop {
        let rest = SEGMENT - position(database).await % SEGMENT;
        if rest >= 3 * PAGE {
            emit(database, (rest - 2 * PAGE) * 9 / 10).await;
        } else if rest > PAGE - 1000 {
            emit(database, 1000).await;
        } else if rest > left + 2000 {
            // Within the last page nothing is between records, so what a message takes beside its text can be measured.
            let before = position(database).await;
            emit(database, 1000).await;
            let around = position(database).await - before - 1000;
            let rest = SEGMENT - position(database).await % SEGMENT;
            emit(database, rest - left - around).await;
            return;
        } else {
            emit(database, 2 * PAGE).await;
        }
    }
}

/// A replica is where the primary should be for a moment while it changes.
#[tokio::test]
async fn a_replica_gives_no_fence() {
    let mut database = TenantPostgres::start().await.unwrap();
    database.postgres.stop();
    database
        .postgres
        .write_private("standby.signal", "")
        .unwrap();
    database.postgres.resume().await.unwrap();
    let error = tenants().fence(&database.tenant()).await.unwrap_err();
    assert!(
        matches!(error, TenantError::Failover) && error.is_transient(),
        "{error:?}"
    );
}
