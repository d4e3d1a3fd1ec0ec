//! DAAP itself under its policies: both programs with their own names and the permissions of their manifests.
//! CloudNativePG's part is scripted.

use daap_crds::{DaapTier, DaapTierRevision, Phase};
use daap_tests::{cluster::postgres::Postgres, rest::Answer, scripted_cnpg::ScriptedCnpg};
use http::StatusCode;
use std::time::Duration;

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
    let guarded = Guarded::start("installed").await;
    let world = &guarded.world;
    let probe = guarded.hold_data().await;
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
    let limit = json!({"databases": 1});
    let changed = facade.platform.patch("/quotas/dev", &limit).await.unwrap();
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");

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

    menu_comes_and_goes(&guarded, &facade).await;
    facade.stop().await;
    controller.stop().await;
}

/// Revisions that nobody needs go, and so does a tier: its finalizer is the controller's to remove.
async fn menu_comes_and_goes(guarded: &Guarded, facade: &Facade) {
    let client = &guarded.world.client;
    guarded.world.create_tier("spare").await;
    let tiers: Api<DaapTier> = Api::all(client.clone());
    let revisions: Api<DaapTierRevision> = Api::all(client.clone());
    let current = async |other: Option<&str>| -> Result<String> {
        let tier = tiers.get("spare").await?;
        let status = tier.status.unwrap_or_default();
        let current = status.current_revision.unwrap_or_default();
        ensure!(
            !current.is_empty() && Some(&*current) != other,
            "{current:?}"
        );
        Ok(current)
    };
    let first = wait::until("a revision", SOON, async || current(None).await);
    let first = first.await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"storage": {"size": "2Gi"}}}));
    tiers
        .patch("spare", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let second = wait::until("another revision", SOON, async || {
        current(Some(&first)).await
    });
    second.await.unwrap();
    wait::until("the first revision being gone", SOON, async || {
        ensure!(
            revisions.get_opt(&first).await?.is_none(),
            "{first} is there"
        );
        Ok(())
    })
    .await
    .unwrap();
    let deleted = facade.platform.delete("/tiers/spare").await.unwrap();
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{deleted:?}");
    wait::until("the tier being gone", SOON, async || {
        ensure!(tiers.get_opt("spare").await?.is_none(), "it is there");
        Ok(())
    })
    .await
    .unwrap();
}
