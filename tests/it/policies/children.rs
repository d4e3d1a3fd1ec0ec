//! What is made for a database, and the namespace it is made in.

use daap_tests::cluster::manifest;
use k8s_openapi::api::core::v1::ConfigMap;

use super::*;

/// The labels of what DAAP makes.
fn marks() -> Value {
    json!({
        "daap.dev/database": "orders",
        "daap.dev/database-uid": "11111111-0000-4000-8000-000000000000",
        "app.kubernetes.io/managed-by": "daap",
    })
}

fn marked(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    let rest = json!({"metadata": {"labels": marks()}, "spec": spec});
    object(api_version, kind, name, rest)
}

fn cluster() -> Value {
    let spec = json!({"instances": 1, "storage": {"size": "1Gi"}});
    marked("postgresql.cnpg.io/v1", "Cluster", "orders", spec)
}

fn scheduled_backup() -> Value {
    let spec = json!({"cluster": {"name": "orders"}, "schedule": "0 0 2 * * *"});
    marked("postgresql.cnpg.io/v1", "ScheduledBackup", "orders", spec)
}

fn object_store() -> Value {
    let spec = json!({"configuration": {"destinationPath": "s3://backups/shop"}});
    marked("barmancloud.cnpg.io/v1", "ObjectStore", "orders", spec)
}

fn volume_claim(labels: Value) -> Value {
    let spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    });
    let rest = json!({"metadata": {"labels": labels}, "spec": spec});
    object("v1", "PersistentVolumeClaim", "orders-1", rest)
}

fn secret(name: &str, metadata: Value) -> Value {
    object("v1", "Secret", name, json!({ "metadata": metadata }))
}

fn backup(name: &str) -> Value {
    let spec = json!({"cluster": {"name": "orders"}});
    object(
        "postgresql.cnpg.io/v1",
        "Backup",
        name,
        json!({ "spec": spec }),
    )
}

/// What tells people how it is done.
const CURES: [&str; 3] = [
    "set spec.state of the DaapDatabase daap-team-shop/orders to Destroyed",
    "annotate it first with daap.dev/allow-delete and its uid",
    "daap-team-shop/orders",
];

#[tokio::test]
async fn children_are_deleted_by_who_makes_them() {
    let guarded = Guarded::start("children").await;
    for child in [cluster(), scheduled_backup(), object_store()] {
        let child = guarded.create(child).await;
        guarded
            .assert_only(&[CONTROLLER], &child, Wish::Delete, &CURES)
            .await;
    }
    // Where many are deleted at once, each is judged.
    let clusters = api(&guarded.world.client_as(PERSON), &cluster());
    let (dry_run, all) = (DeleteParams::default().dry_run(), ListParams::default());
    let refused = clusters.delete_collection(&dry_run, &all).await;
    assert!(refused.is_err(), "{refused:?}");
    let secret = guarded
        .create(secret("orders-app", json!({"labels": marks()})))
        .await;
    let keepers = [CONTROLLER, OPERATOR, GARBAGE_COLLECTOR];
    guarded
        .assert_only(&keepers, &secret, Wish::Delete, &CURES)
        .await;
    let claim = guarded.create(volume_claim(marks())).await;
    let keepers = [OPERATOR, GARBAGE_COLLECTOR];
    guarded
        .assert_only(&keepers, &claim, Wish::Delete, &CURES)
        .await;
}

#[tokio::test]
async fn children_keep_the_labels_by_which_they_are_known() {
    let guarded = Guarded::start("labels").await;
    let cluster = guarded.create(cluster()).await;
    let claim = guarded.create(volume_claim(marks())).await;
    let words = ["labels daap.dev/* and app.kubernetes.io/managed-by"];
    for change in [
        json!({"daap.dev/database-uid": null}),
        json!({"daap.dev/database": "others"}),
        json!({"app.kubernetes.io/managed-by": null}),
    ] {
        let change = Wish::Change(json!({"metadata": {"labels": change}}));
        guarded
            .assert_only(&[CONTROLLER], &cluster, change.clone(), &words)
            .await;
        let keepers = [OPERATOR, GARBAGE_COLLECTOR];
        guarded.assert_only(&keepers, &claim, change, &words).await;
    }
    let all = Wish::Change(json!({"metadata": {"labels": null}}));
    guarded
        .assert_only(&[CONTROLLER], &cluster, all, &words)
        .await;
    // Everything else about it is not for this policy to say.
    for free in [
        json!({"metadata": {"labels": {"example.com/cost": "42"}}}),
        json!({"metadata": {"annotations": {"example.com/note": "hello"}}}),
        json!({"spec": {"instances": 2}}),
    ] {
        guarded.assert_everybody(&cluster, Wish::Change(free)).await;
    }
}

