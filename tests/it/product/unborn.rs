//! Databases that never ran, because their image does not exist. Writes to the cluster as a platform team would.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
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

use super::{
    PATIENCE,
    deployments::set_controller,
    objects::{apply_object, copy_object},
};

/// The tier, and the database that gets its image in the end.
const LATER: &str = "later";
const MISSING_IMAGE: &str = "localhost/postgresql:17-later";

/// A tier whose image does not exist: a database of it says so, fails at its deadline, and recovers when the image appears.
/// Two others are destroyed before that, one while it still waits for its image and one when it had failed.
pub async fn a_missing_image_is_told_and_got_over(
    installation: &Installation,
    progress: Progress,
) -> Result<()> {
    make_tier(installation).await?;
    let mut waiting = ask(installation, "unborn").await?;
    await_problem(installation, &mut waiting, "provisioning").await?;
    waiting.destroy(installation).await?;
    waiting
        .await_status(installation, "deleted", progress)
        .await?;

    // Minutes are right for people and long for a test.
    set_controller(installation, "DAAP_PROVISIONING_DEADLINE=20s").await?;
    let asked = Instant::now();
    let (mut failed, mut later) =
        tokio::try_join!(ask(installation, "stillborn"), ask(installation, LATER))?;
    await_problem(installation, &mut later, "error").await?;
    ensure!(
        asked.elapsed() > Duration::from_secs(15),
        "an error before its deadline"
    );
    await_problem(installation, &mut failed, "error").await?;
    failed.destroy(installation).await?;
    failed
        .await_status(installation, "deleted", progress)
        .await?;

    make_image(installation)?;
    later.await_ready(installation, progress).await?;
    set_controller(installation, "DAAP_PROVISIONING_DEADLINE-").await
}

/// Makes a tier like `dev`, with an image that does not exist.
async fn make_tier(installation: &Installation) -> Result<()> {
    let mut tier = copy_object(installation, "daaptier/dev", LATER).await?;
    tier["spec"]["postgres"]["image"] = MISSING_IMAGE.into();
    apply_object(installation, &tier).await?;
    let tier = format!("daaptier/{LATER}");
    let accepted = ["wait", &tier, "--for=condition=Accepted", "--timeout=1m"];
    installation.kubectl.run(&accepted).await.map(drop)
}

async fn ask(installation: &Installation, name: &'static str) -> Result<Database> {
    let wish = Wish {
        name,
        tier: LATER,
        purpose: "Comes when its image does",
    };
    Database::ask(installation, wish).await
}

/// Waits until a database tells with this status that its image cannot be had.
async fn await_problem(
    installation: &Installation,
    database: &mut Database,
    status: &str,
) -> Result<()> {
    let what = format!("the database {} being {status}", database.name());
    wait::until(&what, PATIENCE, async || {
        database.look(installation).await?;
        let record = &database.record;
        ensure!(record["status"] == status, "{}", record["status"]);
        let problem = &record["problem"];
        ensure!(problem["reason"] == "ImagePull", "{problem}");
        Ok(())
    })
    .await
}

/// Gives an image that exists the name of the one that does not.
fn make_image(installation: &Installation) -> Result<()> {
    let mut tag = installation.site.cluster().node()?.command("ctr")?;
    let existing = image_name(Image::Postgresql);
    let tag = tag.args([
        "--namespace=k8s.io",
        "images",
        "tag",
        &existing,
        MISSING_IMAGE,
    ]);
    let output = tag.output()?;
    ensure!(
        output.status.success(),
        "ctr: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
