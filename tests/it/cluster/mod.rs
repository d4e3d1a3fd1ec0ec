//! The cluster that the other tests run on: that it does what it says, and leaves nothing behind.

mod control_plane;
mod host;
mod node;
mod postgres;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

/// The program under test.
const CLUSTER: &str = env!("CARGO_BIN_EXE_cluster");

/// An object by which a test sees whether a cluster still has its data.
async fn keep_something(client: Client) {
    let metadata = ObjectMeta {
        name: Some("kept".to_owned()),
        ..ObjectMeta::default()
    };
    let kept = ConfigMap {
        metadata,
        ..ConfigMap::default()
    };
    let settings: Api<ConfigMap> = Api::namespaced(client, "default");
    settings
        .create(&PostParams::default(), &kept)
        .await
        .unwrap();
}

/// Whether that object is there, and the cluster answers.
async fn is_kept(client: Client) -> bool {
    let settings: Api<ConfigMap> = Api::namespaced(client, "default");
    settings.get("kept").await.is_ok()
}
