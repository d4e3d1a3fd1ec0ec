//! What the node sees of the file system. Mounts, all inside the node's own mount namespace.
//!
//! The programs of a node write to well-known places (`/var/lib/kubelet`, `/run/containerd`, `/var/log/pods` …) and change
//! settings of the whole machine. Here those places lead to the cluster's directory, and go when the node does.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use super::{image_store, layout::CACHE_INSIDE, plan::Plan};

/// Settings of the whole machine that kubelet insists on, with the values it wants to see.
const MACHINE_SETTINGS: [(&str, &str); 6] = [
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
    ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
];

/// Arranges the node's view. To be called once, by its first process.
pub fn arrange(plan: &Plan) -> Result<()> {
    // From here on nothing mounted inside shows outside.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .context("separating the node's mounts from the host's")?;
    mount_new("proc", "/proc")?;
    mount_new("tmpfs", "/run")?;
    bind(&plan.cache, Path::new(CACHE_INSIDE))?;
    cover_machine_settings()?;
    let containerd = plan.state.join("lib/containerd");
    for (layer, seen) in image_store::layers(&plan.image_store, &containerd)? {
        bind_existing(&layer, &seen)?;
        make_read_only(&seen)?;
    }
    bind(&plan.state.join("log"), Path::new("/var/log"))?;
    // Last, because the cluster's directory may itself be below it.
    let lib = plan.state.join("lib");
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&lib), "/var/lib", None::<&str>, flags, None::<&str>)
        .context("showing the cluster's /var/lib")
}

/// Puts a file over each setting, so that kubelet finds what it wants and the machine stays as it is.
fn cover_machine_settings() -> Result<()> {
    for (setting, value) in MACHINE_SETTINGS {
        let file = PathBuf::from("/run/daap")
            .join(setting.trim_start_matches("/proc/sys/").replace('/', "."));
        fs::write(&file, value).with_context(|| format!("writing {}", file.display()))?;
        bind_existing(&file, Path::new(setting))?;
    }
    Ok(())
}

fn mount_new(kind: &str, target: &str) -> Result<()> {
    mount(
        Some(kind),
        target,
        Some(kind),
        MsFlags::empty(),
        None::<&str>,
    )
    .with_context(|| format!("mounting {kind} on {target}"))
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("making {}", target.display()))?;
    bind_existing(source, target)
}

fn bind_existing(source: &Path, target: &Path) -> Result<()> {
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| format!("showing {} as {}", source.display(), target.display()))
}

fn make_read_only(path: &Path) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("making {} read-only", path.display()))
}
