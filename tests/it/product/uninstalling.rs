//! DAAP is uninstalled by the commands of `docs/operations.md`, as they stand there. Takes everything away.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use daap_tests::{
    cluster::wait,
    installation::{Installation, kubectl::Kubectl},
};
use tokio::process::Command;

use super::{PATIENCE, destruction::files};

const MANUAL: &str = include_str!("../../../docs/operations.md");

/// After the commands of the manual nothing of DAAP is in the cluster, nothing is in the way of the namespaces of teams, and
/// of all backups those of the metadata database are left.
pub async fn nothing_is_left(installation: &Installation) -> Result<()> {
    let kubectl = &installation.kubectl;
    for script in scripts("## Uninstalling")? {
        run(kubectl, &script).await.with_context(|| script)?;
    }
    let kinds = [
        "get",
        "customresourcedefinitions,validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings",
        "--output=name",
    ];
    let found = kubectl.run(&kinds).await?;
    let ours: Vec<_> = found.lines().filter(|name| name.contains("daap")).collect();
    ensure!(ours.is_empty(), "left: {ours:?}");

    let namespaces = kubectl.run(&["get", "namespaces", "--output=name"]).await?;
    let ours = namespaces.lines().filter(|name| name.contains("daap"));
    for namespace in ours {
        ensure!(
            namespace.starts_with("namespace/daap-team-"),
            "left: {namespace}"
        );
        let gone = ["delete", namespace, "--timeout=2m"];
        kubectl.run(&gone).await?;
    }

    let bucket = installation.site.cluster().node()?.bucket()?;
    wait::until(
        "the last marker of a probe being gone",
        PATIENCE,
        async || {
            let found = files(&bucket)?;
            let own = bucket.join("daap-system");
            // Where the S3 server keeps unfinished uploads; one is left by another promise.
            let uploads = bucket.join(".sgwtmp");
            let left: Vec<_> = found
                .iter()
                .filter(|file| !file.starts_with(&own) && !file.starts_with(&uploads))
                .collect();
            ensure!(left.is_empty(), "left: {left:?}");
            ensure!(
                !found.is_empty(),
                "the backups of the metadata database are gone"
            );
            Ok(())
        },
    )
    .await
}

/// The commands of a section of the manual, one block each.
fn scripts(heading: &str) -> Result<Vec<String>> {
    let (_, section) = MANUAL.split_once(heading).context("no such section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut blocks = section.split("```");
    let mut scripts = Vec::new();
    while let (Some(_), Some(block)) = (blocks.next(), blocks.next()) {
        let Some(commands) = block.strip_prefix("console\n") else {
            bail!("no console: {block}");
        };
        let lines = commands.lines().map(|line| line.trim_start());
        let lines: Vec<_> = lines
            .map(|line| line.strip_prefix("$ ").unwrap_or(line))
            .collect();
        scripts.push(lines.join("\n"));
    }
    ensure!(!scripts.is_empty(), "no commands below {heading}");
    Ok(scripts)
}

/// Runs commands as a person would who has kubectl and the checkout at hand, with the overlay of the node for theirs.
async fn run(kubectl: &Kubectl, script: &str) -> Result<()> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c"])
        .arg(script.replace("overlays/yours", "overlays/node"))
        .current_dir(checkout)
        .env("KUBECONFIG", kubectl.kubeconfig())
        .env("PATH", kubectl.search_path()?)
        .kill_on_drop(true);
    let output = command.output().await.context("running bash")?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
