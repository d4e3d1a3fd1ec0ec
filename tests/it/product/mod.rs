//! The whole product on a real node: what `make up` makes, looked at from outside.
//!
//! One test, because one node costs more than everything that is asked of it. Each function below is one promise.

mod backups;
mod deployments;
mod destruction;
mod freezing;
mod metadata;
mod objects;
mod recovery;
mod scribe;
mod unborn;
mod uninstalling;
mod unrestorable;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use daap_crds::DaapDatabase;
use daap_tests::{
    cluster::{kubeconfig, progress::Progress, provider::Provider, wait},
    installation::{
        self, Installation, SYSTEM_NAMESPACE,
        database::{Database, FIRST, Wish},
        environment::Environment,
        psql,
    },
};
use kube::Api;

/// A cluster of its own, so that it runs beside one that a person uses.
const CLUSTER: &str = "daap-product-test";

/// How long something may take that takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn the_product_keeps_its_promises() {
    kubeconfig::install_crypto_provider();
    let directory = tempfile::tempdir().unwrap();
    // What a killed run left.
    installation::down(Provider::Node, CLUSTER, directory.path())
        .await
        .unwrap();
    let outcome = Box::pin(run(directory.path())).await;
    let down = installation::down(Provider::Node, CLUSTER, directory.path()).await;
    outcome.unwrap();
    down.unwrap();
    assert!(!directory.path().exists());
}

async fn run(directory: &Path) -> Result<()> {
    let progress = Progress::new();
    installation::up_with_database(Provider::Node, CLUSTER, directory, progress).await?;
    let before = std::fs::read_to_string(directory.join(Environment::FILE))?;
    let again = installation::up(Provider::Node, CLUSTER, directory, progress).await?;
    let after = std::fs::read_to_string(again.environment.file())?;
    ensure!(before == after, "a second run made other keys");

    let first = Database::ask(&again, FIRST).await?;
    let pooled = Wish {
        name: "accounts",
        tier: "standard",
        purpose: "Who owes what",
    };
    let mut pooled = Database::ask(&again, pooled).await?;
    let replicated = Wish {
        name: "ledger",
        tier: "critical",
        purpose: "Every movement of money",
    };
    let mut replicated = Database::ask(&again, replicated).await?;
    progress
        .step(
            "missing image",
            unborn::a_missing_image_is_told_and_got_over(&again, progress),
        )
        .await?;
    progress
        .step("kubectl alone", kubectl_alone_is_enough(&again))
        .await?;
    progress
        .step("encryption", connections_are_encrypted(&again, &first))
        .await?;
    progress
        .step("audit", statements_are_audited(&again, &first))
        .await?;
    progress
        .step("tiers", product_teams_see_no_sizes(&again))
        .await?;
    pooled.await_ready(&again, progress).await?;
    progress
        .step("pooler", poolers_are_encrypted(&again, &pooled))
        .await?;
    progress
        .step("backup", the_first_backup_succeeds(&again, &mut pooled))
        .await?;
    progress
        .step(
            "backup on demand",
            backups::a_backup_is_made_on_demand(&again, &mut pooled),
        )
        .await?;
    replicated.await_ready(&again, progress).await?;
    // In an order in which two processors are enough for what runs at a time.
    progress
        .step(
            "failover",
            destruction::a_killed_primary_loses_nothing(&again, &mut replicated),
        )
        .await?;
    replicated.destroy(&again).await?;
    progress
        .step(
            "freeze",
            freezing::frozen_is_closed_and_whole(&again, &mut pooled, progress),
        )
        .await?;
    replicated
        .await_status(&again, "archived", progress)
        .await?;
    pooled.destroy(&again).await?;
    pooled.await_status(&again, "frozen", progress).await?;
    let ((archive, mut fragile), ()) = tokio::try_join!(
        progress.step(
            "broken archives",
            backups::a_broken_archive_is_told_and_repaired(&again),
        ),
        progress.step("restores", recovery::restores_are_exact(&again, progress)),
    )?;
    progress
        .step(
            "hard delete",
            Box::pin(destruction::a_hard_delete_removes_one_prefix(
                &again, progress,
            )),
        )
        .await?;
    tokio::try_join!(
        progress.step(
            "archive",
            destruction::an_archive_keeps_every_commit(&again, progress),
        ),
        progress.step(
            "earlier fence",
            freezing::an_earlier_fence_does_not_count(&again, &archive, &mut fragile, progress),
        ),
    )?;
    progress
        .step(
            "failed restore",
            unrestorable::a_restore_that_fails_is_told(&again, progress),
        )
        .await?;
    progress
        .step(
            "metadata database",
            metadata::keys_and_audit_log_come_back(&again, &first, progress),
        )
        .await?;
    progress
        .step("permissions", permissions_are_enough(&again))
        .await?;
    progress
        .step("uninstalling", uninstalling::nothing_is_left(&again))
        .await
}

/// Nothing that DAAP wanted to do was refused by the roles of the manifests.
async fn permissions_are_enough(installation: &Installation) -> Result<()> {
    let namespace = format!("--namespace={SYSTEM_NAMESPACE}");
    for selector in ["daap-controller", "daap-facade"] {
        let selector = format!("--selector=app.kubernetes.io/name={selector}");
        let log = ["logs", &namespace, &selector, "--tail=-1"];
        let log = installation.kubectl.run(&log).await?;
        ensure!(!log.is_empty(), "no log of {selector}");
        let refusal = log.lines().find(|line| line.contains("is forbidden"));
        ensure!(refusal.is_none(), "{}", refusal.unwrap_or_default());
    }
    Ok(())
}

