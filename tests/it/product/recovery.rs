//! Databases that are restored from real backups, several at a time, to instants that are hard to meet.

use anyhow::{Context as _, Result, ensure};
use daap_tests::{
    cluster::{
        artifacts::{Image, image_name},
        progress::Progress,
        wait,
    },
    installation::{
        Installation,
        database::{Database, Wish},
    },
};
use serde_json::json;

use super::{PATIENCE, scribe::Door};

/// A tier that is small, backs up, and freezes.
pub const TIER: &str = "trial";

/// Makes a tier like `standard`, without a pooler and with another strategy.
pub async fn make_tier(installation: &Installation, name: &str, strategy: &str) -> Result<()> {
    let mut destruction = json!({"strategy": strategy});
    if strategy == "archive" {
        destruction["archive_retention"] = "30d".into();
    }
    let body = json!({
        "name": name,
        "description": "For trying out what happens to data.",
        "definition": {
            "postgres": {
                "major": 17, "image": image_name(Image::Postgresql),
                "parameters": {"max_connections": "40", "shared_buffers": "32MB"},
            },
            "compute": {"cpu": "100m", "memory": "256Mi"},
            "storage": {"size": "1Gi"},
            "backup": {
                "schedule": "0 3 * * *", "retention": "14d", "object_store": "backups", "archive_timeout": "1min",
            },
            "destruction": destruction,
        },
    });
    let answer = installation.platform.post("/tiers", &body).await?;
    answer.expect(http::StatusCode::CREATED)?;
    let tier = format!("daaptier/{name}");
    let accepted = ["wait", &tier, "--for=condition=Accepted", "--timeout=2m"];
    installation.kubectl.run(&accepted).await.map(drop)
}

/// A database of a tier, ready and with its first base backup.
pub async fn make_recoverable(
    installation: &Installation,
    name: &'static str,
    tier: &'static str,
    progress: Progress,
) -> Result<Database> {
    let wish = Wish {
        name,
        tier,
        purpose: "Numbers that must not be lost",
    };
    let mut database = Database::ask(installation, wish).await?;
    database.await_ready(installation, progress).await?;
    await_recoverable(installation, &mut database).await?;
    Ok(database)
}

/// Waits for the first base backup.
pub async fn await_recoverable(installation: &Installation, database: &mut Database) -> Result<()> {
    wait::until("the first base backup", PATIENCE, async || {
        database.look(installation).await?;
        let backup = &database.record["backup"];
        ensure!(backup["restorable_from"].is_string(), "{backup}");
        Ok(())
    })
    .await
}

/// A way into a database, on a port of this machine that nothing else has.
pub async fn open(installation: &Installation, database: &Database, port: u16) -> Result<Door> {
    let login = database.log_in_to_primary(installation, port).await?;
    let directory = installation.environment.directory.join(&login.name);
    std::fs::create_dir_all(&directory)?;
    Ok(Door {
        file: login.write(&directory)?,
        connection: format!("service={}", login.name),
    })
}

/// Three copies at once of a database that goes on living: between two commits less than a second apart, one moment
/// before everything is deleted, and of now, when nobody writes any more. Then one of what was frozen.
pub async fn restores_are_exact(installation: &Installation, progress: Progress) -> Result<()> {
    make_tier(installation, TIER, "freeze").await?;
    let mut source = make_recoverable(installation, "source", TIER, progress).await?;
    let door = open(installation, &source, 5501).await?;
    door.make_table().await?;
    // A restorable instant is told to the second.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    door.write(1).await?;
    let between = door.write(2).await?;
    door.write(3).await?;
    let before_disaster = door.now().await?;
    door.query("DELETE FROM numbers").await?;
    door.write(4).await?;
    let now = door.now().await?;

    let wanted = [
        ("between", between, "1,2", 5511),
        ("disaster", before_disaster, "1,2,3", 5512),
        ("idle", now, "4", 5513),
    ];
    let mut copies = Vec::new();
    for (name, target, rows, port) in wanted {
        let copy = source.restore(installation, name, Some(&target)).await?;
        copies.push((copy, rows, port));
    }
    for (copy, rows, port) in &mut copies {
        copy.await_ready(installation, progress).await?;
        holds(installation, copy, rows, *port).await?;
        // It stops taking room.
        copy.destroy(installation).await?;
    }

    source.destroy(installation).await?;
    source
        .await_status(installation, "frozen", progress)
        .await?;
    let mut copy = source.restore(installation, "thawed", None).await?;
    copy.await_ready(installation, progress).await?;
    holds(installation, &copy, "4", 5514).await?;
    // Each takes a base backup of its own at once.
    await_recoverable(installation, &mut copy).await?;
    let source_id = &source.record["id"];
    ensure!(
        copy.record["source_database_id"] == *source_id,
        "{}",
        copy.record
    );
    Ok(())
}

/// A copy lets its own password in, and has exactly these rows.
pub async fn holds(
    installation: &Installation,
    copy: &Database,
    rows: &str,
    port: u16,
) -> Result<()> {
    let door = open(installation, copy, port).await?;
    let found = door.rows().await.context("reading a copy")?;
    ensure!(found == rows, "it has {found} and not {rows}");
    Ok(())
}
