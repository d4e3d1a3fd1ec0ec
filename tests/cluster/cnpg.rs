//! CloudNativePG and the Barman Cloud plugin. Writes to the cluster.
//!
//! In: upstream's manifests, unchanged but for what a development cluster needs (see [`adapt`]). Out: an operator and a
//! plugin that answer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Secret, Service},
    },
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use serde_json::{Value, json};

use super::{
    artifacts::{self, Image, Manifest, image_name},
    certificates::{self, CertifiedKey},
    deployment,
    manifest::{self, FIELD_MANAGER},
    progress::Progress,
    wait,
};

/// How long operator and plugin get to answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where both are installed; the operator finds plugins only in its own namespace.
const NAMESPACE: &str = "cnpg-system";
const OPERATOR: &str = "cnpg-controller-manager";
const PLUGIN: &str = "barman-cloud";

/// The Secrets by which operator and plugin know each other, as the plugin's manifest names them.
const PLUGIN_SERVER_SECRET: &str = "barman-cloud-server-tls";
const PLUGIN_CLIENT_SECRET: &str = "barman-cloud-client-tls";

/// Where the images of operator, plugin and databases come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Archives of ours, which the node has imported.
    Archives,
    /// Wherever upstream publishes them.
    Upstream,
}

/// What becomes of an operator or a plugin that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPlace {
    /// It is ours and gets today's manifest.
    Renew,
    /// It is somebody's and is left as it is.
    Leave,
}

/// Installs both, and returns when they answer.
pub async fn install(
    client: &Client,
    source: Source,
    in_place: InPlace,
    progress: Progress,
) -> Result<()> {
    let operator = in_place == InPlace::Renew || operator_namespace(client).await?.is_none();
    let plugin = in_place == InPlace::Renew || !plugin_exists(client).await?;
    if operator {
        let objects = read(Manifest::Cnpg, source).await?;
        progress
            .step(
                "manifest of CloudNativePG",
                manifest::apply(client, objects),
            )
            .await?;
        if source == Source::Archives {
            set_default_images(client).await?;
        }
    } else {
        progress.say("CloudNativePG is in place and left as it is");
    }
    if plugin {
        ensure_same_namespace(client).await?;
        let objects = read(Manifest::BarmanPlugin, source).await?;
        progress
            .step(
                "manifest of the Barman Cloud plugin",
                manifest::apply(client, objects),
            )
            .await?;
        ensure_plugin_certificates(client).await?;
    } else {
        progress.say("the Barman Cloud plugin is in place and left as it is");
    }
    progress
        .step("operator and plugin", async {
            tokio::try_join!(
                await_available_if(operator, client, OPERATOR),
                await_available_if(plugin, client, PLUGIN)
            )
        })
        .await?;
    progress
        .step("operator's webhooks", await_webhooks(client))
        .await
}

async fn await_available_if(installed: bool, client: &Client, name: &str) -> Result<()> {
    if installed {
        deployment::await_available(client, NAMESPACE, name, PATIENCE).await?;
    }
    Ok(())
}

/// The namespace of an operator, however it was installed.
async fn operator_namespace(client: &Client) -> Result<Option<String>> {
    let deployments: Api<Deployment> = Api::all(client.clone());
    let label = ListParams::default().labels("app.kubernetes.io/name=cloudnative-pg");
    let found = deployments
        .list(&label)
        .await
        .context("looking for an operator")?;
    Ok(found
        .items
        .into_iter()
        .find_map(|deployment| deployment.metadata.namespace))
}

/// Whether a plugin is registered.
async fn plugin_exists(client: &Client) -> Result<bool> {
    let services: Api<Service> = Api::all(client.clone());
    let label = ListParams::default().labels("cnpg.io/pluginName=barman-cloud.cloudnative-pg.io");
    let found = services
        .list(&label)
        .await
        .context("looking for the plugin")?;
    Ok(!found.items.is_empty())
}

/// An operator finds plugins in its own namespace only, and the plugin's manifest names one.
async fn ensure_same_namespace(client: &Client) -> Result<()> {
    let namespace = operator_namespace(client)
        .await?
        .context("there is no operator")?;
    ensure!(
        namespace == NAMESPACE,
        "CloudNativePG is in the namespace {namespace}; please install the Barman Cloud plugin there"
    );
    Ok(())
}

/// An upstream manifest, as this cluster needs it.
async fn read(manifest: Manifest, source: Source) -> Result<Vec<DynamicObject>> {
    let read = move || manifest::read(&artifacts::manifest(manifest)?);
    let objects = tokio::task::spawn_blocking(read)
        .await
        .context("reading a manifest")??;
    objects
        .into_iter()
        // The plugin's certificates are made here, so that no certificate manager is needed.
        .filter(|object| !api_version(object).starts_with("cert-manager.io/"))
        .map(|object| adapt(object, source))
        .collect()
}

fn api_version(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.api_version)
}