#[tokio::test]
async fn what_cloudnativepg_makes_is_deleted_by_its_own() {
    let guarded = Guarded::start("generated").await;
    guarded.hold_data().await;
    let backup = guarded.create(backup("orders-20261124")).await;
    let words = [
        "is what its database is restored from",
        "daap.dev/allow-delete",
    ];
    guarded
        .assert_only(&[CONTROLLER, INSTANCE], &backup, Wish::Delete, &words)
        .await;

    let cluster = guarded.create(cluster()).await;
    let owner = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "name": "orders", "uid": cluster.metadata.uid,
    });
    let owned = json!({"ownerReferences": [owner]});
    let owned = guarded.create(secret("orders-ca", owned)).await;
    let words = ["certificates of a database", "daap.dev/allow-delete"];
    let keepers = [OPERATOR, GARBAGE_COLLECTOR];
    guarded
        .assert_only(&keepers, &owned, Wish::Delete, &words)
        .await;
}

/// What is not of a database may be deleted, also beside one.
#[tokio::test]
async fn others_are_not_watched_over() {
    let guarded = Guarded::start("others").await;
    guarded.hold_data().await;
    let theirs = guarded.create(cluster()).await;
    guarded.await_refusal(&theirs, &Wish::Delete, &[]).await;
    let labels = json!({"app.kubernetes.io/managed-by": "Helm"});
    for mut other in [
        secret("password", json!({ "labels": labels })),
        volume_claim(labels.clone()),
        cluster(),
    ] {
        other["metadata"]["labels"] = labels.clone();
        other["metadata"]["name"] = json!("other");
        let other = guarded.create(other).await;
        guarded.assert_everybody(&other, Wish::Delete).await;
        let relabelled = json!({"metadata": {"labels": null}});
        guarded
            .assert_everybody(&other, Wish::Change(relabelled))
            .await;
    }
}

#[tokio::test]
async fn nobody_deletes_a_namespace_that_holds_data() {
    let guarded = Guarded::start("namespaces").await;
    let namespace = guarded.hold_data().await;
    let words = [
        "Namespace daap-team-shop holds the data",
        "set spec.state of its DaapDatabases to Destroyed",
    ];
    guarded
        .assert_only(&[], &namespace, Wish::Delete, &words)
        .await;
    for unmarked in [
        json!({"daap.dev/holds-data": null}),
        json!({"daap.dev/holds-data": "no"}),
    ] {
        let unmarked = Wish::Change(json!({"metadata": {"labels": unmarked}}));
        let words = ["its label daap.dev/holds-data stays"];
        guarded
            .assert_only(&[CONTROLLER], &namespace, unmarked, &words)
            .await;
    }
    let free = json!({"metadata": {"labels": {"daap.dev/team": "billing"}}});
    guarded
        .assert_everybody(&namespace, Wish::Change(free))
        .await;
    let empty = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "empty"}});
    let empty = guarded.create(empty).await;
    guarded.assert_everybody(&empty, Wish::Delete).await;
}

#[tokio::test]
async fn a_person_who_means_it_says_so_beforehand() {
    let guarded = Guarded::start("break-glass").await;
    let namespace = guarded.hold_data().await;
    let cluster = guarded.create(cluster()).await;
    let backup = guarded.create(backup("orders-20261124")).await;
    guarded.await_refusal(&cluster, &Wish::Delete, &CURES).await;
    guarded
        .await_refusal(&backup, &Wish::Delete, &["restored from"])
        .await;
    guarded
        .await_refusal(&namespace, &Wish::Delete, &["holds the data"])
        .await;

    // Another object's uid is no release, and neither is one that comes with the change itself.
    let mistaken = release(&backup);
    guarded.change(&cluster, mistaken).await;
    guarded
        .judge(PERSON, &cluster, &Wish::Delete)
        .await
        .unwrap_err();
    let mut at_once = release(&cluster);
    at_once["metadata"]["labels"] = Value::Null;
    guarded
        .judge(PERSON, &cluster, &Wish::Change(at_once))
        .await
        .unwrap_err();

    for object in [&cluster, &backup] {
        guarded.release(object).await;
        assert_eq!(guarded.judge(PERSON, object, &Wish::Delete).await, Ok(()));
    }
    let unlabelled = Wish::Change(json!({"metadata": {"labels": null}}));
    assert_eq!(guarded.judge(PERSON, &cluster, &unlabelled).await, Ok(()));
}

