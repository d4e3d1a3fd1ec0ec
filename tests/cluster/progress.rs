//! Progress for a person who waits: one line per step, with times. Writes to standard error.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Counts from the moment it is made.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    began: Instant,
}

impl Progress {
    /// Begins to count.
    #[expect(
        clippy::new_without_default,
        reason = "a default that reads the clock would surprise"
    )]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Does one step, and says when it is done and how long it took.
    pub async fn step<T>(&self, title: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let result = work.await;
        let outcome = if result.is_ok() { "" } else { "  FAILED" };
        self.say(&format!("{title} ({}){outcome}", seconds(began.elapsed())));
        result.with_context(|| title.to_owned())
    }

    /// Does one step that would hold up others, on a thread of its own.
    pub async fn blocking_step<T: Send + 'static>(
        &self,
        title: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let work = async {
            tokio::task::spawn_blocking(work)
                .await
                .context("a step panicked")?
        };
        self.step(title, work).await
    }

    /// Says something.
    pub fn say(&self, text: &str) {
        eprintln!("[{:>7}] {text}", seconds(self.began.elapsed()));
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
