//! Says on standard error what is being done and how long it took.
//!
//! Writes to standard error only. Nothing is printed for work that the cache makes unnecessary.

use std::time::{Duration, Instant};

/// Work that takes less is not worth a line, where most of the time there is nothing to do.
const SLOW: Duration = Duration::from_secs(2);

/// Runs `work` and prints one line for it when it is over: `build etcd 3.6.9 … 24 s`.
///
/// The whole line is written at the end, so that lines of concurrent steps do not mix.
pub(super) fn step<T>(title: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    timed(title, Duration::ZERO, work)
}

/// As [`step`], but silent when the work turns out to be quick.
pub(super) fn step_if_slow<T>(
    title: &str,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    timed(title, SLOW, work)
}

fn timed<T>(
    title: &str,
    shortest: Duration,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    let result = work();
    let taken = started.elapsed();
    if taken >= shortest {
        let outcome = if result.is_ok() { "" } else { " (failed)" };
        eprintln!("{title} … {:.0} s{outcome}", taken.as_secs_f64());
    }
    result
}

/// Prints a line that belongs to no step.
pub(super) fn note(text: &str) {
    eprintln!("{text}");
}
