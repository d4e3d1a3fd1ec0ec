//! Whether everything that is needed answers. Asks through ports.

use std::time::Duration;

use futures::future::join_all;

use super::Service;
use crate::domain::failure::{Code, Failure};

/// When it makes sense to ask again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

impl Service {
    /// The names of all dependencies, when all of them answer; a failure that names those that do not, otherwise.
    pub async fn ready(&self) -> Result<Vec<&'static str>, Failure> {
        let answers = join_all(
            self.ports
                .dependencies
                .iter()
                .map(|dependency| dependency.check()),
        )
        .await;
        let names = || {
            self.ports
                .dependencies
                .iter()
                .map(|dependency| dependency.name())
        };
        let mut silent = Vec::new();
        for (name, answer) in names().zip(answers) {
            if let Err(failure) = answer {
                tracing::warn!(
                    dependency.name = name,
                    error.message = failure.cause_text(),
                    "a dependency does not answer"
                );
                silent.push(name);
            }
        }
        if silent.is_empty() {
            return Ok(names().collect());
        }
        let detail = format!("These do not answer at the moment: {}.", silent.join(", "));
        Err(Failure {
            retry_after: Some(ASK_AGAIN),
            ..Failure::new(Code::Unavailable, detail)
        })
    }
}
