//! The metadata database is lost, and restored by the steps of `docs/operations.md`, while databases of tenants go on.

use anyhow::{Context as _, Result, ensure};
use daap_crds::cnpg::ObjectStore;
use daap_tests::{
    cluster::{progress::Progress, scratch::Scratch, wait},
    installation::{
        Installation, SYSTEM_NAMESPACE,
        database::{Database, Wish},
    },
    rest::RestClient,
};
use http::StatusCode;
use jiff::Timestamp;
use kube::Api;
use serde_json::{Value, json};

use super::{PATIENCE, deployments::restart, recovery::open, scribe::Scribe};
use crate::manifests::write_restoring_overlay;

const NAMESPACE: &str = "--namespace=daap-system";
const CLUSTER: &str = "cluster.postgresql.cnpg.io/daap-metadata";

/// Restored to an instant, the metadata database has the keys and the audit log of then. What it does not know any more is
/// told: the log is not the one that was anchored, and the record is had again from the cluster. `bystander` serves all
/// the time.
pub async fn keys_and_audit_log_come_back(
    installation: &Installation,
    bystander: &Database,
    progress: Progress,
) -> Result<()> {
    let door = open(installation, bystander, 5561).await?;
    door.make_table().await?;
    let scribe = Scribe::start(door.clone(), 1);
    await_base_backup(installation, "daap-metadata-1").await?;

    let kept = make_key(installation, "kept").await?;
    ensure!(kept.get("/me").await?.status == StatusCode::OK);
    let of_then = audit_log(installation, "").await?;
    let target = Timestamp::now();
    let lost = make_key(installation, "lost").await?;
    ensure!(lost.get("/me").await?.status == StatusCode::OK);
    let wish = Wish {
        name: "afterwards",
        tier: "dev",
        purpose: "Made after the instant that is restored",
    };
    let mut afterwards = Database::ask(installation, wish).await?;
    await_anchor(installation).await?;
    archive_everything(installation).await?;

    progress.step("  removal", remove(installation)).await?;
    progress
        .step("  restore", restore(installation, target))
        .await?;

    wait::until("the key of then", PATIENCE / 5, async || {
        let answer = kept.get("/me").await?;
        ensure!(answer.status == StatusCode::OK, "{answer:?}");
        Ok(())
    })
    .await?;
    let forgotten = lost.get("/me").await?.status;
    ensure!(forgotten == StatusCode::UNAUTHORIZED, "{forgotten}");
    let until_then = audit_log(installation, &format!("&to={target}")).await?;
    ensure!(
        of_then
            .iter()
            .take(20)
            .all(|entry| is_in(entry, &until_then)),
        "rows of the audit log are gone: {:?} of {:?}",
        of_then.first(),
        until_then.first()
    );
    accept_audit_log(installation).await?;

    let rebuild = [
        "exec",
        NAMESPACE,
        "deployment/daap-facade",
        "--",
        "/usr/local/bin/daap-facade",
        "rebuild",
    ];
    let said = installation.kubectl.run(&rebuild).await?;
    ensure!(
        said == "The record of the cluster is built anew.\n",
        "{said}"
    );
    afterwards.look(installation).await?;
    afterwards.await_ready(installation, progress).await?;

    let acknowledged = scribe.stop().await?;
    let every_one = (1..).take(acknowledged.len());
    ensure!(
        acknowledged.len() > 5 && every_one.eq(acknowledged),
        "a tenant noticed"
    );
    Ok(())
}

/// Whether a row of the audit log is among others. The oldest of a list may have left it meanwhile.
fn is_in(entry: &Value, others: &[Value]) -> bool {
    others.iter().any(|other| other["id"] == entry["id"])
}

/// A client with a key that was just made.
async fn make_key(installation: &Installation, name: &str) -> Result<RestClient> {
    let body = json!({"name": name, "team": "shop", "role": "product-team"});
    let answer = installation.platform.post("/api-keys", &body).await?;
    let made = answer.expect(StatusCode::CREATED)?;
    let key = made["key"].as_str().context("no key")?;
    Ok(installation.team.with_key(key))
}

/// The newest rows of the audit log, with a filter such as `&team=shop`.
async fn audit_log(installation: &Installation, filter: &str) -> Result<Vec<Value>> {
    let path = format!("/audit-log?limit=50{filter}");
    let list = installation.platform.get(&path).await?;
    let list = list.expect(StatusCode::OK)?;
    list["items"].as_array().cloned().context("no items")
}

