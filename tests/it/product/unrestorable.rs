//! A restore that cannot succeed, because the base backup it needs is damaged. Writes to the bucket of the node.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use daap_crds::{DaapDatabase, label};
use daap_tests::{
    cluster::{progress::Progress, wait},
    installation::{
        Installation,
        database::{Database, Wish},
    },
};
use http::{Method, StatusCode};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::{PATIENCE, deployments::set_controller, destruction::files, recovery::TIER};

const TEAM_NAMESPACE: &str = "daap-team-shop";
/// The quota of [`TIER`].
const QUOTA: &str = "/tiers/trial/quota";

/// A restore of a damaged base backup is an error that says so. It is charged to nothing from then on, lets go of its source,
/// leaves nothing behind in the cluster, and can be destroyed; what is in the source's archive stays as it is.
pub async fn a_restore_that_fails_is_told(
    installation: &Installation,
    progress: Progress,
) -> Result<()> {
    let wish = Wish {
        name: "source",
        tier: TIER,
        purpose: "Was frozen before",
    };
    let source = Database::ask(installation, wish).await?;
    ensure!(source.record["status"] == "frozen", "{}", source.record);
    let bucket = installation.site.cluster().node()?.bucket()?;
    let archive = bucket.join(TEAM_NAMESPACE).join(source.id()?);
    damage_base_backups(&archive)?;
    let before = files(&archive)?;
    let charged = count(installation).await?;

    // Half a day is right for terabytes and long for a test.
    set_controller(installation, "DAAP_RESTORE_DEADLINE=90s").await?;
    let mut copy = source.restore(installation, "spoiled", None).await?;
    wait::until("the source being marked as read", PATIENCE, async || {
        ensure!(readers(installation).await?.is_some());
        Ok(())
    })
    .await?;
    wait::until("the copy being charged for", PATIENCE, async || {
        let found = allocated(installation).await?;
        ensure!(found != charged, "{found}");
        Ok(())
    })
    .await?;
    copy.await_status(installation, "error", progress).await?;
    let problem = &copy.record["problem"];
    ensure!(problem["reason"] == "RestoreFailed", "{problem}");
    wait::until("the source and its quota let go", PATIENCE, async || {
        let readers = readers(installation).await?;
        ensure!(readers.is_none(), "{readers:?}");
        let found = allocated(installation).await?;
        ensure!(found == charged, "{found}");
        Ok(())
    })
    .await?;
    let selector = "--selector=cnpg.io/cluster=spoiled";
    let left = [
        "get",
        "clusters.postgresql.cnpg.io,pods,persistentvolumeclaims",
        "--namespace=daap-team-shop",
        selector,
        "--output=name",
    ];
    wait::until("nothing being left of it", PATIENCE, async || {
        let left = installation.kubectl.run(&left).await?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
    .await?;

    copy.destroy(installation).await?;
    copy.await_status(installation, "deleted", progress).await?;
    ensure!(
        files(&archive)? == before,
        "the archive of its source changed"
    );
    set_controller(installation, "DAAP_RESTORE_DEADLINE-").await
}

/// Replaces the data of every base backup below a directory.
fn damage_base_backups(archive: &Path) -> Result<()> {
    let data: Vec<_> = files(archive)?
        .into_iter()
        .filter(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("data.tar")
        })
        .collect();
    ensure!(!data.is_empty(), "no base backup in {}", archive.display());
    for file in data {
        std::fs::write(&file, "no tar").with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Gives the tier a quota that is not in the way, and returns what is charged to it.
async fn count(installation: &Installation) -> Result<Value> {
    let body = json!({"max_databases": 50});
    let set = installation
        .platform
        .send(Method::PUT, QUOTA, &body)
        .await?;
    set.expect(StatusCode::OK)?;
    wait::until("databases being counted", PATIENCE, async || {
        allocated(installation).await
    })
    .await
}

/// What is charged to the quota of the tier.
async fn allocated(installation: &Installation) -> Result<Value> {
    let quota = installation.platform.get(QUOTA).await?;
    let allocated = quota.expect(StatusCode::OK)?["allocated"].clone();
    ensure!(allocated.is_object(), "not counted yet");
    Ok(allocated)
}

/// Who reads the backups of the source, as far as it is marked.
async fn readers(installation: &Installation) -> Result<Option<String>> {
    let databases: Api<DaapDatabase> =
        Api::namespaced(installation.site.client().clone(), TEAM_NAMESPACE);
    let source = databases.get("source").await?;
    Ok(source.annotations().get(label::READERS).cloned())
}
