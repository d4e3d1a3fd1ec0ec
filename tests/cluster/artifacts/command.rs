//! Runs other programs to completion and turns their failures into readable errors.
//!
//! In: a [`Command`]. Out: its standard output, or an error that shows the end of its standard error.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// How much of a failed program's output an error shows: its reason is at the end.
const SHOWN_LINES: usize = 20;

/// Runs a program and returns what it wrote to standard output.
pub(super) fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}: is it installed and on PATH?"))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}:\n{}",
            describe(command),
            output.status,
            last_lines(&String::from_utf8_lossy(&output.stderr))
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{program} wrote something that is not UTF-8"))
}

/// Runs a program for its effect.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    output(command).map(drop)
}

/// The command line, shortened to its program and first arguments.
fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args().take(4))
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_end_of_standard_error() {
        let error = output(Command::new("sh").args(["-c", "seq 1 30 >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.ends_with("\n29\n30"), "{text}");
        assert!(!text.contains("\n10\n"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("no-such-program"));
    }
}
