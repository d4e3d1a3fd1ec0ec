//! The policies that keep what must not vanish by accident, judged by the real API server: every rule, for everybody.
//!
//! Nothing is changed by most of it: a dry run is judged like the real thing.

use anyhow::{Result, ensure};
use daap_tests::cluster::wait;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{SHOP, SOON, World};

mod children;
mod installed;
mod resources;

const PERSON: &str = "kim@example.com";
const CONTROLLER: &str = "system:serviceaccount:daap-system:daap-controller";
const FACADE: &str = "system:serviceaccount:daap-system:daap-facade";
const OPERATOR: &str = "system:serviceaccount:cnpg-system:cnpg-manager";
const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";
/// The instances of the database `orders` of the team `shop`.
const INSTANCE: &str = "system:serviceaccount:daap-team-shop:orders";
/// Another database's.
const NEIGHBOUR: &str = "system:serviceaccount:daap-team-shop:order";

const EVERYBODY: [&str; 8] = [
    PERSON,
    CONTROLLER,
    FACADE,
    OPERATOR,
    GARBAGE_COLLECTOR,
    NAMESPACE_CONTROLLER,
    INSTANCE,
    NEIGHBOUR,
];

/// The annotation that a person sets who means it.
const ALLOW_DELETE: &str = "daap.dev/allow-delete";

/// What somebody would like to do with an object.
#[derive(Debug, Clone)]
enum Wish {
    Create,
    Delete,
    /// A merge patch.
    Change(Value),
}

/// A cluster with DAAP's policies.
struct Guarded {
    world: World,
}

impl Guarded {
    async fn start(name: &str) -> Self {
        Self::over(World::start(name).await).await
    }

    async fn over(world: World) -> Self {
        world.install().await;
        Self { world }
    }

    /// Makes an object, with its status if it has one. As the controller, who may make databases that are bound.
    async fn create(&self, object: Value) -> DynamicObject {
        let maker = &self.world.client_as(CONTROLLER);
        let created = api(maker, &object)
            .create(&PostParams::default(), &parse(&object))
            .await
            .unwrap();
        let Some(status) = object.get("status") else {
            return created;
        };
        let patch = Patch::Merge(json!({ "status": status }));
        let name = created.metadata.name.as_deref().unwrap();
        api(maker, &object)
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap()
    }

    /// Changes it as an administrator who knows what they do.
    async fn change(&self, object: &DynamicObject, change: Value) {
        let api = api(&self.world.client, &serde_json::to_value(object).unwrap());
        let name = object.metadata.name.as_deref().unwrap();
        let parameters = PatchParams::default();
        api.patch(name, &parameters, &Patch::Merge(change))
            .await
            .unwrap();
    }

    /// Has a person say of an object that they mean it. Another object's uid says nothing.
    async fn release(&self, object: &DynamicObject) {
        let mistaken = json!({"metadata": {"annotations": {ALLOW_DELETE: Uuid::nil()}}});
        self.change(object, mistaken).await;
        self.judge(PERSON, object, &Wish::Delete).await.unwrap_err();
        self.change(object, release(object)).await;
    }

    /// What the API server would answer; `Err` has its words.
    async fn judge(&self, user: &str, object: &DynamicObject, wish: &Wish) -> Result<(), String> {
        let api = api(
            &self.world.client_as(user),
            &serde_json::to_value(object).unwrap(),
        );
        let name = object.metadata.name.as_deref().unwrap();
        let result = match wish {
            Wish::Create => {
                let parameters = PostParams {
                    dry_run: true,
                    ..PostParams::default()
                };
                api.create(&parameters, object).await.map(drop)
            }
            Wish::Delete => {
                let parameters = DeleteParams::default().dry_run();
                api.delete(name, &parameters).await.map(drop)
            }
            Wish::Change(change) => {
                let parameters = PatchParams::default().dry_run();
                let patch = Patch::Merge(change);
                api.patch(name, &parameters, &patch).await.map(drop)
            }
        };
        match result {
            Ok(()) => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(other) => panic!("not a verdict: {other}"),
        }
    }

    /// These may, everybody else gets an answer with these words.
    async fn assert_only(
        &self,
        allowed: &[&str],
        object: &DynamicObject,
        wish: Wish,
        words: &[&str],
    ) {
        let what = format!("{wish:?} {:?}", object.metadata.name);
        self.await_refusal(object, &wish, words).await;
        for user in EVERYBODY {
            let verdict = self.judge(user, object, &wish).await;
            if allowed.contains(&user) {
                assert_eq!(verdict, Ok(()), "{user}: {what}");
            } else {
                let message = verdict.err().unwrap_or_default();
                assert!(!message.is_empty(), "{user} may: {what}");
                for word in words {
                    assert!(message.contains(word), "{user}: {what}: {message}");
                }
            }
        }
    }

    /// Waits until a person is refused with these words: then the policy is in force.
    async fn await_refusal(&self, object: &DynamicObject, wish: &Wish, words: &[&str]) {
        wait::until("the policy being in force", SOON, async || -> Result<()> {
            let message = self.judge(PERSON, object, wish).await.err();
            let message = message.unwrap_or_default();
            let said = words.iter().all(|word| message.contains(word));
            ensure!(said, "a person is told: {message:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    async fn assert_everybody(&self, object: &DynamicObject, wish: Wish) {
        for user in EVERYBODY {
            let verdict = self.judge(user, object, &wish).await;
            assert_eq!(
                verdict,
                Ok(()),
                "{user}: {wish:?} {:?}",
                object.metadata.name
            );
        }
    }

    /// Marks the namespace of the team as the controller does before it makes anything there.
    async fn hold_data(&self) -> DynamicObject {
        let namespaces = api(&self.world.client, &namespace());
        let mark = json!({"metadata": {"labels": {"daap.dev/holds-data": "true"}}});
        let parameters = PatchParams::default();
        let patch = Patch::Merge(mark);
        namespaces.patch(SHOP, &parameters, &patch).await.unwrap()
    }
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}})
}

fn parse(object: &Value) -> DynamicObject {
    serde_json::from_value(object.clone()).unwrap()
}

fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = object["kind"].as_str().unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// An object of the namespace of the team.
fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = rest;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!(name);
    object["metadata"]["namespace"] = json!(SHOP);
    object
}

/// The annotation for an object, with its uid.
fn release(object: &DynamicObject) -> Value {
    json!({"metadata": {"annotations": {ALLOW_DELETE: object.metadata.uid}}})
}
