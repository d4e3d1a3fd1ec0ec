//! Whether everything that is needed answers. Asks through ports.

use std::time::Duration;

use futures::future::join_all;

use super::Service;
use crate::domain::failure::{Code, Failure};

/// When it makes sense to ask again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Whether something that is depended on answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyState {
    /// Its name.
    pub name: &'static str,
    /// Whether it answers.
    pub answers: bool,
}

impl Service {
    /// All dependencies, when those answer without which nothing can be answered; a failure that names what does not,
    /// otherwise.
    pub async fn ready(&self) -> Result<Vec<DependencyState>, Failure> {
        let dependencies = &self.ports.dependencies;
        let answers = join_all(dependencies.iter().map(|dependency| dependency.check())).await;
        let mut states = Vec::new();
        let mut essential = true;
        for (dependency, answer) in dependencies.iter().zip(answers) {
            let name = dependency.name();
            if let Err(failure) = &answer {
                tracing::warn!(
                    dependency.name = name,
                    error.message = failure.cause_text(),
                    "a dependency does not answer"
                );
                essential &= !dependency.is_essential();
            }
            states.push(DependencyState {
                name,
                answers: answer.is_ok(),
            });
        }
        if essential {
            return Ok(states);
        }
        let silent: Vec<_> = states
            .iter()
            .filter(|state| !state.answers)
            .map(|state| state.name)
            .collect();
        let detail = format!("These do not answer at the moment: {}.", silent.join(", "));
        Err(Failure {
            retry_after: Some(ASK_AGAIN),
            ..Failure::new(Code::Unavailable, detail)
        })
    }
}
