//! DAAP itself in a cluster: manifests, certificate, samples. Writes to the cluster.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use daap_crds::{DaapTier, cnpg::Cluster};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::json;

use super::{SYSTEM_NAMESPACE, kubectl::Kubectl, site::Site};
use crate::cluster::{
    artifacts::{self, Image},
    certificates::Authority,
    deployment, manifest, wait,
};

/// The port on this machine at which the REST API answers.
pub const REST_PORT: u16 = 8443;

/// How long PostgreSQL and DAAP get to start. Generous: a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// The Secret with the certificate of the REST API.
const CERTIFICATE: &str = "daap-facade-tls";

/// The Secret with the keys of the S3 server, as the sample object store names it.
const OBJECT_STORE_CREDENTIALS: &str = "daap-s3-credentials";

/// The Secret with the keys of the S3 server, as the component `metadata-backup` names it.
const METADATA_BACKUP: &str = "daap-metadata-backup";

/// The programs of DAAP, by Deployment.
const PROGRAMS: [(&str, Image); 2] = [
    ("daap-controller", Image::DaapController),
    ("daap-facade", Image::DaapFacade),
];

/// Makes what the manifests expect to be there: the namespace and three Secrets. Returns the certificate authority of the
/// REST API, which stays the same for as long as the cluster lives.
pub async fn prepare(site: &Site) -> Result<String> {
    let namespace = object(
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SYSTEM_NAMESPACE } }),
    )?;
    let store = site.object_store()?;
    let credentials = secret(
        OBJECT_STORE_CREDENTIALS,
        "Opaque",
        json!({ "accessKeyId": store.access_key, "secretAccessKey": store.secret_key }),
    )?;
    let backup = secret(
        METADATA_BACKUP,
        "Opaque",
        json!({
            "ACCESS_KEY_ID": store.access_key,
            "SECRET_ACCESS_KEY": store.secret_key,
            "REGION": store.region,
        }),
    )?;
    manifest::apply(site.client(), vec![namespace, credentials, backup]).await?;

    let api: Api<Secret> = Api::namespaced(site.client().clone(), SYSTEM_NAMESPACE);
    let existing = api
        .get_opt(CERTIFICATE)
        .await
        .context("looking for the certificate of the REST API")?;
    if let Some(authority) = existing
        .and_then(|secret| secret.data)
        .and_then(|mut data| data.remove("ca.crt"))
    {
        return String::from_utf8(authority.0)
            .context("the certificate authority of the REST API is no text");
    }
    let authority = Authority::new("DAAP REST API")?;
    let certificate = authority.server("daap-facade", &names(site))?;
    let data = json!({
        "ca.crt": authority.certificate(),
        "tls.crt": certificate.certificate,
        "tls.key": certificate.private_key,
    });
    manifest::apply(
        site.client(),
        vec![secret(CERTIFICATE, "kubernetes.io/tls", data)?],
    )
    .await?;
    Ok(authority.certificate().to_owned())
}

/// How the REST API is called, inside of the cluster and on this machine.
fn names(site: &Site) -> Vec<String> {
    let service = format!("daap-facade.{SYSTEM_NAMESPACE}");
    let names = [
        "daap-facade",
        &service,
        &format!("{service}.svc"),
        &format!("{service}.svc.cluster.local"),
        "localhost",
    ];
    names
        .into_iter()
        .map(str::to_owned)
        .chain([site.address().to_string()])
        .collect()
}

/// Applies the overlay that fits the cluster.
pub async fn apply(site: &Site, kubectl: &Kubectl) -> Result<()> {
    kubectl.apply(&overlay(site)).await?;
    if site.takes_images() {
        for (name, image) in PROGRAMS {
            mark_build(site, name, image).await?;
        }
        return Ok(());
    }
    let registry = std::env::var("IMAGE_REGISTRY");
    let registry =
        registry.context("set IMAGE_REGISTRY to where `make images` pushed the images")?;
    let tag = std::env::var("IMAGE_TAG").unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned());
    for (name, _) in PROGRAMS {
        let (deployment, image) = (
            format!("deployment/{name}"),
            format!("*={registry}/{name}:{tag}"),
        );
        let namespace = ["--namespace", SYSTEM_NAMESPACE];
        let command = ["set", "image", &deployment, &image];
        kubectl
            .run(&[&command[..], &namespace[..]].concat())
            .await?;
    }
    Ok(())
}

/// Writes into a Deployment's pods what they were built from, so that a new build replaces them although the name of
/// their image stays the same.
async fn mark_build(site: &Site, name: &str, image: Image) -> Result<()> {
    let archive = tokio::task::spawn_blocking(move || artifacts::image(image))
        .await
        .context("looking for an image")??;
    // The cache names an archive's directory after what is in it.
    let build = archive
        .parent()
        .and_then(Path::file_name)
        .context("an archive outside of the cache")?
        .to_string_lossy();
    let api: Api<Deployment> = Api::namespaced(site.client().clone(), SYSTEM_NAMESPACE);
    let patch = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": { "template": { "metadata": { "annotations": { "daap.dev/build": build } } } },
    });
    let parameters = PatchParams::apply("daap-build").force();
    api.patch(name, &parameters, &Patch::Apply(patch))
        .await
        .with_context(|| format!("marking {name}"))?;
    Ok(())
}

/// Returns when the metadata database takes connections.
pub async fn await_metadata_database(site: &Site) -> Result<()> {
    let api: Api<Cluster> = Api::namespaced(site.client().clone(), SYSTEM_NAMESPACE);
    wait::until("the metadata database", PATIENCE, async || {
        let status = api.get("daap-metadata").await?.status.unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        ensure!(
            ready,
            "{}",
            status
                .phase
                .as_deref()
                .unwrap_or("not looked at by CloudNativePG yet")
        );
        Ok(())
    })
    .await
}

/// Returns when the newest controller and facade run.
pub async fn await_deployments(site: &Site) -> Result<()> {
    for (name, _) in PROGRAMS {
        deployment::await_available(site.client(), SYSTEM_NAMESPACE, name, PATIENCE).await?;
    }
    Ok(())
}

/// Applies the samples that fit the cluster, and returns when databases of each tier can be made.
pub async fn apply_samples(site: &Site, kubectl: &Kubectl) -> Result<()> {
    kubectl.apply(&overlay(site).join("samples")).await?;
    let api: Api<DaapTier> = Api::all(site.client().clone());
    for tier in ["dev", "standard", "critical"] {
        wait::until(
            &format!("the tier {tier} being accepted"),
            PATIENCE,
            async || {
                let status = api.get(tier).await?.status.unwrap_or_default();
                let accepted = status
                    .conditions
                    .iter()
                    .find(|condition| condition.type_ == "Accepted");
                let accepted = accepted.context("the controller has not looked at it yet")?;
                ensure!(accepted.status == "True", "{}", accepted.message);
                ensure!(status.current_revision.is_some(), "it has no revision yet");
                Ok(())
            },
        )
        .await?;
    }
    Ok(())
}

fn overlay(site: &Site) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../manifests/overlays")
        .join(site.overlay())
}

fn secret(name: &str, kind: &str, data: serde_json::Value) -> Result<DynamicObject> {
    object(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "namespace": SYSTEM_NAMESPACE },
        "type": kind,
        "stringData": data,
    }))
}

fn object(value: serde_json::Value) -> Result<DynamicObject> {
    serde_json::from_value(value).context("describing an object")
}
