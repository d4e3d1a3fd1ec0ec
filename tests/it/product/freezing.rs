//! Databases that are frozen and opened again, by everything that could be in the way. Reads the cluster, writes over REST.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use daap_crds::{DaapDatabase, cnpg::Cluster};
use daap_tests::{
    cluster::{progress::Progress, wait},
    installation::{Installation, SYSTEM_NAMESPACE, database::Database},
};
use http::StatusCode;
use kube::Api;
use serde_json::json;
use tokio::process::{Child, Command};

use super::{
    PATIENCE,
    backups::Fragile,
    deployments::restart,
    recovery::{holds, open},
    scribe::Door,
};

const TEAM_NAMESPACE: &str = "daap-team-shop";
const NAMESPACE: &str = "--namespace=daap-team-shop";

/// Frozen is closed at every door, stays closed when everything restarts, and opens as it was.
pub async fn frozen_is_closed_and_whole(
    installation: &Installation,
    database: &mut Database,
    progress: Progress,
) -> Result<()> {
    let door = open(installation, database, 5521).await?;
    door.make_table().await?;
    door.write(1).await?;
    let pooler = pooler_door(installation, database).await?;
    pooler.query("SELECT 1").await?;
    let before = database.secret(installation).await?;
    let checksum = door.query(CHECKSUM).await?;
    let session = hold_session(&door).await?;

    database.destroy(installation).await?;
    database
        .await_status(installation, "frozen", progress)
        .await?;
    await_ended(session).await?;
    for door in [&door, &pooler] {
        ensure!(
            door.query("SELECT 1").await.is_err(),
            "a frozen database lets in"
        );
    }

    restart(installation, SYSTEM_NAMESPACE, "daap-controller").await?;
    restart(installation, "cnpg-system", "cnpg-controller-manager").await?;
    let name = database.name();
    let pods = format!("--selector=cnpg.io/cluster={name}");
    wait::until("no pod, with everybody back", PATIENCE, async || {
        let pods = ["get", "pods", NAMESPACE, &pods, "--output=name"];
        let pods = installation.kubectl.run(&pods).await?;
        ensure!(pods.is_empty(), "{pods}");
        database.look(installation).await?;
        ensure!(
            database.record["status"] == "frozen",
            "{}",
            database.record["status"]
        );
        Ok(())
    })
    .await?;

    unfreeze(installation, database, progress).await?;
    ensure!(
        database.secret(installation).await? == before,
        "other credentials"
    );
    let door = open(installation, database, 5521).await?;
    ensure!(door.query(CHECKSUM).await? == checksum, "other data");
    pooler.query("SELECT 1").await?;
    // Also what was written before is still written down, and more can be.
    door.write(2).await.map(drop)
}

/// Tells apart what is in the table, row by row with its place on disk.
const CHECKSUM: &str =
    "SELECT md5(string_agg(ctid::text || xmin::text || n::text, ',' ORDER BY n)) FROM numbers";

async fn pooler_door(installation: &Installation, database: &Database) -> Result<Door> {
    let host = database.record["connection"]["pooler_host"]
        .as_str()
        .context("no pooler")?;
    let login = database.log_in(installation, host, 5522).await?;
    let directory = installation.environment.directory.join("pooler");
    std::fs::create_dir_all(&directory)?;
    Ok(Door {
        file: login.write(&directory)?,
        connection: format!("service={}", login.name),
    })
}

/// A session in the middle of a transaction.
async fn hold_session(door: &Door) -> Result<Child> {
    let session = sleep_in(door)?;
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND pid <> pg_backend_pid()";
    wait::until("a session in a transaction", PATIENCE, async || {
        ensure!(door.query(sleeping).await? == "1");
        Ok(())
    })
    .await?;
    Ok(session)
}

