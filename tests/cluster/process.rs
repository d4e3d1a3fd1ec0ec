//! Processes named so that a reused number is noticed. Reads `/proc`, sends signals.

use std::{fmt, fs, path::PathBuf, str::FromStr};

use anyhow::{Context, Result, anyhow, ensure};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// One process: its number and the moment it started, in clock ticks since the machine did.
///
/// The kernel hands out numbers again; a number with its start time names one process for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId {
    number: i32,
    started: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(number: u32) -> Result<Self> {
        let number = i32::try_from(number).context("a process number out of range")?;
        let (started, _) =
            read_stat(number).with_context(|| format!("process {number} is not there"))?;
        Ok(Self { number, started })
    }

    /// This process.
    pub fn current() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.number
    }

    /// Whether it still runs. A process that ended and was not waited for yet does not.
    pub fn is_running(self) -> bool {
        read_stat(self.number).is_ok_and(|(started, state)| started == self.started && state != 'Z')
    }

    /// Sends a signal, if this very process still runs.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.number), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("sending {signal} to process {}", self.number))
            }
        }
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.number, self.started)
    }
}

impl FromStr for ProcessId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (number, started) = text
            .trim()
            .split_once(' ')
            .context("not a process number and a start time")?;
        Ok(Self {
            number: number.parse()?,
            started: started.parse()?,
        })
    }
}

/// The program `cluster`, for its parts that run as processes of their own.
pub fn own_program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    ensure!(
        own.file_name().is_some_and(|name| name == "cluster"),
        "{} cannot keep a cluster; the program `cluster` can",
        own.display()
    );
    Ok(own)
}

/// Start time and state letter of a process.
fn read_stat(number: i32) -> Result<(u64, char)> {
    parse_stat(&fs::read_to_string(format!("/proc/{number}/stat"))?)
}

/// The program's name is in parentheses and may hold anything, so counting begins after the last one.
fn parse_stat(stat: &str) -> Result<(u64, char)> {
    let (_, rest) = stat
        .rsplit_once(") ")
        .ok_or_else(|| anyhow!("an unknown form of /proc/*/stat"))?;
    let mut fields = rest.split(' ');
    let state = fields
        .next()
        .and_then(|field| field.chars().next())
        .context("no state")?;
    // Field 22 of proc_pid_stat(5); the state is field 3.
    let started = fields
        .nth(18)
        .context("no start time")?
        .parse()
        .context("start time")?;
    Ok((started, state))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn survives_odd_program_names() {
        let stat = format!(
            "7 (a) b (c)) S {}",
            (4..30)
                .map(|field| field.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        );
        assert_eq!(parse_stat(&stat).unwrap(), (22, 'S'));
    }

    #[test]
    fn text_form_round_trips() {
        let own = ProcessId::current().unwrap();
        assert_eq!(own.to_string().parse::<ProcessId>().unwrap(), own);
    }

    #[test]
    fn a_reused_number_is_another_process_and_is_left_alone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let real = ProcessId::of(child.id()).unwrap();
        let stale = ProcessId {
            started: real.started - 1,
            ..real
        };
        assert!(!stale.is_running());
        stale.signal(Signal::SIGKILL).unwrap();
        assert!(real.is_running());
        real.signal(Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        assert!(!real.is_running());
    }
}
