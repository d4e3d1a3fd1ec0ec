//! The manifests, as the real API server takes them, and what no manifest may have.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};
use daap_crds::{DaapObjectStore, DaapQuota, DaapTier};
use daap_tests::{
    cluster::{
        artifacts::{Image, image_name},
        control_plane::ControlPlane,
        manifest,
        scratch::Scratch,
    },
    installation::kubectl::Kubectl,
};
use k8s_openapi::api::{apps::v1::Deployment, rbac::v1::PolicyRule};
use kube::{Api, api::DynamicObject};
use serde_json::{Value, json};

const OVERLAYS: [&str; 3] = ["node", "k3d", "production"];

fn manifests() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../manifests")
        .canonicalize()
        .unwrap()
}

async fn build(directory: &str) -> Vec<DynamicObject> {
    let kubectl = Kubectl::new(Path::new("/dev/null")).await.unwrap();
    let text = kubectl
        .run(&["kustomize", manifests().join(directory).to_str().unwrap()])
        .await
        .unwrap();
    manifest::parse(&text).unwrap()
}

fn of_kind<'a>(objects: &'a [DynamicObject], kind: &str) -> Vec<&'a DynamicObject> {
    objects
        .iter()
        .filter(|object| manifest::kind(object) == kind)
        .collect()
}

/// Everything in it: kubectl reads unknown fields as errors, and so does the API server.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_overlay() {
    let control_plane = ControlPlane::start("manifests").await.unwrap();
    let kubectl = Kubectl::new(control_plane.kubeconfig()).await.unwrap();
    for overlay in OVERLAYS {
        let directory = manifests().join("overlays").join(overlay);
        kubectl.apply(&directory).await.unwrap();
        kubectl.apply(&directory.join("samples")).await.unwrap();
    }
    kubectl
        .apply(&manifests().join("samples/database"))
        .await
        .unwrap();

    let client = control_plane.client();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "daap-system");
    for name in ["daap-controller", "daap-facade"] {
        let deployment = deployments.get(name).await.unwrap();
        assert_eq!(
            deployment.spec.unwrap().replicas,
            Some(2),
            "production is the last of the overlays"
        );
    }
    let quotas: Api<DaapQuota> = Api::all(client.clone());
    let stores: Api<DaapObjectStore> = Api::all(client.clone());
    let tiers: Api<DaapTier> = Api::all(client);
    for tier in tiers.list(&Default::default()).await.unwrap() {
        let name = tier.metadata.name.unwrap();
        quotas.get(&name).await.unwrap();
        if let Some(backup) = tier.spec.backup {
            stores.get(&backup.object_store).await.unwrap();
        }
    }
}

#[tokio::test]
async fn permissions_have_no_wildcards() {
    let objects = build("base").await;
    let mut rules = 0;
    for role in objects
        .iter()
        .filter(|object| ["Role", "ClusterRole"].contains(&manifest::kind(object)))
    {
        let list: Vec<PolicyRule> = serde_json::from_value(role.data["rules"].clone()).unwrap();
        for rule in list {
            let lists = [
                Some(rule.verbs),
                rule.resources,
                rule.api_groups,
                rule.non_resource_urls,
            ];
            assert!(
                !lists
                    .iter()
                    .flatten()
                    .flatten()
                    .any(|word| word.contains('*')),
                "{:?}",
                role.metadata.name
            );
            rules += 1;
        }
    }
    assert!(rules > 5);
}

#[tokio::test]
async fn the_facade_sees_no_secret() {
    let objects = build("base").await;
    let roles = ["Role", "ClusterRole"]
        .map(|kind| of_kind(&objects, kind))
        .concat();
    let text: Vec<_> = roles
        .iter()
        .filter(|role| role.metadata.name.as_deref() == Some("daap-facade"))
        .map(|role| role.data["rules"].to_string())
        .collect();
    assert!(!text.is_empty());
    assert!(!text.concat().contains("secrets") && !text.concat().contains("cnpg"));
}

#[tokio::test]
async fn programs_are_confined_watched_and_bounded() {
    let objects = build("base").await;
    let namespace = of_kind(&objects, "Namespace")[0]
        .metadata
        .labels
        .clone()
        .unwrap();
    assert_eq!(
        namespace["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    let deployments = of_kind(&objects, "Deployment");
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        let pod = &deployment.data["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["capabilities"]["drop"][0], "ALL");
            for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
                assert!(container[field].is_object(), "{field}");
            }
            let resources = &container["resources"];
            assert!(
                resources["requests"]["memory"].is_string()
                    && resources["limits"]["memory"].is_string()
            );
        }
    }
}

