//! What a bare node lacks to be a cluster: access to the kubelet, cluster DNS, volumes. Writes to the cluster.

use anyhow::Result;
use kube::Client;

use crate::cluster::{
    artifacts::{Image, image_name},
    manifest,
};

/// Applies them all. They become available when the node is ready and has their images.
pub async fn apply(client: &Client) -> Result<()> {
    let coredns = include_str!("../addons/coredns.yaml")
        .replace("COREDNS_IMAGE", &image_name(Image::Coredns));
    let local_path = include_str!("../addons/local-path.yaml")
        .replace("LOCAL_PATH_IMAGE", &image_name(Image::LocalPathProvisioner));
    let mut objects = manifest::parse(include_str!("../addons/access.yaml"))?;
    objects.extend(manifest::parse(&coredns)?);
    objects.extend(manifest::parse(&local_path)?);
    manifest::apply(client, objects).await
}
