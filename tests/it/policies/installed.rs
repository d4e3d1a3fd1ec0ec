//! DAAP itself under its policies: both programs with their own names and the permissions of their manifests.
//! CloudNativePG's part is scripted.

use std::time::Duration;

use anyhow::Context as _;
use daap_crds::{DaapTier, DaapTierRevision, Phase};
use daap_tests::{cluster::postgres::Postgres, rest::Answer, scripted_cnpg::ScriptedCnpg};
use http::{Method, StatusCode};

use super::*;
use crate::facade::{Facade, store};

/// Longer than the facade waits for a verdict.
const FAIL_FAST: Duration = Duration::from_secs(8);

async fn ask(facade: &Facade, name: &str) -> Answer {
    let asked = json!({"name": name, "tier": "dev"});
    facade.shop.post("/databases", &asked).await.unwrap()
}

/// Waits until there is no such object any more.
async fn await_gone(client: &Client, object: &Value) {
    let name = object["metadata"]["name"].as_str().unwrap();
    wait::until(&format!("{name} being gone"), SOON, async || {
        let found = api(client, object).get_opt(name).await?;
        ensure!(found.is_none(), "it is {found:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn daap_goes_about_its_work() {
    let guarded = Guarded::over(World::without_teams("installed").await).await;
    let world = &guarded.world;
    let marked = json!({"name": "probe", "labels": {"daap.dev/holds-data": "true"}});
    let probe = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": marked});
    let probe = guarded.create(probe).await;
    guarded
        .await_refusal(&probe, &Wish::Delete, &["holds the data"])
        .await;

    let _cnpg = ScriptedCnpg::healthy(&world.client);
    let controller =
        world.controller_as_installed(|settings| settings.fail_fast_deadline = FAIL_FAST);
    world.create_tier("dev").await;
    let postgres = Postgres::start().await.unwrap();
    let client = Client::try_from(world.service_account("daap-facade")).unwrap();
    let store = store(&postgres).await;
    let facade = Box::pin(Facade::start_through(client, store, |_| ())).await;
    wait::until("the tier being offered", SOON, async || -> Result<()> {
        let tier = facade
            .shop
            .get("/tiers/dev")
            .await?
            .expect(StatusCode::OK)?;
        ensure!(tier["available"] == true, "{tier}");
        Ok(())
    })
    .await
    .unwrap();
    let limit = json!({"max_databases": 1});
    let set = facade
        .platform
        .send(Method::PUT, "/tiers/dev/quota", &limit);
    set.await.unwrap().expect(StatusCode::OK).unwrap();

    // Binding, and everything that is made for a database.
    let made = ask(&facade, "orders").await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    world.await_phase("orders", Phase::Ready).await;
    // The facade removes what is refused.
    let refused = ask(&facade, "second").await;
    assert_eq!(
        refused.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{refused:?}"
    );
    let object = |name: &str| object("daap.dev/v1alpha1", "DaapDatabase", name, json!({}));
    await_gone(&world.client, &object("second")).await;
    // The controller removes what nobody admitted in time, and a person what waits.
    let asked = |name: &str, admission: &str| {
        let mut asked = object(name);
        asked["spec"] = json!({"tier": "dev", "ownerTeam": "shop", "admission": admission});
        asked
    };
    guarded.create(asked("hasty", "FailFast")).await;
    let waiting = guarded.create(asked("patient", "Wait")).await;
    await_gone(&world.client, &object("hasty")).await;
    assert_eq!(guarded.judge(PERSON, &waiting, &Wish::Delete).await, Ok(()));
    // A live one stays.
    let live = parse(&object("orders"));
    guarded
        .judge(PERSON, &live, &Wish::Delete)
        .await
        .unwrap_err();
    guarded
        .judge(FACADE, &live, &Wish::Delete)
        .await
        .unwrap_err();

    is_destroyed(&guarded, &facade, &made).await;
    menu_comes_and_goes(&guarded, &facade).await;
    facade.stop().await;
    controller.stop().await;
}

/// Everything that was made for a database goes as its owner wishes.
async fn is_destroyed(guarded: &Guarded, facade: &Facade, made: &Answer) {
    let id = made.body["id"].as_str().unwrap();
    let path = format!("/databases/{id}");
    let destroyed = facade.shop.delete(&path).await.unwrap();
    assert!(destroyed.status.is_success(), "{destroyed:?}");
    let databases = guarded.world.databases();
    wait::until(
        "the database being deleted",
        SOON,
        async || -> Result<()> {
            let database = databases.get_opt("orders").await?;
            let status = database.and_then(|database| database.status);
            let status = status.unwrap_or_default();
            let phase = status.phase.unwrap_or(Phase::Deleted);
            ensure!(phase == Phase::Deleted, "{:?}", status.operation);
            Ok(())
        },
    )
    .await
    .unwrap();
    let clusters = object("postgresql.cnpg.io/v1", "Cluster", "orders", json!({}));
    await_gone(&guarded.world.client, &clusters).await;
}

/// A tier that nobody needs goes, with its revision and its finalizer, which are the controller's to remove.
async fn menu_comes_and_goes(guarded: &Guarded, facade: &Facade) {
    let client = &guarded.world.client;
    guarded.world.create_tier("spare").await;
    let tiers: Api<DaapTier> = Api::all(client.clone());
    let revisions: Api<DaapTierRevision> = Api::all(client.clone());
    let revision = wait::until("a revision", SOON, async || -> Result<String> {
        let status = tiers.get("spare").await?.status.unwrap_or_default();
        status.current_revision.context("there is none")
    })
    .await
    .unwrap();
    let deleted = facade.platform.delete("/tiers/spare").await.unwrap();
    assert_eq!(deleted.status, StatusCode::ACCEPTED, "{deleted:?}");
    wait::until("tier and revision being gone", SOON, async || {
        ensure!(tiers.get_opt("spare").await?.is_none(), "the tier is there");
        let found = revisions.get_opt(&revision).await?;
        ensure!(found.is_none(), "the revision is there");
        Ok(())
    })
    .await
    .unwrap();
}
