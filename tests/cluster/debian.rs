//! Debian packages: tools are installed, the container runtime is only unpacked. Writes to the system and to the cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::artifacts;

/// The container runtime. Installing these packages would start a service and could get in the way of a Docker engine,
/// so they are unpacked into the cache and run from there.
const RUNTIME: [&str; 3] = ["containerd", "runc", "containernetworking-plugins"];

/// Installs packages with the system's package manager.
pub fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    let hint = || {
        format!(
            "the packages {names} are needed and could not be installed; please install them by hand"
        )
    };
    let mut command = Command::new("apt-get");
    command
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    let first = run(&mut command);
    if first.is_ok() {
        return Ok(());
    }
    // The package lists may be missing or old.
    run(Command::new("apt-get").args(["update", "--quiet"])).with_context(hint)?;
    run(&mut command).with_context(hint)
}

/// Installs the packages of those programs that are not on the `PATH`.
pub fn provide(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> = programs
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        install(&missing)
    }
}

/// The directory into which the container runtime's packages are unpacked, as if it were `/`.
pub fn container_runtime() -> Result<PathBuf> {
    let finished = artifacts::cache_dir()?.join("container-runtime");
    if finished.exists() {
        return Ok(finished);
    }
    let partial = tempfile::Builder::new()
        .prefix("container-runtime-")
        .tempdir_in(artifacts::cache_dir()?);
    let partial = partial.context("a directory for the container runtime")?;
    download(partial.path()).or_else(|_| {
        run(Command::new("apt-get").args(["update", "--quiet"]))?;
        download(partial.path())
    })?;
    let root = partial.path().join("root");
    for entry in fs::read_dir(partial.path()).context("listing downloaded packages")? {
        let path = entry.context("listing downloaded packages")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb")
                .arg("--extract")
                .args([&path, &root]))?;
        }
    }
    match fs::rename(&root, &finished) {
        // Another process was quicker, which is as good.
        Err(_) if finished.exists() => Ok(finished),
        result => result
            .map(|()| finished)
            .context("keeping the unpacked container runtime"),
    }
}

fn download(into: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    // Downloading as root into a directory of root's: the package manager's own user could not write there.
    command
        .args(["download", "--quiet", "--option=APT::Sandbox::User=root"])
        .args(RUNTIME)
        .current_dir(into);
    run(&mut command)
        .with_context(|| format!("the packages {} could not be downloaded", RUNTIME.join(" ")))
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Not every user's path holds the system's tools.
    let tools = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(tools)
        .any(|directory| directory.join(program).is_file())
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("running {program}"))?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
