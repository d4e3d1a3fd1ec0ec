//! Idle means idle: with nothing changing, the controller writes nothing but its lease.

use std::time::Duration;

use daap_tests::{cluster::wait, s3_server::S3Server, scripted_cnpg::ScriptedCnpg};

use crate::world::{RunningController, SOON, World};

/// How many databases settle.
const DATABASES: usize = 100;
/// How long nothing may be written. An observation, not a wait for something.
const QUIET: Duration = Duration::from_secs(60);

async fn assert_quiet(controller: &RunningController, what: &str) {
    controller.record.clear();
    tokio::time::sleep(QUIET).await;
    let writes: Vec<_> = controller
        .record
        .writes()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        writes.is_empty(),
        "{what}: {} writes, first {:?}",
        writes.len(),
        &writes[..writes.len().min(5)]
    );
    let leases = controller
        .record
        .all()
        .into_iter()
        .filter(|sent| sent.is_write() && sent.is_lease())
        .count();
    assert!(
        leases > 0,
        "{what}: the lease is renewed, so the record must have seen it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_settled_databases_are_left_alone_also_by_a_restarted_controller() {
    let world = World::start("idle").await;
    let _cnpg = ScriptedCnpg::healthy(&world.client);
    world.create_tier("dev").await;
    let pooling =
        serde_json::json!({"mode": "Session", "maxClientConnections": 100, "defaultPoolSize": 10});
    world
        .create_tier_with("pooled", |tier| tier["spec"]["pooling"] = pooling)
        .await;
    // Nothing is asked of it: no base backup of these databases ever ends.
    let server = S3Server::start("idle").await.unwrap();
    world.create_object_store(&server).await;
    world.create_tier_with("backed-up", World::backed_up).await;
    let controller = world.controller();
    for index in 0..DATABASES {
        let tier = ["dev", "pooled", "backed-up"][index % 3];
        world.create_database(&format!("db-{index}"), tier).await;
    }
    world.await_all_ready(DATABASES).await;
    await_last_write(&controller).await;
    assert_quiet(&controller, "settled").await;
    controller.stop().await;

    let restarted = world.controller();
    wait::until(
        "the new leader having looked at every database",
        SOON,
        async || {
            let seen = restarted
                .record
                .all()
                .iter()
                .filter(|sent| sent.path.contains("/clusters/db-"))
                .count();
            anyhow::ensure!(seen >= DATABASES, "{seen} looks");
            Ok(())
        },
    )
    .await
    .unwrap();
    let writes = restarted.record.writes();
    assert!(
        writes.is_empty(),
        "the restart wrote {:?}",
        writes.first().map(ToString::to_string)
    );
    assert_quiet(&restarted, "restarted").await;
    restarted.stop().await;
}

/// The last counts of the tiers may come a moment after the last database is ready.
async fn await_last_write(controller: &RunningController) {
    let mut before = usize::MAX;
    wait::until("the writes coming to an end", SOON, async || {
        let now = controller.record.writes().len();
        let calm = now == std::mem::replace(&mut before, now);
        tokio::time::sleep(Duration::from_secs(2)).await;
        anyhow::ensure!(calm, "{now} writes and counting");
        Ok(())
    })
    .await
    .unwrap();
}
