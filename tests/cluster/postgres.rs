//! A real PostgreSQL server on loopback, for tests of whatever keeps its records in one.
//!
//! In: the server programs that Debian's package installs. Out: URLs of fresh databases.
//! Writes a temporary directory and starts one server; both end with the value, and with this process.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{sys::signal::Signal, unistd::Uid};

use super::{
    artifacts,
    child::{self, Child},
    scratch::Scratch,
    wait,
};

/// How long the server gets to take connections.
const READY: Duration = Duration::from_secs(30);

/// Where Debian installs the servers, one directory per major version.
const INSTALLED: &str = "/usr/lib/postgresql";

/// The server refuses to run as root, and looks its user up by name. This one exists everywhere and owns nothing.
const UNPRIVILEGED: [&str; 3] = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"];

/// A running server. Dropping it ends the server and removes its files.
pub struct Postgres {
    programs: PathBuf,
    port: u16,
    server: Option<Child>,
    databases: AtomicU32,
    settings: Vec<String>,
    scratch: Scratch,
}

impl Postgres {
    /// Makes and starts a server without any database of its own. It forgets in a crash of the machine, and is faster
    /// for it.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with these settings too.
    pub async fn start_with(settings: &[&str]) -> Result<Self> {
        Self::make(&[&["fsync=off", "full_page_writes=off"], settings].concat()).await
    }

    /// The same, which forgets nothing: for measuring.
    pub async fn start_durable() -> Result<Self> {
        Self::make(&[]).await
    }

    async fn make(settings: &[&str]) -> Result<Self> {
        let (programs, scratch) = tokio::task::spawn_blocking(|| {
            let programs = programs()?;
            let scratch = Scratch::new("postgres")?;
            initialize(&programs, scratch.path())?;
            anyhow::Ok((programs, scratch))
        })
        .await
        .context("making a PostgreSQL data directory")??;
        let port = free_port()?;
        let databases = AtomicU32::new(0);
        let mut postgres = Self {
            programs,
            port,
            server: None,
            databases,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            scratch,
        };
        postgres.resume().await?;
        Ok(postgres)
    }

    /// The URL of a new, empty database. Anyone on this machine may log in to it without a password.
    pub async fn fresh_database(&self) -> Result<String> {
        let name = format!("fresh_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut command = tokio::process::Command::new(self.programs.join("createdb"));
        command.args([
            "--host=127.0.0.1",
            &format!("--port={}", self.port),
            "--username=postgres",
            &name,
        ]);
        let output = command.output().await.context("running createdb")?;
        ensure!(
            output.status.success(),
            "createdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(self.url(&name))
    }

    /// The URL of a database by name.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Where its programs are.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Its major version.
    pub fn major(&self) -> Result<i32> {
        let directory = self.programs.parent().and_then(Path::file_name);
        let name = directory.context("the programs of a version")?;
        name.to_string_lossy()
            .parse()
            .context("a version in the path of programs")
    }

    /// Where its data, its configuration and its socket are. All belong to the server's user.
    pub fn data(&self) -> PathBuf {
        data(self.scratch.path())
    }

    /// Its port on 127.0.0.1, and the number of its socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Writes a file among its data that only the server's user may read.
    pub fn write_private(&self, name: &str, contents: &str) -> Result<()> {
        let path = self.data().join(name);
        fs::write(&path, contents).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("closing {}", path.display()))?;
        give_to_server(&path)
    }

    /// Stops the server at once, as a crash would; its data stay.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts the server again on the same port, and returns when it takes connections.
    pub async fn resume(&mut self) -> Result<()> {
        let directory = self.scratch.path();
        // SIGQUIT, not SIGKILL: the server then removes its shared memory, which would otherwise outlive it.
        let mut command = unprivileged(Signal::SIGQUIT, &self.programs.join("postgres"));
        command
            .arg("-D")
            .arg(data(directory))
            .args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "max_connections=300",
            "shared_buffers=64MB",
            // So that a test can count statements.
            "shared_preload_libraries=pg_stat_statements",
        ] {
            command.args(["-c", setting]);
        }
        command.args([
            "-c",
            &format!("unix_socket_directories={}", data(directory).display()),
        ]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut server = Child::start("postgres", directory, Signal::SIGQUIT, command)?;
        let mut ended = Ok(());
        let ready = wait::until("PostgreSQL taking connections", READY, async || {
            ended = server.check();
            if ended.is_err() {
                return Ok(());
            }
            self.look().await
        })
        .await;
        ended.and(ready)?;
        self.server = Some(server);
        Ok(())
    }

    async fn look(&self) -> Result<()> {
        let mut command = tokio::process::Command::new(self.programs.join("pg_isready"));
        command.args([
            "--quiet",
            "--host=127.0.0.1",
            &format!("--port={}", self.port),
        ]);
        ensure!(
            command
                .status()
                .await
                .context("running pg_isready")?
                .success(),
            "not ready"
        );
        Ok(())
    }
}

/// The programs of the newest server that is installed, after installing one where there is none.
fn programs() -> Result<PathBuf> {
    let newest = || {
        let directories = fs::read_dir(INSTALLED).into_iter().flatten().flatten();
        let versions =
            directories.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let programs = |version: u32| Path::new(INSTALLED).join(version.to_string()).join("bin");
        versions
            .filter(|version| programs(*version).join("initdb").exists())
            .max()
            .map(programs)
    };
    if let Some(programs) = newest() {
        return Ok(programs);
    }
    artifacts::debian::ensure(&["postgresql"])?;
    newest().with_context(|| {
        format!("no server in {INSTALLED} although the package postgresql is installed")
    })
}

fn initialize(programs: &Path, directory: &Path) -> Result<()> {
    let data = data(directory);
    fs::create_dir(&data).context("making the data directory")?;
    if Uid::effective().is_root() {
        // The server's user has to get through the directory to its data.
        open_to_all(directory)?;
        give_to_server(&data)?;
    }
    let mut command = unprivileged(Signal::SIGKILL, &programs.join("initdb"));
    command.arg("-D").arg(&data).current_dir(directory);
    command.args([
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ]);
    let output = command.output().context("running initdb")?;
    ensure!(
        output.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Makes a file the server's, where the server has a user of its own.
fn give_to_server(path: &Path) -> Result<()> {
    if Uid::effective().is_root() {
        let status = Command::new("chown")
            .arg("nobody:nogroup")
            .arg(path)
            .status()
            .context("running chown")?;
        ensure!(status.success(), "chown: {status}");
    }
    Ok(())
}

fn open_to_all(directory: &Path) -> Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
        .context("opening a temporary directory")
}

fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// A command that dies with us and runs as nobody in particular.
fn unprivileged(death: Signal, program: &Path) -> Command {
    let user: &[&str] = if Uid::effective().is_root() {
        &UNPRIVILEGED
    } else {
        &[]
    };
    child::dies_with_parent(death, user, program)
}

fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener
        .local_addr()
        .context("the address of a listener")?
        .port())
}
