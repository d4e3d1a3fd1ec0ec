//! Whether everything that is needed answers. Asks through ports.

use futures::future::join_all;

use super::Service;

/// What is known about one dependency.
#[derive(Debug)]
pub struct DependencyState {
    /// Its name.
    pub name: &'static str,
    /// Whether it answers.
    pub ready: bool,
}

impl Service {
    /// The state of every dependency, asked at the same time.
    pub async fn readiness(&self) -> Vec<DependencyState> {
        join_all(self.dependencies.iter().map(|dependency| async {
            let answer = dependency.check().await;
            if let Err(failure) = &answer {
                tracing::debug!(dependency.name = dependency.name(), error.message = ?failure.cause, "a dependency does not answer");
            }
            DependencyState { name: dependency.name(), ready: answer.is_ok() }
        }))
        .await
    }
}
