//! What the quota says about a database that was just made. Reads DaapDatabases, and removes those that are not admitted.
//!
//! The controller admits; nothing is decided here. A database leaves this module admitted, or it is removed at the very
//! version that was not: should it have been admitted in between, the removal fails, and it is looked at again. What
//! cannot be removed because the API does not answer is removed by the controller.

use std::{pin::pin, time::Duration};

use daap_crds::DaapDatabase;
use futures::StreamExt as _;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Preconditions, WatchEvent, WatchParams},
};
use tokio::time::Instant;

use super::{Cluster, unavailable, within_deadline};
use crate::domain::{
    failure::{Code, Failure},
    quota::{Decision, decision},
};

/// How soon a database is looked at again when it cannot be watched.
const PAUSE: Duration = Duration::from_millis(200);

impl Cluster {
    /// Waits until a database is admitted, and returns it as it is then.
    pub(super) async fn await_admission(
        &self,
        created: DaapDatabase,
    ) -> Result<DaapDatabase, Failure> {
        let deadline = Instant::now() + self.admission_timeout;
        let mut seen = created;
        loop {
            let failure = match decision(&seen) {
                Decision::Admitted => return Ok(seen),
                Decision::Refused(refusal) => Failure::quota_exceeded(refusal),
                Decision::Pending => match self.next_version(&seen, deadline).await {
                    Next::Seen(next) => {
                        seen = *next;
                        continue;
                    }
                    Next::Gone => return Err(undecided()),
                    Next::Late => undecided(),
                },
            };
            match self.remove(&seen).await {
                Ok(None) => return Err(failure),
                Ok(Some(changed)) => seen = changed,
                Err(error) => {
                    let cause = unavailable(error).cause;
                    return Err(Failure { cause, ..failure });
                }
            }
        }
    }

    /// Waits until a database is different from what was seen.
    async fn next_version(&self, seen: &DaapDatabase, deadline: Instant) -> Next {
        loop {
            let watched = tokio::time::timeout_at(deadline, self.watch_one(seen)).await;
            match watched {
                Err(_) => return Next::Late,
                Ok(Some(next)) => return next,
                // The watch ended, or there was none.
                Ok(None) => tokio::time::sleep(PAUSE).await,
            }
            if Instant::now() >= deadline {
                return Next::Late;
            }
            match self.look(seen).await {
                Ok(None) => return Next::Gone,
                Ok(Some(now)) if now.resource_version() != seen.resource_version() => {
                    return Next::Seen(Box::new(now));
                }
                Ok(Some(_)) | Err(_) => {}
            }
        }
    }

    /// The first event after what was seen; nothing, when the watch ends without one.
    async fn watch_one(&self, seen: &DaapDatabase) -> Option<Next> {
        let only = WatchParams::default()
            .fields(&format!("metadata.name={}", seen.name_any()))
            .timeout(60);
        let version = seen.resource_version().unwrap_or_default();
        let databases = self.databases_in(&seen.namespace().unwrap_or_default());
        let mut events = pin!(databases.watch(&only, &version).await.ok()?);
        while let Some(event) = events.next().await {
            match event.ok()? {
                WatchEvent::Added(next) | WatchEvent::Modified(next)
                    if next.uid() == seen.uid() =>
                {
                    return Some(Next::Seen(Box::new(next)));
                }
                WatchEvent::Deleted(gone) if gone.uid() == seen.uid() => return Some(Next::Gone),
                WatchEvent::Error(_) => return None,
                WatchEvent::Added(_)
                | WatchEvent::Modified(_)
                | WatchEvent::Deleted(_)
                | WatchEvent::Bookmark(_) => {}
            }
        }
        None
    }

    /// The database as it is now; nothing, when it is gone.
    async fn look(&self, seen: &DaapDatabase) -> Result<Option<DaapDatabase>, kube::Error> {
        let found = within_deadline(
            self.databases_in(&seen.namespace().unwrap_or_default())
                .get_opt(&seen.name_any()),
        )
        .await?;
        Ok(found.filter(|found| found.uid() == seen.uid()))
    }

    /// Removes a database at the version that was seen; the one there is, when it has changed.
    async fn remove(&self, seen: &DaapDatabase) -> Result<Option<DaapDatabase>, kube::Error> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: seen.uid(),
                resource_version: seen.resource_version(),
            }),
            ..DeleteParams::default()
        };
        let databases = self.databases_in(&seen.namespace().unwrap_or_default());
        match within_deadline(databases.delete(&seen.name_any(), &parameters)).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(kube::Error::Api(status)) if status.is_conflict() => self.look(seen).await,
            Err(error) => Err(error),
        }
    }
}

/// What a look for the next version of a database found.
enum Next {
    /// It.
    Seen(Box<DaapDatabase>),
    /// The database is gone.
    Gone,
    /// Nothing in time.
    Late,
}

fn undecided() -> Failure {
    Failure {
        retry_after: Some(Duration::from_secs(5)),
        ..Failure::new(
            Code::Unavailable,
            "The controller did not decide in time whether the quota has room. Nothing was created. Try again.",
        )
    }
}