/// Begins a session that sleeps in a transaction.
fn sleep_in(door: &Door) -> Result<Child> {
    let mut command = Command::new("psql");
    command
        .env("PGSERVICEFILE", &door.file)
        .args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", &door.connection])
        .args(["--command", "BEGIN", "--command", "SELECT pg_sleep(3600)"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().context("running psql")
}

async fn unfreeze(
    installation: &Installation,
    database: &mut Database,
    progress: Progress,
) -> Result<()> {
    let path = format!("/databases/{}/unfreeze", database.id()?);
    let answer = installation.team.post(&path, &json!({})).await?;
    answer.expect(StatusCode::ACCEPTED)?;
    database.await_status(installation, "ready", progress).await
}

/// A freeze waits neither for an application that holds every connection nor for a broken archive. What was written since
/// the last time that the archive was complete is in no backup then: an archive of the frozen database finds that out,
/// and has it archived before the Cluster goes.
pub async fn an_earlier_fence_does_not_count(
    installation: &Installation,
    archive: &Fragile<'_>,
    database: &mut Database,
    progress: Progress,
) -> Result<()> {
    let door = open(installation, database, 5523).await?;
    door.make_table().await?;
    door.write(1).await?;
    let sessions = hold_every_connection(&door).await?;
    database.destroy(installation).await?;
    database
        .await_status(installation, "frozen", progress)
        .await?;
    for session in sessions {
        await_ended(session).await?;
    }
    ensure!(
        is_fenced(installation, database).await?,
        "nothing was in its way"
    );

    unfreeze(installation, database, progress).await?;
    let door = open(installation, database, 5523).await?;
    door.write(2).await?;
    archive.set_secret_key("not the key").await?;
    database.destroy(installation).await?;
    database
        .await_status(installation, "frozen", progress)
        .await?;
    ensure!(
        !is_fenced(installation, database).await?,
        "its archive is broken"
    );

    let path = format!("/databases/{}/destroy", database.id()?);
    let wish = json!({"strategy": "archive", "reason": "nobody wants it back soon"});
    let answer = installation.platform.post(&path, &wish).await?;
    answer.expect(StatusCode::ACCEPTED)?;
    wait::until("the archive being waited for", PATIENCE, async || {
        database.look(installation).await?;
        let operation = &database.record["operation"];
        ensure!(
            operation["kind"] == "archive" && operation["step"] == "AwaitFence",
            "{operation}"
        );
        Ok(())
    })
    .await?;
    let clusters: Api<Cluster> =
        Api::namespaced(installation.site.client().clone(), TEAM_NAMESPACE);
    let name = database.name();
    ensure!(
        clusters.get_opt(name).await?.is_some(),
        "its data went while they were in no backup"
    );
    archive.repair().await?;
    database
        .await_status(installation, "archived", progress)
        .await?;
    ensure!(
        clusters.get_opt(name).await?.is_none(),
        "an archived database has a Cluster"
    );

    let mut copy = database.restore(installation, "mended", None).await?;
    copy.await_ready(installation, progress).await?;
    holds(installation, &copy, "1,2", 5524).await
}

/// Whether all that was committed before the last freeze is known to be in the archive.
async fn is_fenced(installation: &Installation, database: &Database) -> Result<bool> {
    let databases: Api<DaapDatabase> =
        Api::namespaced(installation.site.client().clone(), TEAM_NAMESPACE);
    let status = databases.get(database.name()).await?.status;
    let status = status.context("no status")?;
    let incarnation = status.incarnations.last().context("no incarnation")?;
    Ok(incarnation.fence.is_some())
}

/// Sessions of an application that leave no connection to anybody like it.
async fn hold_every_connection(door: &Door) -> Result<Vec<Child>> {
    let mut sessions = Vec::new();
    wait::until("no connection being left", PATIENCE, async || {
        let Err(refusal) = door.query("SELECT 1").await else {
            sessions.push(sleep_in(door)?);
            bail!("{} connections are not all", sessions.len());
        };
        ensure!(
            format!("{refusal:#}").contains("connection slots"),
            "{refusal:#}"
        );
        Ok(())
    })
    .await?;
    Ok(sessions)
}

async fn await_ended(mut session: Child) -> Result<()> {
    let ended = tokio::time::timeout(PATIENCE, session.wait()).await;
    ensure!(
        !ended.context("a session lives on")??.success(),
        "a session was not ended"
    );
    Ok(())
}