/// Changes what a manifest says about images and, on a small machine, about patience and processor time.
fn adapt(mut object: DynamicObject, source: Source) -> Result<DynamicObject> {
    let name = object.name_any();
    match manifest::kind(&object) {
        "Deployment" if name == OPERATOR && source == Source::Archives => {
            let image = image_name(Image::CnpgOperator);
            run_from_archive(&mut object, &image)?;
            set_environment(&mut object, "OPERATOR_IMAGE_NAME", &image)?;
            hurry(&mut object)?;
        }
        "Deployment" if name == PLUGIN => match source {
            Source::Archives => {
                run_from_archive(&mut object, &image_name(Image::BarmanPlugin))?;
                hurry(&mut object)?;
            }
            Source::Upstream => {
                let image = container(&mut object)?["image"].as_str().map(released);
                container(&mut object)?["image"] = json!(image.context("the plugin has no image")?);
            }
        },
        "Secret" if object.data.pointer("/data/SIDECAR_IMAGE").is_some() => {
            let image = match source {
                Source::Archives => image_name(Image::BarmanSidecar),
                Source::Upstream => released(&decode(&object.data["data"]["SIDECAR_IMAGE"])?),
            };
            object.data["data"]["SIDECAR_IMAGE"] = json!(ByteString(image.into_bytes()));
        }
        _ => {}
    }
    Ok(object)
}

fn decode(value: &Value) -> Result<String> {
    // The manifest folds the text into several lines.
    let joined: String = value
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ByteString(bytes) = serde_json::from_value(json!(joined)).context("not base64")?;
    String::from_utf8(bytes).context("not text")
}

/// The manifest in the plugin's sources names images of its main branch; this is the image of the release.
fn released(image: &str) -> String {
    let version = image_name(Image::BarmanPlugin)
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .to_owned();
    match image.strip_suffix("-testing:main") {
        Some(repository) => format!("{repository}:v{version}"),
        None => image.to_owned(),
    }
}

fn run_from_archive(deployment: &mut DynamicObject, image: &str) -> Result<()> {
    let container = container(deployment)?;
    container["image"] = json!(image);
    container["imagePullPolicy"] = json!("IfNotPresent");
    Ok(())
}

/// Upstream grants the operator a tenth of a processor and looks rarely whether it is ready, which is right where
/// installing is rare. Here people wait for it.
fn hurry(deployment: &mut DynamicObject) -> Result<()> {
    let container = container(deployment)?;
    if let Some(limits) = container
        .pointer_mut("/resources/limits")
        .and_then(Value::as_object_mut)
    {
        limits.remove("cpu");
    }
    if let Some(probe) = container["startupProbe"].as_object_mut() {
        probe.insert("periodSeconds".into(), json!(1));
        probe.insert("failureThreshold".into(), json!(120));
    }
    if let Some(probe) = container["readinessProbe"].as_object_mut() {
        probe.remove("initialDelaySeconds");
        probe.insert("periodSeconds".into(), json!(1));
    }
    Ok(())
}

fn set_environment(deployment: &mut DynamicObject, name: &str, value: &str) -> Result<()> {
    let variables = container(deployment)?["env"]
        .as_array_mut()
        .context("no environment")?;
    let variable = variables
        .iter_mut()
        .find(|variable| variable["name"] == name);
    variable.with_context(|| format!("no variable {name}"))?["value"] = json!(value);
    Ok(())
}

fn container(deployment: &mut DynamicObject) -> Result<&mut Value> {
    deployment
        .data
        .pointer_mut("/spec/template/spec/containers/0")
        .context("a deployment without a container")
}

/// The images of databases and poolers that name none.
async fn set_default_images(client: &Client) -> Result<()> {
    let settings = ConfigMap {
        metadata: ObjectMeta {
            name: Some("cnpg-controller-manager-config".into()),
            ..ObjectMeta::default()
        },
        data: Some(
            [
                (
                    "POSTGRES_IMAGE_NAME".to_owned(),
                    image_name(Image::Postgresql),
                ),
                (
                    "PGBOUNCER_IMAGE_NAME".to_owned(),
                    image_name(Image::Pgbouncer),
                ),
            ]
            .into(),
        ),
        ..ConfigMap::default()
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&settings.name_any(), &parameters, &Patch::Apply(&settings))
        .await
        .context("the operator's settings")?;
    Ok(())
}

/// Makes the certificates by which operator and plugin know each other, unless they are there.
async fn ensure_plugin_certificates(client: &Client) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    // Each side trusts the other's very certificate, as upstream's manifest has it. One authority for both would not do:
    // the plugin would then ask for a certificate that the operator's own certificate had signed.
    let server = certificates::self_signed_server(PLUGIN, &[PLUGIN.to_owned()])?;
    let caller = certificates::self_signed_client("barman-cloud-client")?;
    for (name, certified) in [
        (PLUGIN_SERVER_SECRET, server),
        (PLUGIN_CLIENT_SECRET, caller),
    ] {
        let secret = tls_secret(name, &certified);
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error).with_context(|| format!("making the secret {name}")),
        }
    }
    Ok(())
}

fn tls_secret(name: &str, certified: &CertifiedKey) -> Secret {
    let entry = |key: &str, text: &str| (key.to_owned(), text.to_owned());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        string_data: Some(
            [
                entry("tls.crt", &certified.certificate),
                entry("tls.key", &certified.private_key),
                entry("ca.crt", &certified.certificate),
            ]
            .into(),
        ),
        ..Secret::default()
    }
}

/// Asks the webhooks to judge a Cluster that is not created. That they fill in defaults shows that they were asked.
async fn await_webhooks(client: &Client) -> Result<()> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "postgresql.cnpg.io",
        "v1",
        "Cluster",
    ));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    let cluster = DynamicObject::new("webhook-probe", &kind)
        .data(json!({ "spec": { "instances": 1, "storage": { "size": "1Gi" } } }));
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    wait::until("CloudNativePG's webhooks answering", PATIENCE, async || {
        let answer = api.create(&dry_run, &cluster).await?;
        ensure!(
            answer.data.pointer("/spec/postgresql/parameters").is_some(),
            "they were not asked"
        );
        Ok(())
    })
    .await
}
