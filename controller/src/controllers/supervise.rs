//! A run of a controller, measured, and what becomes of one that failed. Writes nothing but logs and metrics.

use std::{future::Future, time::Duration};

use kube::{
    Resource, ResourceExt as _, core::error_boundary::InvalidObject, runtime::controller::Action,
};
use tokio::time::Instant;

use crate::{backoff::Backoff, context::Context, k8s::error::chain};

/// The pause after a conflict: someone else wrote, and what was read is read again.
const AFTER_CONFLICT: Duration = Duration::from_millis(500);

/// Why a run had no success.
pub(super) struct Failure {
    category: &'static str,
    text: String,
}

impl Failure {
    pub(super) fn new(category: &'static str, error: &dyn std::error::Error) -> Self {
        Self {
            category,
            text: chain(error),
        }
    }
}

/// A run of a controller, measured; its failure is logged here and nowhere else.
pub(super) struct Supervised<'a, K> {
    pub(super) controller: &'static str,
    pub(super) context: &'a Context,
    pub(super) backoff: &'a Backoff,
    pub(super) object: &'a K,
}

impl<K: Resource<DynamicType = ()>> Supervised<'_, K> {
    pub(super) async fn supervise(
        self,
        unreadable: Option<&InvalidObject>,
        run: impl Future<Output = Result<Action, Failure>>,
    ) -> Action {
        if let Some(invalid) = unreadable {
            return self.failed(Failure::new("Unreadable", invalid));
        }
        let begin = Instant::now();
        let outcome = run.await;
        self.context
            .metrics
            .observe_run(self.controller, begin.elapsed());
        match outcome {
            Ok(action) => {
                self.backoff.reset(self.uid());
                action
            }
            Err(failure) => self.failed(failure),
        }
    }

    fn failed(self, failure: Failure) -> Action {
        let Failure { category, text } = failure;
        self.context.metrics.count_error(self.controller, category);
        let (namespace, name) = (self.object.namespace(), self.object.name_any());
        match category {
            "Conflict" => {
                tracing::debug!(
                    controller = self.controller,
                    namespace,
                    name,
                    error = text,
                    "someone else wrote, reading again"
                );
                Action::requeue(AFTER_CONFLICT)
            }
            "NotLeader" => Action::await_change(),
            _ => {
                let wait = self.backoff.failed(self.uid());
                tracing::warn!(
                    controller = self.controller,
                    namespace,
                    name,
                    category,
                    error = text,
                    wait_seconds = wait.as_secs(),
                    "a run failed"
                );
                Action::requeue(wait)
            }
        }
    }

    fn uid(&self) -> &str {
        self.object.meta().uid.as_deref().unwrap_or_default()
    }
}
