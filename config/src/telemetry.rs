//! Logs: one JSON object a line for machines, or text for people. Touches process-wide state: the log subscriber.
//!
//! A message is readable by itself; what it is about stands in fields with dotted names, such as `database.name`.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use thiserror::Error;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt as _};

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Text, for people.
    Text,
}

/// Logs cannot be set up.
#[derive(Debug, Error)]
#[error("logs cannot be set up: {0}")]
pub struct TelemetryError(String);

/// Sends the logs of this process to standard error. `RUST_LOG` chooses what is logged; without it, `info` and above.
///
/// Standard output stays free for what a command answers.
///
/// # Errors
/// When `RUST_LOG` is no filter, or logs are set up already.
pub fn init(format: LogFormat) -> Result<(), TelemetryError> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|error| TelemetryError(format!("RUST_LOG: {error}")))?,
        Err(_) => EnvFilter::new("info"),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let result = match format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .finish()
            .try_init(),
        LogFormat::Text => builder.finish().try_init(),
    };
    result.map_err(|error| TelemetryError(error.to_string()))
}
