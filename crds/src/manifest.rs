//! The CRDs as the YAML files of `manifests/crds/`. Pure.

/// File names and contents, one CRD each.
///
/// # Errors
/// When a CRD cannot be written as YAML, which a test excludes.
pub fn crd_files() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    crate::all_crds()
        .into_iter()
        .map(|crd| {
            let yaml = serde_yaml::to_string(&crd)?;
            let note = "# Written by `make crds` from the types in crds/src.\n";
            Ok((
                format!("{}.yaml", crd.spec.names.plural),
                format!("{note}{yaml}"),
            ))
        })
        .collect()
}

/// The OpenAPI schema of a kind's only version, as the API server enforces it.
pub(crate) fn schema<K: kube::CustomResourceExt>() -> serde_json::Value {
    let crd = K::crd();
    crd.spec
        .versions
        .into_iter()
        .next()
        .and_then(|version| version.schema)
        .and_then(|schema| schema.open_api_v3_schema)
        .and_then(|schema| serde_json::to_value(schema).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// What `make crds` would write is what is committed.
    #[test]
    fn committed_crds_are_current() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
        for (file_name, yaml) in super::crd_files().unwrap() {
            let committed = fs::read_to_string(directory.join(&file_name)).unwrap_or_default();
            assert!(
                committed == yaml,
                "manifests/crds/{file_name} is out of date: run `make crds`"
            );
        }
    }
}
