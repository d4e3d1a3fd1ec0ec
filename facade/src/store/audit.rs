//! The audit log as it is written: one task appends the rows of concurrent requests in one commit. A request resumes
//! when its row is committed.
//!
//! In: rows, through a bounded queue. Out: that each is committed, or why not.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use super::{
    audit_rows::{NewRow, append},
    within_deadline,
};
use crate::{
    domain::{audit::Outcome, failure::Failure},
    service::ports::{AuditLog, AuditedCall},
};

/// How many rows wait at most, and how many of them one commit takes.
const QUEUE: usize = 1024;
const BATCH: usize = 256;
/// How long a request waits for its row, the time in the queue included.
const PATIENCE: Duration = Duration::from_secs(8);

/// A row that somebody waits for.
struct Waiting {
    row: NewRow,
    done: oneshot::Sender<Result<(), String>>,
}

/// The way to the task that writes. The task ends when the last of these is dropped and everything is written.
#[derive(Clone)]
pub struct AuditWriter(mpsc::Sender<Waiting>);

impl AuditWriter {
    /// Starts the task. Needs a Tokio runtime.
    pub fn start(pool: PgPool) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(pool, waiting));
        Self(queue)
    }

    async fn write(&self, row: NewRow) -> Result<(), Failure> {
        let written = async {
            let (done, result) = oneshot::channel();
            let waiting = Waiting { row, done };
            let ended = || "the task that writes the audit log has ended".to_owned();
            self.0.send(waiting).await.map_err(|_| ended())?;
            result.await.map_err(|_| ended())?
        };
        let result = tokio::time::timeout(PATIENCE, written).await;
        result
            .unwrap_or_else(|_| Err(format!("not written within {PATIENCE:?}")))
            .map_err(|cause| Failure::unavailable("The metadata database", cause))
    }
}

#[async_trait]
impl AuditLog for AuditWriter {
    async fn intent(&self, call: &AuditedCall) -> Result<(), Failure> {
        let mut row = NewRow::of_call("intent", call, call.resource_id.as_deref());
        row.intent = Some(call.intent);
        self.write(row).await
    }

    async fn outcome(
        &self,
        call: &AuditedCall,
        status: u16,
        resource_id: Option<&str>,
    ) -> Result<(), Failure> {
        let row = NewRow::of_call("outcome", call, resource_id);
        self.write(NewRow {
            outcome: Some(Outcome::of_status(status).as_str()),
            status: Some(status),
            ..row
        })
        .await
    }
}

async fn write_all(pool: PgPool, mut queue: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        // Nobody waits any more for some of them: their request is answered, so their action does not happen.
        batch.retain(|waiting| !waiting.done.is_closed());
        let (rows, waiting): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|one| (one.row, one.done)).unzip();
        if rows.is_empty() {
            continue;
        }
        for (done, result) in waiting.into_iter().zip(commit(&pool, &rows).await) {
            // Somebody who stopped waiting meanwhile does not hear it.
            let _ = done.send(result);
        }
    }
}

/// Commits rows together. When the database refuses them, one by one, so that a bad row fails alone.
async fn commit(pool: &PgPool, rows: &[NewRow]) -> Vec<Result<(), String>> {
    let error = match within_deadline(append(pool, rows)).await {
        Ok(()) => return vec![Ok(()); rows.len()],
        Err(error) => error,
    };
    if rows.len() < 2 || !matches!(error, sqlx::Error::Database(_)) {
        return vec![Err(error.to_string()); rows.len()];
    }
    let mut results = Vec::with_capacity(rows.len());
    for row in rows {
        let written = within_deadline(append(pool, std::slice::from_ref(row))).await;
        results.push(written.map_err(|error| error.to_string()));
    }
    results
}