/// Returns when what is in the audit log now is anchored outside of the database.
async fn await_anchor(installation: &Installation) -> Result<()> {
    let now = verify(installation).await?;
    let rows = now["verified_rows"]
        .as_i64()
        .zip(now["unsealed_rows"].as_i64());
    let (verified, unsealed) = rows.context("no numbers")?;
    wait::until("the anchor of the audit log", PATIENCE, async || {
        let found = verify(installation).await?;
        let anchored = found["anchored_sequence"].as_i64().context("no anchor")?;
        ensure!(
            found["intact"] == true && anchored >= verified + unsealed,
            "{found}"
        );
        Ok(())
    })
    .await
}

async fn verify(installation: &Installation) -> Result<Value> {
    let answer = installation.platform.get("/audit-log/verify").await?;
    answer.expect(StatusCode::OK)
}

/// The end of the log was lost, which the anchor tells, until somebody accepts that.
async fn accept_audit_log(installation: &Installation) -> Result<()> {
    let found = verify(installation).await?;
    ensure!(found["intact"] == false, "{found}");
    let accept = ["delete", NAMESPACE, "configmap/daap-audit-anchor"];
    installation.kubectl.run(&accept).await?;
    await_anchor(installation).await
}

async fn await_base_backup(installation: &Installation, server_name: &str) -> Result<()> {
    let api: Api<ObjectStore> =
        Api::namespaced(installation.site.client().clone(), SYSTEM_NAMESPACE);
    wait::until(
        "a base backup of the metadata database",
        PATIENCE,
        async || {
            let status = api.get("daap-metadata").await?.status.unwrap_or_default();
            let window = status.server_recovery_window.get(server_name);
            let window = window.context("nothing archived")?;
            ensure!(window.first_recoverability_point.is_some());
            Ok(())
        },
    )
    .await
}

/// Returns when what was committed until now is in the archive.
async fn archive_everything(installation: &Installation) -> Result<()> {
    let segment = query(installation, "SELECT pg_walfile_name(pg_switch_wal())").await?;
    let archived = format!("SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver");
    wait::until("the last segment in the archive", PATIENCE, async || {
        ensure!(query(installation, &archived).await? == "t");
        Ok(())
    })
    .await
}

async fn query(installation: &Installation, statement: &str) -> Result<String> {
    let command = format!("--command={statement}");
    let query = [
        "exec",
        NAMESPACE,
        "daap-metadata-1",
        "--container=postgres",
        "--",
        "psql",
        "--username=postgres",
        "--no-align",
        "--tuples-only",
        &command,
    ];
    let answer = installation.kubectl.run(&query).await?;
    Ok(answer.trim().to_owned())
}

/// Deletes the Cluster with its volumes, which is refused at first.
async fn remove(installation: &Installation) -> Result<()> {
    let kubectl = &installation.kubectl;
    let delete = ["delete", NAMESPACE, CLUSTER];
    super::refused(kubectl.run(&delete).await, "daap.dev/allow-delete")?;
    let uid = [
        "get",
        NAMESPACE,
        CLUSTER,
        "--output=jsonpath={.metadata.uid}",
    ];
    let release = format!("daap.dev/allow-delete={}", kubectl.run(&uid).await?);
    kubectl
        .run(&["annotate", NAMESPACE, CLUSTER, &release])
        .await?;
    kubectl.run(&delete).await?;
    let volumes = [
        "wait",
        NAMESPACE,
        "--for=delete",
        "--timeout=5m",
        "persistentvolumeclaim",
        "--selector=cnpg.io/cluster=daap-metadata",
    ];
    kubectl.run(&volumes).await.map(drop)
}

/// Applies the overlay with the component that restores, and has the facade take up the new password.
async fn restore(installation: &Installation, target: Timestamp) -> Result<()> {
    let overlay = Scratch::new("restore")?;
    let patch = json!([{
        "op": "add",
        "path": "/spec/bootstrap/recovery/recoveryTarget",
        "value": {"targetTime": target},
    }]);
    let patch = json!({
        "target": {"kind": "Cluster", "name": "daap-metadata"},
        "patch": patch.to_string(),
    });
    write_restoring_overlay(overlay.path(), &[patch])?;
    let kubectl = &installation.kubectl;
    kubectl.apply(overlay.path()).await?;
    let ready = [
        "wait",
        NAMESPACE,
        "--for=condition=Ready",
        "--timeout=10m",
        CLUSTER,
    ];
    kubectl.run(&ready).await?;
    restart(installation, SYSTEM_NAMESPACE, "daap-facade").await
}
