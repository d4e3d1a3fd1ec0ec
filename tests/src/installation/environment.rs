//! The file that a person or a script sources to use an installation. Reads and writes files.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Everything needed to use an installation from an ordinary shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The directory of this file and of those that it names.
    pub directory: PathBuf,
    /// Where the REST API answers.
    pub url: String,
    /// A key of the platform team.
    pub platform_key: String,
    /// A key of a product team.
    pub team_key: String,
    /// The file with the certificate authority of the REST API.
    pub authority: PathBuf,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The file by which psql knows the databases.
    pub postgres_services: PathBuf,
}

impl Environment {
    /// The file's name in an installation's directory.
    pub const FILE: &str = "env";

    /// Writes the file. Every value is literal, so that it can be sourced from anywhere.
    pub fn write(&self) -> Result<()> {
        let entries = [
            ("DAAP_URL", self.url.as_str()),
            ("DAAP_PLATFORM_KEY", &self.platform_key),
            ("DAAP_TEAM_KEY", &self.team_key),
            ("DAAP_CA", text(&self.authority)?),
            ("KUBECONFIG", text(&self.kubeconfig)?),
            ("PGSERVICEFILE", text(&self.postgres_services)?),
        ];
        let lines = entries
            .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
        write_private(&self.file(), &lines.concat())
    }

    /// Where the file is.
    pub fn file(&self) -> PathBuf {
        self.directory.join(Self::FILE)
    }

    /// The keys for the REST API that an earlier file holds: the platform's and the team's. Nothing, without one.
    pub fn read_keys(directory: &Path) -> Option<(String, String)> {
        let file = fs::read_to_string(directory.join(Self::FILE)).ok()?;
        let entries: BTreeMap<_, _> = file.lines().filter_map(entry).collect();
        Some((
            entries.get("DAAP_PLATFORM_KEY")?.clone(),
            entries.get("DAAP_TEAM_KEY")?.clone(),
        ))
    }
}

fn entry(line: &str) -> Option<(&str, String)> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
    Some((name, value.replace(r"'\''", "'")))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is no text", path.display()))
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let write = || {
        // A file that is there already would keep its own mode.
        drop(fs::remove_file(&partial));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    fn environment(directory: &Path) -> Environment {
        Environment {
            directory: directory.to_owned(),
            url: "https://127.1.2.3:8443".to_owned(),
            platform_key: "daap_p_it's".to_owned(),
            team_key: "daap_t_$HOME".to_owned(),
            authority: "/some where/ca.crt".into(),
            kubeconfig: "/somewhere/kubeconfig".into(),
            postgres_services: "/somewhere/pg_service.conf".into(),
        }
    }

    #[test]
    fn a_shell_reads_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        environment(directory.path()).write().unwrap();
        let file = directory.path().join(Environment::FILE);
        let script = format!(
            "source '{}'; printf '%s|' \"$DAAP_PLATFORM_KEY\" \"$DAAP_TEAM_KEY\" \"$DAAP_CA\"",
            file.display()
        );
        let output = Command::new("bash")
            .args(["-euc", &script])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "daap_p_it's|daap_t_$HOME|/some where/ca.crt|"
        );
    }

    #[test]
    fn keys_are_found_again() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Environment::read_keys(directory.path()), None);
        environment(directory.path()).write().unwrap();
        let keys = ("daap_p_it's".to_owned(), "daap_t_$HOME".to_owned());
        assert_eq!(Environment::read_keys(directory.path()), Some(keys));
    }

    #[test]
    fn nobody_else_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        environment(directory.path()).write().unwrap();
        environment(directory.path()).write().unwrap();
        let mode = fs::metadata(directory.path().join(Environment::FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
