//! What the machine's own Debian gives: packages, and where it gets them from.
//!
//! Reads dpkg's and apt's state; installs packages when some are missing.
//! In: names of packages. Out: they are installed, or an error that says which are not and why.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, anyhow, bail};

use super::{cache, command, progress};

/// Maintainer scripts ask this program whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// How the policy is recognised as ours.
const POLICY_MARK: &str = "# Written while packages for the DAAP test cluster are installed.";

/// Installs the packages that are missing, without starting any service they bring.
///
/// Packages that are in place are left as they are, and none is ever removed to make room.
pub fn ensure(packages: &[&str]) -> anyhow::Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if effective_user()? != 0 {
        bail!("these Debian packages are missing, and only root can install them: {names}");
    }
    let _lock = cache::lock("debian-packages")?;
    progress::step(&format!("install {names}"), || install(&missing))
        .with_context(|| format!("these Debian packages are missing: {names}"))
}

/// The machine's own pip, which knows how the machine reaches its package index.
pub(super) fn pip() -> anyhow::Result<Command> {
    let pip = || {
        let mut python = Command::new("python3");
        python.args(["-m", "pip"]);
        python
    };
    if command::run(pip().arg("--version")).is_err() {
        ensure(&["python3-pip"])?;
    }
    Ok(pip())
}

/// Where the machine gets its own release from, such as a mirror near to it.
pub(super) fn mirror() -> anyhow::Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .ok_or_else(|| anyhow!("/etc/os-release names no release: is this Debian?"))?;
    let targets = command::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(RELEASE) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    // Repositories of others name their releases or components otherwise.
    targets
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{codename} main ")))
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("apt knows no source of {codename} main"))
}

/// How the machine's apt reaches its sources (proxies, retries, date checks), in apt's own syntax.
pub(super) fn acquire_options() -> anyhow::Result<Vec<String>> {
    let dump = command::output(Command::new("apt-config").arg("dump"))?;
    Ok(acquire_options_of(&dump))
}

fn acquire_options_of(dump: &str) -> Vec<String> {
    const PREFIXES: [&str; 4] = [
        "Acquire::http::",
        "Acquire::https::",
        "Acquire::Check-",
        "Acquire::Retries ",
    ];
    dump.lines()
        .filter(|line| PREFIXES.iter().any(|prefix| line.starts_with(prefix)))
        .filter(|line| !line.ends_with("\"\";"))
        .map(str::to_owned)
        .collect()
}

/// The packages that dpkg does not have in the state `installed`.
fn missing<'a>(packages: &[&'a str]) -> anyhow::Result<Vec<&'a str>> {
    // dpkg-query fails when it has never heard of one of them, and lists the others all the same.
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(packages)
        .output()
        .with_context(|| {
            format!(
                "cannot start dpkg-query; on a system other than Debian these have to be installed by hand: {}",
                packages.join(" ")
            )
        })?;
    let installed = installed(&String::from_utf8_lossy(&query.stdout));
    Ok(packages
        .iter()
        .copied()
        .filter(|package| !installed.contains(*package))
        .collect())
}

fn installed(listing: &str) -> BTreeSet<String> {
    listing
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect()
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let _policy = NoServices::begin(Path::new(POLICY))?;
    // A source that does not answer need not be one of those that are needed: installing decides.
    if let Err(error) = command::run(apt_get().arg("update")) {
        progress::note(&format!("going on although {error:#}"));
    }
    let mut install = apt_get();
    install.args(["install", "--yes", "--no-install-recommends", "--no-remove"]);
    command::run(install.args(packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

/// While it lives, no service is started by the installation of a package.
#[derive(Debug)]
struct NoServices {
    /// The policy to remove at the end; none when the machine has one of its own.
    policy: Option<PathBuf>,
}

impl NoServices {
    fn begin(policy: &Path) -> anyhow::Result<Self> {
        if fs::read_to_string(policy).is_ok_and(|text| !text.contains(POLICY_MARK)) {
            return Ok(Self { policy: None });
        }
        // Should this process be killed, what it leaves behind forbids nothing any more.
        let text = format!(
            "#!/bin/sh\n{POLICY_MARK}\nkill -0 {} 2>/dev/null && exit 101\nexit 0\n",
            std::process::id()
        );
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(policy)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .with_context(|| format!("cannot write {}", policy.display()))?;
        Ok(Self {
            policy: Some(policy.to_owned()),
        })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.policy
            && let Err(error) = fs::remove_file(policy)
        {
            progress::note(&format!("cannot remove {}: {error}", policy.display()));
        }
    }
}

/// The user that this process acts as; the kernel gives its directory in `/proc` to that user.
fn effective_user() -> anyhow::Result<u32> {
    Ok(fs::metadata("/proc/self")
        .context("cannot read /proc/self")?
        .uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_state_installed_counts() {
        let listing =
            "runc installed\ncontainerd config-files\nnftables half-configured\ngcc installed\n";
        let expected = BTreeSet::from(["gcc".to_owned(), "runc".to_owned()]);
        assert_eq!(installed(listing), expected);
        assert!(installed("").is_empty());
    }

    #[test]
    fn unknown_packages_are_missing() {
        let asked = ["dpkg", "no-such-package-at-all"];
        assert_eq!(missing(&asked).unwrap(), ["no-such-package-at-all"]);
    }

    #[test]
    fn options_about_the_network_are_carried_over() {
        let dump = "Acquire \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://proxy:3128\";\n\
                    Acquire::Check-Date \"false\";\nAcquire::GzipIndexes \"true\";\nDir::Cache \"\";\n";
        assert_eq!(
            acquire_options_of(dump),
            [
                "Acquire::http::Proxy \"http://proxy:3128\";",
                "Acquire::Check-Date \"false\";"
            ]
        );
    }

    #[test]
    fn the_policy_forbids_services_only_while_it_lives() {
        let path = std::env::temp_dir().join(format!("daap-policy-{}", std::process::id()));
        let answer = |path: &Path| Command::new(path).status().unwrap().code();
        let guard = NoServices::begin(&path).unwrap();
        assert_eq!(answer(&path), Some(101));
        drop(guard);
        assert!(!path.exists());

        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        drop(NoServices::begin(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 0\n");
        fs::remove_file(&path).unwrap();
    }
}
