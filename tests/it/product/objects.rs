//! Objects that are made as a platform team would, with kubectl. Writes to the cluster.

use anyhow::{Context as _, Result};
use daap_tests::installation::Installation;
use serde_json::{Value, json};

/// An object such as `daaptier/dev` without what the API server added, under another name.
pub async fn copy_object(installation: &Installation, object: &str, name: &str) -> Result<Value> {
    let get = ["get", object, "--output=json"];
    let object: Value = serde_json::from_str(&installation.kubectl.run(&get).await?)?;
    Ok(json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {"name": name}, "spec": object["spec"],
    }))
}

/// Makes or changes an object.
pub async fn apply_object(installation: &Installation, object: &Value) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("object.json");
    std::fs::write(&file, object.to_string())?;
    let apply = ["apply", "--filename", file.to_str().context("a path")?];
    installation.kubectl.run(&apply).await.map(drop)
}
