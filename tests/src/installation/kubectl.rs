//! kubectl, of the cluster's own version, as a person would use it. Writes to the cluster.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::cluster::artifacts::{self, Program};

/// kubectl with the administrator's kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// kubectl for the cluster that a kubeconfig file names.
    pub async fn new(kubeconfig: &Path) -> Result<Self> {
        let program = tokio::task::spawn_blocking(|| artifacts::program(Program::Kubectl));
        let program = program.await.context("providing kubectl")??;
        Ok(Self {
            program,
            kubeconfig: kubeconfig.to_owned(),
        })
    }

    /// Where the program is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Which file says how to reach the cluster.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where a shell finds programs, this one first.
    ///
    /// # Errors
    /// When its directory cannot be part of such a list.
    pub fn search_path(&self) -> Result<OsString> {
        let own = self.program.parent().map(Path::to_owned);
        let usual = env::var_os("PATH").unwrap_or_default();
        let directories = own.into_iter().chain(env::split_paths(&usual));
        env::join_paths(directories).context("a directory that cannot be in PATH")
    }

    /// Runs it, and returns what it prints.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments);
        let output = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("running kubectl")?;
        ensure!(
            output.status.success(),
            "kubectl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        String::from_utf8(output.stdout).context("kubectl printed no text")
    }

    /// Applies a kustomization.
    pub async fn apply(&self, directory: &Path) -> Result<()> {
        let directory = directory.to_str().context("a path that is no text")?;
        self.run(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--kustomize",
            directory,
        ])
        .await?;
        Ok(())
    }
}
