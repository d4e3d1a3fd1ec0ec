//! Child processes that never outlive this one. Starts and ends processes, writes their log files.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{LazyLock, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::{sys::signal::Signal, unistd::Pid};

/// How long a child gets to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A process that ends when this value is dropped, and also when this process is killed.
pub struct Child {
    name: String,
    log: PathBuf,
    stop: Signal,
    inner: process::Child,
}

impl Child {
    /// Starts `command`, its output going to `<logs>/<name>.log`; dropping it sends `stop` first.
    ///
    /// The command has to arrange with [`dies_with_parent`] that it dies with us.
    pub fn start(name: &str, logs: &Path, stop: Signal, mut command: Command) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("opening {}", log.display()))?;
        let errors = output.try_clone().context("sharing a log file")?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let inner = spawn(command).with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            stop,
            inner,
        })
    }

    /// An error, with the end of its log, if the process has ended.
    pub fn check(&mut self) -> Result<()> {
        match self
            .inner
            .try_wait()
            .with_context(|| format!("looking after {}", self.name))?
        {
            None => Ok(()),
            Some(status) => Err(anyhow!(
                "{} ended ({status}); its last words:\n{}",
                self.name,
                self.last_words()
            )),
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let deadline = Instant::now() + GRACE;
        if let Ok(number) = i32::try_from(self.inner.id())
            && matches!(self.inner.try_wait(), Ok(None))
        {
            // The child was not waited for, so its number cannot have been given to another process.
            // Should this fail, killing it below is the answer.
            let _ = nix::sys::signal::kill(Pid::from_raw(number), self.stop);
            while matches!(self.inner.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
        drop(self.inner.kill());
        drop(self.inner.wait());
    }
}

/// `program`, told to get `signal` from the kernel when the process that started it ends in whatever way.
///
/// `privileges` are further options of setpriv(1), such as another user to run as.
pub fn dies_with_parent(signal: Signal, privileges: &[&str], program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!(
        "--pdeathsig={}",
        signal.as_str().trim_start_matches("SIG")
    ));
    command.args(privileges).arg(program);
    command
}

/// Starts `command` from a thread that lives as long as the process.
///
/// To the kernel a child's parent is the *thread* that started it. Started from a test's or a pool's thread,
/// the child would be told to die as soon as that thread ended.
fn spawn(command: Command) -> Result<process::Child> {
    type Request = (Command, mpsc::Sender<std::io::Result<process::Child>>);
    static STARTER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                // Nobody waits for the answer any more: the child is not wanted either.
                if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
                    drop(child.kill());
                    drop(child.wait());
                }
            }
        });
        Mutex::new(sender)
    });
    let (reply, answer) = mpsc::channel();
    let starter = STARTER
        .lock()
        .map_err(|_| anyhow!("the starting thread panicked"))?;
    starter
        .send((command, reply))
        .context("the starting thread is gone")?;
    drop(starter);
    answer
        .recv()
        .context("the starting thread gave no answer")?
        .context("the program cannot be run")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::process::ProcessId;

    fn sleep(directory: &Path) -> Child {
        let mut command = dies_with_parent(Signal::SIGKILL, &[], Path::new("sleep"));
        command.arg("60");
        Child::start("sleep", directory, Signal::SIGTERM, command).unwrap()
    }

    #[test]
    fn ends_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = sleep(directory.path());
        let id = ProcessId::of(child.inner.id()).unwrap();
        child.check().unwrap();
        drop(child);
        assert!(!id.is_running());
    }

    #[test]
    fn outlives_the_thread_that_asked_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let mut child = thread::spawn(move || sleep(&path)).join().unwrap();
        thread::sleep(Duration::from_millis(100));
        child.check().unwrap();
    }

    #[test]
    fn a_child_that_ended_is_told_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck; exit 3"]);
        let mut child = Child::start("sh", directory.path(), Signal::SIGTERM, command).unwrap();
        child.inner.wait().unwrap();
        let error = child.check().unwrap_err().to_string();
        assert!(
            error.contains("no such luck") && error.contains('3'),
            "{error}"
        );
    }
}
