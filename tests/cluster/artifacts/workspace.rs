//! The programs of this workspace, as cargo builds them for development.
//!
//! Runs cargo, which writes its target directory. In: the name of a program. Out: its path.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::anyhow;
use serde::Deserialize;

use super::{command, progress};

/// Programs that go into images.
const PROGRAMS: [&str; 2] = ["daap-controller", "daap-facade"];

/// What cargo says about one thing that it has built, or found to be up to date.
#[derive(Debug, Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

/// The path of an up-to-date program.
pub(super) fn program(name: &str) -> anyhow::Result<PathBuf> {
    // Built as a part of the whole workspace, so that the features of shared dependencies are the same as in any
    // other build of the workspace, and nothing is compiled twice.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args([
            "build",
            "--workspace",
            "--message-format=json-render-diagnostics",
        ]);
    for program in PROGRAMS {
        cargo.args(["--bin", program]);
    }
    // A program that cargo starts is told of its own package. Build scripts that read the same of theirs would run again,
    // and most of the workspace would be compiled again after them, once here and once in the next build outside.
    for (name, _) in std::env::vars_os() {
        let is_of_package =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(is_of_package) {
            cargo.env_remove(name);
        }
    }
    let messages =
        progress::step_if_slow("build the DAAP programs", || command::output(&mut cargo))?;
    executable_of(&messages, name).ok_or_else(|| anyhow!("cargo built no program {name}"))
}

fn executable_of(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        // Messages of other kinds have another shape.
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .filter(|artifact| artifact.target.name == name)
        .find_map(|artifact| artifact.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"anyhow"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"daap-facade"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"daap-facade"},"executable":"/target/debug/daap-facade"}
{"reason":"build-finished","success":true}
"#;
        let found = executable_of(messages, "daap-facade");
        assert_eq!(found, Some(PathBuf::from("/target/debug/daap-facade")));
        assert_eq!(executable_of(messages, "daap-controller"), None);
    }
}
