//! Manifests: YAML in, objects out, and objects applied to a cluster as `kubectl apply --server-side` does. Writes to the cluster.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{GroupVersionKind, TypeMeta, discovery::Scope},
    discovery::{self, ApiCapabilities, ApiResource},
};
use serde::Deserialize;

use super::wait;

/// The field manager of everything this harness applies.
pub const FIELD_MANAGER: &str = "daap-cluster";

/// How many requests are under way at once.
const CONCURRENCY: usize = 8;

/// How long the API server gets to serve a new custom resource.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// The objects of a manifest file, in its order.
pub fn read(path: &Path) -> Result<Vec<DynamicObject>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text).with_context(|| format!("understanding {}", path.display()))
}

/// The objects of a manifest's text; empty documents are skipped.
pub fn parse(text: &str) -> Result<Vec<DynamicObject>> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| {
            Option::<DynamicObject>::deserialize(document).context("not a Kubernetes object")
        })
        .filter_map(Result::transpose)
        .collect()
}

/// The kind of an object, or nothing.
pub fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.kind)
}

/// Applies objects in the order they need: custom resource definitions, namespaces, everything else.
///
/// Returns when all are accepted and the definitions are being served. Applying the same again changes nothing.
pub async fn apply(client: &Client, objects: Vec<DynamicObject>) -> Result<()> {
    let (definitions, others): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|object| kind(object) == "CustomResourceDefinition");
    let (namespaces, others): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|object| kind(object) == "Namespace");
    let names: Vec<_> = definitions
        .iter()
        .filter_map(|definition| definition.metadata.name.clone())
        .collect();
    apply_together(client, definitions).await?;
    await_established(client, &names).await?;
    apply_together(client, namespaces).await?;
    apply_together(client, others).await
}

async fn apply_together(client: &Client, objects: Vec<DynamicObject>) -> Result<()> {
    let kinds = Kinds::of(client, &objects).await?;
    stream::iter(objects)
        .map(|object| apply_one(client, &kinds, object))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

async fn apply_one(client: &Client, kinds: &Kinds, object: DynamicObject) -> Result<()> {
    let name = object
        .metadata
        .name
        .clone()
        .context("an object without a name")?;
    let what = format!("applying {} {name}", kind(&object));
    let api = kinds.api(client, &object)?;
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &parameters, &Patch::Apply(&object))
        .await
        .with_context(|| what)?;
    Ok(())
}

async fn await_established(client: &Client, names: &[String]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for name in names {
        wait::until(&format!("{name} being served"), ESTABLISHED, async || {
            let definition = api.get(name).await?;
            let conditions = definition
                .status
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            let established = conditions
                .iter()
                .any(|condition| condition.type_ == "Established" && condition.status == "True");
            ensure!(established, "not established");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// How the API server calls each kind, asked once per kind.
struct Kinds(BTreeMap<(String, String), (ApiResource, ApiCapabilities)>);

impl Kinds {
    async fn of(client: &Client, objects: &[DynamicObject]) -> Result<Self> {
        let mut kinds = BTreeMap::new();
        for types in objects.iter().filter_map(|object| object.types.as_ref()) {
            let key = (types.api_version.clone(), types.kind.clone());
            if let Entry::Vacant(entry) = kinds.entry(key) {
                entry.insert(resolve(client, types).await?);
            }
        }
        Ok(Self(kinds))
    }

    fn api(&self, client: &Client, object: &DynamicObject) -> Result<Api<DynamicObject>> {
        let types = object
            .types
            .as_ref()
            .context("an object without apiVersion and kind")?;
        let key = (types.api_version.clone(), types.kind.clone());
        let (resource, capabilities) = self.0.get(&key).context("a kind that was not looked up")?;
        let client = client.clone();
        Ok(match (&capabilities.scope, &object.metadata.namespace) {
            (Scope::Cluster, _) => Api::all_with(client, resource),
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(client, namespace, resource)
            }
            (Scope::Namespaced, None) => Api::default_namespaced_with(client, resource),
        })
    }
}

async fn resolve(client: &Client, types: &TypeMeta) -> Result<(ApiResource, ApiCapabilities)> {
    let kind = GroupVersionKind::try_from(types)
        .with_context(|| format!("the version {:?}", types.api_version))?;
    discovery::pinned_kind(client, &kind)
        .await
        .with_context(|| {
            format!(
                "the cluster does not know the kind {} of {}",
                types.kind, types.api_version
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_split_and_empty_ones_skipped() {
        let objects = parse(
            "# a comment\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {name: b}\nstringData: {key: value}\n",
        )
        .unwrap();
        assert_eq!(
            objects.iter().map(kind).collect::<Vec<_>>(),
            ["Namespace", "Secret"]
        );
        assert_eq!(objects[1].data["stringData"]["key"], "value");
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        assert!(parse("just a text").is_err());
    }
}
