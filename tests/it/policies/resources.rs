//! DAAP's own kinds.

use super::*;

fn database(name: &str, rest: Value) -> Value {
    let mut database = object("daap.dev/v1alpha1", "DaapDatabase", name, rest);
    database["spec"] = json!({"tier": "dev", "ownerTeam": "shop"});
    database
}

/// A database that was admitted.
fn admitted(name: &str) -> Value {
    let mut database = database(
        name,
        json!({"metadata": {"finalizers": ["daap.dev/database"]}}),
    );
    database["spec"]["tierRevision"] = json!("dev-0123456789");
    database
}

#[tokio::test]
async fn a_database_that_may_hold_data_is_destroyed_and_not_deleted() {
    let guarded = Guarded::start("databases").await;
    let words = [
        "DaapDatabase daap-team-shop/",
        "set spec.state to Destroyed",
    ];
    let admitted_only = admitted("admitted");
    let mut frozen = admitted("frozen");
    frozen["status"] = json!({"phase": "frozen"});
    let mut archived = admitted("archived");
    archived["status"] = json!({"phase": "archived"});
    // Somebody took the finalizer away before there was a policy.
    let mut stripped = database("stripped", json!({}));
    stripped["status"] = json!({"incarnations": [
        {"serverName": "22222222-0000-4000-8000-000000000000", "revision": "dev-0123456789", "postgresMajor": 17},
    ]});
    let mut reported = database("reported", json!({}));
    reported["status"] = json!({"admission": {"verdict": "Admitted"}});
    for database in [admitted_only, frozen, archived, stripped, reported] {
        let database = guarded.create(database).await;
        guarded
            .assert_only(&[CONTROLLER], &database, Wish::Delete, &words)
            .await;
        guarded.release(&database).await;
        guarded.assert_everybody(&database, Wish::Delete).await;
    }

    let mut deleted = admitted("deleted");
    deleted["status"] = json!({"phase": "deleted", "admission": {"verdict": "Admitted"}});
    let mut refused = database("refused", json!({}));
    refused["status"] = json!({"phase": "provisioning", "admission": {"verdict": "Refused"}});
    for database in [deleted, refused, database("unheard", json!({}))] {
        let database = guarded.create(database).await;
        guarded.assert_everybody(&database, Wish::Delete).await;
    }
}

#[tokio::test]
async fn a_database_keeps_its_finalizer() {
    let guarded = Guarded::start("finalizers").await;
    let database = guarded.create(admitted("orders")).await;
    let words = ["keeps its finalizer daap.dev/database"];
    for change in [json!(null), json!(["example.com/other"])] {
        let change = Wish::Change(json!({"metadata": {"finalizers": change}}));
        guarded
            .assert_only(&[CONTROLLER], &database, change, &words)
            .await;
    }
    for free in [
        json!({"metadata": {"finalizers": ["example.com/other", "daap.dev/database"]}}),
        json!({"spec": {"state": "Destroyed"}}),
        json!({"spec": {"purpose": "Orders of the shop"}}),
    ] {
        guarded
            .assert_everybody(&database, Wish::Change(free))
            .await;
    }
}

#[tokio::test]
async fn a_database_is_bound_by_daap_only() {
    let guarded = Guarded::start("bindings").await;
    let words = [
        "is bound to a revision of its tier by DAAP",
        "leave spec.tierRevision",
    ];
    let binders = [CONTROLLER, FACADE];
    let made_bound = parse(&admitted("bound"));
    guarded
        .assert_only(&binders, &made_bound, Wish::Create, &words)
        .await;
    let unbound = guarded.create(database("unbound", json!({}))).await;
    let bind = |revision: &str| Wish::Change(json!({"spec": {"tierRevision": revision}}));
    guarded
        .assert_only(&binders, &unbound, bind("dev-0123456789"), &words)
        .await;
    let bound = guarded.create(admitted("bound")).await;
    guarded
        .assert_only(&binders, &bound, bind("dev-9876543210"), &words)
        .await;
    guarded
        .assert_everybody(&bound, bind("dev-0123456789"))
        .await;
    let made_unbound = parse(&database("new", json!({})));
    guarded.assert_everybody(&made_unbound, Wish::Create).await;
}

fn tier(name: &str, users: i32) -> Value {
    json!({
        "apiVersion": "daap.dev/v1alpha1", "kind": "DaapTier",
        "metadata": {"name": name, "finalizers": ["daap.dev/in-use"]},
        "spec": template(),
        "status": {"inUse": users},
    })
}

fn template() -> Value {
    json!({
        "description": "For trying things out.",
        "postgres": {"major": 17, "image": "registry.example/postgresql:17.6"},
        "compute": {"cpu": "100m", "memory": "256Mi"},
        "storage": {"size": "1Gi"},
        "destruction": {"strategy": "Hard"},
    })
}

fn store(name: &str, users: i32) -> Value {
    json!({
        "apiVersion": "daap.dev/v1alpha1", "kind": "DaapObjectStore",
        "metadata": {"name": name, "finalizers": ["daap.dev/in-use"]},
        "spec": {"url": "s3://backups", "region": "eu-north-1", "credentials": {"secret": {"name": "s3"}}},
        "status": {"inUse": users},
    })
}

#[tokio::test]
async fn what_databases_need_stays() {
    let guarded = Guarded::start("menu").await;
    let (of_tier, of_store) = (
        [
            "used is in use: 3 databases need it",
            "Move or destroy them first",
        ],
        ["used is in use: 3 tiers name it", "Delete them first"],
    );
    for (used, unused, words) in [
        (tier("used", 3), tier("unused", 0), of_tier),
        (store("used", 3), store("unused", 0), of_store),
    ] {
        let used = guarded.create(used).await;
        guarded
            .assert_only(&[CONTROLLER], &used, Wish::Delete, &words)
            .await;
        let stripped = Wish::Change(json!({"metadata": {"finalizers": null}}));
        let words = ["keeps its finalizer daap.dev/in-use"];
        guarded
            .assert_only(&[CONTROLLER], &used, stripped, &words)
            .await;
        let unused = guarded.create(unused).await;
        guarded.assert_everybody(&unused, Wish::Delete).await;
        guarded.release(&used).await;
        guarded.assert_everybody(&used, Wish::Delete).await;
    }
    let revision = guarded
        .create(json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapTierRevision",
            "metadata": {"name": "used-0123456789"},
            "spec": {"tier": "used", "template": template()},
        }))
        .await;
    let words = ["is removed by DAAP when no database is bound to it any more"];
    guarded
        .assert_only(&[CONTROLLER], &revision, Wish::Delete, &words)
        .await;
}

/// The objects of a kind go with its definition, and no policy is asked about each.
#[tokio::test]
async fn the_kinds_that_hold_data_stay_defined() {
    let guarded = Guarded::start("definitions").await;
    let definition = |name: &str| {
        parse(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
        }))
    };
    for name in [
        "daapdatabases.daap.dev",
        "clusters.postgresql.cnpg.io",
        "objectstores.barmancloud.cnpg.io",
    ] {
        let words = [name, "goes with every object of its kind"];
        let definition = definition(name);
        guarded
            .assert_only(&[], &definition, Wish::Delete, &words)
            .await;
    }
    let databases = definition("daapdatabases.daap.dev");
    let api = api(
        &guarded.world.client,
        &serde_json::to_value(&databases).unwrap(),
    );
    let databases = api.get("daapdatabases.daap.dev").await.unwrap();
    guarded.release(&databases).await;
    guarded.assert_everybody(&databases, Wish::Delete).await;
}
