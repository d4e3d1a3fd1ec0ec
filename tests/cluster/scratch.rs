//! Temporary directories that do not pile up. Writes below the system's temporary directory.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::process::ProcessId;

/// The file in each directory that names the process it belongs to.
const OWNER: &str = "owner";

/// A directory that goes when this value is dropped, or, if the process was killed, when the next one is made.
pub struct Scratch(TempDir);

impl Scratch {
    /// A new directory, `name` being part of its own.
    pub fn new(name: &str) -> Result<Self> {
        Self::new_in(&std::env::temp_dir().join("daap-tests"), name)
    }

    fn new_in(base: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(base).with_context(|| format!("making {}", base.display()))?;
        remove_abandoned(base);
        let directory = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(base);
        let directory =
            directory.with_context(|| format!("a temporary directory in {}", base.display()))?;
        let owner = ProcessId::current()?.to_string();
        fs::write(directory.path().join(OWNER), owner)
            .context("naming the owner of a temporary directory")?;
        Ok(Self(directory))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Removes what killed processes left. Failing is no harm: another process may be doing the same.
fn remove_abandoned(base: &Path) {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    for directory in entries
        .map(|entry| entry.path())
        .filter(|path| is_abandoned(path))
    {
        drop(fs::remove_dir_all(directory));
    }
}

/// A directory without an owner's name is just being made.
fn is_abandoned(directory: &Path) -> bool {
    let owner = fs::read_to_string(directory.join(OWNER))
        .ok()
        .and_then(|text| text.parse::<ProcessId>().ok());
    owner.is_some_and(|owner| !owner.is_running())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn directories_of_the_dead_are_removed_and_others_kept() {
        let base = tempfile::tempdir().unwrap();
        let alive = Scratch::new_in(base.path(), "alive").unwrap();
        let dead = base.path().join("dead");
        fs::create_dir(&dead).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(
            dead.join(OWNER),
            ProcessId::of(child.id()).unwrap().to_string(),
        )
        .unwrap();
        let young = base.path().join("young");
        fs::create_dir(&young).unwrap();

        drop(Scratch::new_in(base.path(), "first").unwrap());
        assert!(dead.exists(), "its owner still runs");
        child.kill().unwrap();
        child.wait().unwrap();
        drop(Scratch::new_in(base.path(), "second").unwrap());
        assert!(!dead.exists());
        assert!(young.exists() && alive.path().exists());
    }
}