/// The private key of an authority is in the same Secret as its certificate. Only the certificate may be mounted.
#[tokio::test]
async fn the_metadata_databases_authority_stays_private() {
    let objects = build("base").await;
    let facade = of_kind(&objects, "Deployment")
        .into_iter()
        .find(|deployment| deployment.metadata.name.as_deref() == Some("daap-facade"))
        .unwrap();
    let volumes = facade.data["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap();
    let authority = volumes
        .iter()
        .find(|volume| volume["secret"]["secretName"] == "daap-metadata-ca")
        .unwrap();
    let keys: Vec<_> = authority["secret"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["key"])
        .collect();
    assert_eq!(keys, ["ca.crt"]);
}

#[tokio::test]
async fn the_nodes_overlay_names_the_images_of_the_node() {
    let [objects, samples] = [
        build("overlays/node").await,
        build("overlays/node/samples").await,
    ];
    let image = |name: &str| {
        let deployments = of_kind(&objects, "Deployment");
        let deployment = deployments
            .iter()
            .find(|object| object.metadata.name.as_deref() == Some(name))
            .unwrap();
        deployment.data["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(image("daap-controller"), image_name(Image::DaapController));
    assert_eq!(image("daap-facade"), image_name(Image::DaapFacade));
    let postgresql = image_name(Image::Postgresql);
    assert_eq!(
        of_kind(&objects, "Cluster")[0].data["spec"]["imageName"],
        postgresql
    );
    for tier in of_kind(&samples, "DaapTier") {
        assert_eq!(tier.data["spec"]["postgres"]["image"], postgresql);
    }
}

#[tokio::test]
async fn plaintext_never_reaches_the_metadata_database() {
    for overlay in OVERLAYS {
        let objects = build(&format!("overlays/{overlay}")).await;
        let postgresql = of_kind(&objects, "Cluster")[0].data["spec"]["postgresql"].clone();
        assert_eq!(postgresql["pg_hba"][0], "hostnossl all all all reject");
        assert_eq!(
            postgresql["parameters"]["ssl_min_protocol_version"],
            "TLSv1.3"
        );
    }
}

/// Every overlay that makes the metadata database backs it up, to where nothing of a tenant is.
#[tokio::test]
async fn the_metadata_database_is_backed_up() {
    for overlay in OVERLAYS {
        let objects = build(&format!("overlays/{overlay}")).await;
        let archiver = &of_kind(&objects, "Cluster")[0].data["spec"]["plugins"][0];
        assert_eq!(archiver["isWALArchiver"], true, "{overlay}");
        let stores = of_kind(&objects, "ObjectStore");
        let store = stores[0];
        let name = store.metadata.name.as_deref().unwrap();
        assert_eq!(archiver["parameters"]["barmanObjectName"], name);
        let configuration = &store.data["spec"]["configuration"];
        assert_eq!(
            configuration["destinationPath"],
            "s3://daap-backups/daap-system/"
        );
        let schedule = &of_kind(&objects, "ScheduledBackup")[0].data["spec"];
        assert_eq!(schedule["cluster"]["name"], "daap-metadata");
        assert_eq!(schedule["backupOwnerReference"], "none");
    }
}

/// A restored metadata database reads what its predecessor archived, and archives under another name.
#[tokio::test]
async fn the_metadata_database_is_restored_beside_what_it_was() {
    let overlay = Scratch::new("restore").unwrap();
    write_restoring_overlay(overlay.path(), &[]).unwrap();

    let control_plane = ControlPlane::start("restore").await.unwrap();
    let kubectl = Kubectl::new(control_plane.kubeconfig()).await.unwrap();
    kubectl.apply(overlay.path()).await.unwrap();
    let cluster = "cluster.postgresql.cnpg.io/daap-metadata";
    let get = ["get", "--namespace=daap-system", "--output=json", cluster];
    let cluster: Value = serde_json::from_str(&kubectl.run(&get).await.unwrap()).unwrap();
    let spec = &cluster["spec"];
    assert!(spec["bootstrap"]["initdb"].is_null(), "{spec}");
    let archived = "/spec/externalClusters/0/plugin/parameters/serverName";
    assert_eq!(cluster.pointer(archived).unwrap(), "daap-metadata-1");
    let archives = &spec["plugins"][0]["parameters"];
    assert_eq!(archives["serverName"], "daap-metadata-2");
}

/// Writes an overlay of the node whose metadata database comes from its backup, with patches of one's own.
pub fn write_restoring_overlay(directory: &Path, patches: &[Value]) -> Result<()> {
    // kustomize takes relative paths only.
    let up = "../".repeat(directory.components().count());
    let manifests = manifests();
    let manifests = manifests.to_str().context("a path")?;
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [format!("{up}{manifests}/overlays/node")],
        "components": [format!("{up}{manifests}/components/metadata-restore")],
        "patches": patches,
    });
    let file = directory.join("kustomization.yaml");
    Ok(fs::write(file, kustomization.to_string())?)
}

#[test]
fn every_definition_is_installed() {
    let text = fs::read_to_string(manifests().join("crds/Kustomization")).unwrap();
    let kustomization: Value = serde_yaml::from_str(&text).unwrap();
    let listed: BTreeSet<_> = kustomization["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let written: BTreeSet<_> = daap_crds::manifest::crd_files()
        .unwrap()
        .into_iter()
        .map(|(file_name, _)| file_name)
        .collect();
    assert_eq!(listed, written);
}