/// The login works over TLS 1.3, and not at all without encryption.
async fn connections_are_encrypted(installation: &Installation, database: &Database) -> Result<()> {
    let login = database.log_in_to_primary(installation, psql::PORT).await?;
    let file = login.write(&installation.environment.directory)?;
    let version = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let version = psql::query(&file, "service=orders", version).await?;
    ensure!(version == "TLSv1.3", "it is {version}");
    let plain = psql::query(&file, "service=orders sslmode=disable", "SELECT 1").await;
    refused(plain, "no encryption")
}

/// The pooler's certificate names it, and without encryption it takes no login.
async fn poolers_are_encrypted(installation: &Installation, database: &Database) -> Result<()> {
    let host = database.record["connection"]["pooler_host"]
        .as_str()
        .context("no pooler")?;
    let login = database.log_in(installation, host, 6432).await?;
    let directory = tempfile::tempdir()?;
    let file = login.write(directory.path())?;
    let answer = psql::query(&file, "service=accounts", "SELECT current_user").await?;
    ensure!(answer == login.user, "logged in as {answer}");
    let plain = psql::query(&file, "service=accounts sslmode=disable", "SELECT 1").await;
    refused(plain, "SSL required")
}

fn refused(outcome: Result<String>, because: &str) -> Result<()> {
    match outcome {
        Ok(_) => bail!("it was let in"),
        Err(error) => {
            ensure!(
                format!("{error:#}").contains(because),
                "refused for another reason: {error:#}"
            );
            Ok(())
        }
    }
}

/// pgAudit is loaded and writes down a change of the schema.
async fn statements_are_audited(installation: &Installation, database: &Database) -> Result<()> {
    let login = database.log_in_to_primary(installation, psql::PORT).await?;
    let file = login.write(&installation.environment.directory)?;
    psql::query(
        &file,
        "service=orders",
        "CREATE TABLE IF NOT EXISTS written_down (id int)",
    )
    .await?;
    wait::until("the statement in PostgreSQL's log", PATIENCE, async || {
        let log = [
            "logs",
            "--namespace=daap-team-shop",
            "orders-1",
            "--container=postgres",
        ];
        let log = installation.kubectl.run(&log).await?;
        let mut records = log.lines().filter(|line| line.contains("pgaudit"));
        ensure!(
            records.any(|line| line.contains("written_down") && line.contains("DDL")),
            "not there"
        );
        Ok(())
    })
    .await
}

/// The menu tells guarantees, and nothing of what they are made of.
async fn product_teams_see_no_sizes(installation: &Installation) -> Result<()> {
    let tiers = installation
        .team
        .get("/tiers")
        .await?
        .expect(http::StatusCode::OK)?
        .to_string();
    for word in [
        "instances",
        "cpu",
        "memory",
        "storage",
        "250m",
        "512Mi",
        "1Gi",
        "image",
    ] {
        ensure!(!tiers.contains(word), "it tells {word}: {tiers}");
    }
    let whole = installation
        .platform
        .get("/tiers")
        .await?
        .expect(http::StatusCode::OK)?
        .to_string();
    ensure!(whole.contains("512Mi"), "the platform team sees all of it");
    Ok(())
}

/// A database made with kubectl becomes ready while no facade runs.
async fn kubectl_alone_is_enough(installation: &Installation) -> Result<()> {
    let kubectl = &installation.kubectl;
    let namespace = format!("--namespace={SYSTEM_NAMESPACE}");
    kubectl
        .run(&[
            "scale",
            "deployment/daap-facade",
            &namespace,
            "--replicas=0",
        ])
        .await?;
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples/database");
    kubectl.apply(&samples).await?;
    let stock = [
        "wait",
        "--namespace=inventory",
        "daapdatabases/stock",
        "--for=condition=Ready",
        "--timeout=5m",
    ];
    kubectl.run(&stock).await?;
    let table = kubectl
        .run(&["get", "daapdatabases", "--namespace=inventory"])
        .await?;
    let words: Vec<_> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    ensure!(
        words[0] == ["NAME", "STATUS", "TIER", "OWNER", "PROBLEM", "AGE"],
        "{table}"
    );
    ensure!(
        words[1][..4] == ["stock", "ready", "dev", "warehouse"],
        "{table}"
    );
    kubectl
        .run(&[
            "scale",
            "deployment/daap-facade",
            &namespace,
            "--replicas=1",
        ])
        .await?;
    kubectl
        .run(&[
            "rollout",
            "status",
            "deployment/daap-facade",
            &namespace,
            "--timeout=5m",
        ])
        .await?;
    Ok(())
}

/// A tier with a backup is recoverable soon after it is ready, and says so.
async fn the_first_backup_succeeds(
    installation: &Installation,
    database: &mut Database,
) -> Result<()> {
    let api: Api<DaapDatabase> =
        Api::namespaced(installation.site.client().clone(), "daap-team-shop");
    wait::until("the first backup", PATIENCE, async || {
        database.look(installation).await?;
        let backup = &database.record["backup"];
        ensure!(
            backup["configured"] == true && backup["healthy"] == true,
            "{backup}"
        );
        let status = api
            .get("accounts")
            .await?
            .status
            .and_then(|status| status.backup)
            .context("nothing known")?;
        ensure!(status.restorable_from.is_some(), "not restorable yet");
        Ok(())
    })
    .await
}