/// A namespace that a person released is emptied without asking for each object.
#[tokio::test]
async fn a_released_namespace_is_emptied() {
    let guarded = Guarded::start("released").await;
    let namespace = guarded.hold_data().await;
    let mut contents = Vec::new();
    for object in [cluster(), volume_claim(marks()), backup("orders-20261124")] {
        contents.push(guarded.create(object).await);
    }
    for object in &contents {
        guarded
            .await_refusal(object, &Wish::Delete, &["daap.dev/allow-delete"])
            .await;
        guarded
            .judge(NAMESPACE_CONTROLLER, object, &Wish::Delete)
            .await
            .unwrap_err();
    }
    guarded.release(&namespace).await;
    assert_eq!(
        guarded.judge(PERSON, &namespace, &Wish::Delete).await,
        Ok(())
    );
    for object in &contents {
        // The API server hears of the annotation a moment later.
        wait::until("the namespace being emptied", SOON, async || {
            let verdict = guarded
                .judge(NAMESPACE_CONTROLLER, object, &Wish::Delete)
                .await;
            ensure!(verdict == Ok(()), "{verdict:?}");
            Ok(())
        })
        .await
        .unwrap();
        guarded
            .judge(PERSON, object, &Wish::Delete)
            .await
            .unwrap_err();
    }
}

/// The metadata database is no tenant's, and a policy of its own keeps it.
#[tokio::test]
async fn the_metadata_database_stays() {
    let guarded = Guarded::start("metadata").await;
    let policy = manifest::parse(include_str!(
        "../../../manifests/components/metadata-database/guard.yaml"
    ));
    manifest::apply(&guarded.world.client, policy.unwrap())
        .await
        .unwrap();
    let mut metadata = cluster();
    metadata["metadata"] = json!({"name": "daap-metadata", "namespace": "daap-system"});
    let mut other = metadata.clone();
    other["metadata"]["name"] = json!("other");
    let metadata = guarded.create(metadata).await;
    let words = ["holds DAAP's API keys and audit log"];
    guarded
        .assert_only(&[], &metadata, Wish::Delete, &words)
        .await;
    let other = guarded.create(other).await;
    guarded.assert_everybody(&other, Wish::Delete).await;
    guarded.release(&metadata).await;
    guarded.assert_everybody(&metadata, Wish::Delete).await;
}

/// Without the names of who may pass, nobody passes, and names can be changed while the cluster runs.
#[tokio::test]
async fn names_come_from_the_config_map() {
    let guarded = Guarded::start("parameters").await;
    let cluster = guarded.create(cluster()).await;
    guarded
        .assert_only(&[CONTROLLER], &cluster, Wish::Delete, &CURES)
        .await;
    let parameters: Api<ConfigMap> = Api::namespaced(guarded.world.client.clone(), "daap-system");
    let both = format!("{CONTROLLER} {FACADE}");
    let patch = Patch::Merge(json!({"data": {"controller": both}}));
    parameters
        .patch("daap-guards", &PatchParams::default(), &patch)
        .await
        .unwrap();
    wait::until("the new names being known", SOON, async || {
        let verdict = guarded.judge(FACADE, &cluster, &Wish::Delete).await;
        ensure!(verdict == Ok(()), "{verdict:?}");
        Ok(())
    })
    .await
    .unwrap();
    guarded
        .assert_only(&[CONTROLLER, FACADE], &cluster, Wish::Delete, &CURES)
        .await;

    parameters
        .delete("daap-guards", &DeleteParams::default())
        .await
        .unwrap();
    wait::until("nobody passing any more", SOON, async || {
        let verdict = guarded.judge(CONTROLLER, &cluster, &Wish::Delete).await;
        ensure!(verdict.is_err(), "the controller passes");
        Ok(())
    })
    .await
    .unwrap();
}
