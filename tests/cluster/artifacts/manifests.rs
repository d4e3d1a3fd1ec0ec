//! Manifests that upstreams publish inside their Go modules.
//!
//! Runs `go` and writes the cache. In: a [`Manifest`]. Out: the path of its unchanged copy.

use std::{fs, path::PathBuf};

use anyhow::Context;

use super::{
    Manifest,
    cache::{self, Key},
    go,
};

/// The absolute path of an upstream manifest, unchanged.
pub fn manifest(manifest: Manifest) -> anyhow::Result<PathBuf> {
    let (name, build, module, file) = match manifest {
        Manifest::Cnpg => (
            "cnpg",
            go::CNPG,
            "github.com/cloudnative-pg/cloudnative-pg",
            "releases/cnpg-1.30.0.yaml",
        ),
        Manifest::BarmanPlugin => (
            "barman-plugin",
            go::BARMAN_PLUGIN,
            "github.com/cloudnative-pg/plugin-barman-cloud",
            "manifest.yaml",
        ),
    };
    let directory = go::module_directory(build.module);
    let key = Key::new()
        .with_file(&directory.join("go.mod"))?
        .with_file(&directory.join("go.sum"))?
        .with(file);
    let entry = cache::entry(
        &format!("copy the manifest of {name} {}", build.version),
        &format!("manifest-{name}"),
        &key,
        |out| {
            let source = go::sources(build.module, module)?.join(file);
            fs::copy(&source, out.join("manifest.yaml"))
                .with_context(|| format!("cannot copy {}", source.display()))?;
            Ok(())
        },
    )?;
    Ok(entry.join("manifest.yaml"))
}
