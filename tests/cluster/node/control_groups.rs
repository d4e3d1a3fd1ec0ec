//! The control group above a cluster's pods, in every hierarchy the machine has. Makes and removes directories.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// How long the kernel gets to let go of processes that were killed.
const EMPTY: Duration = Duration::from_secs(10);

/// Makes the group wherever it is missing.
pub fn make(group: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let path = hierarchy.join(group);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    Ok(())
}

/// Removes the group and all below it; its processes must have been killed.
pub fn remove(group: &str) -> Result<()> {
    let deadline = Instant::now() + EMPTY;
    for hierarchy in hierarchies()? {
        let path = hierarchy.join(group);
        while let Err(error) = remove_tree(&path) {
            if Instant::now() > deadline {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// The files of a group cannot be removed, only the groups themselves, the inner ones first.
fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Where hierarchies of control groups are mounted: several of version 1, one of version 2, or both.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the list of mounts")?;
    Ok(mounts.lines().filter_map(hierarchy).collect())
}

fn hierarchy(mount: &str) -> Option<PathBuf> {
    let mut fields = mount.split(' ').skip(1);
    let (path, kind) = (fields.next()?, fields.next()?);
    matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_control_groups_count() {
        assert_eq!(
            hierarchy("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0"),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
        assert_eq!(
            hierarchy("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0"),
            Some(PathBuf::from("/sys/fs/cgroup/cpu"))
        );
        assert_eq!(hierarchy("tmpfs /sys/fs/cgroup tmpfs rw 0 0"), None);
    }
}
