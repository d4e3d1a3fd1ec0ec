//! Somebody who writes numbered rows into a database and remembers which were acknowledged.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use anyhow::{Context, Result};
use daap_tests::installation::psql;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The way into a database for psql.
#[derive(Debug, Clone)]
pub struct Door {
    /// The service file.
    pub file: PathBuf,
    /// The connection, such as `service=orders`.
    pub connection: String,
}

impl Door {
    /// Runs one statement.
    pub async fn query(&self, statement: &str) -> Result<String> {
        psql::query(&self.file, &self.connection, statement).await
    }

    /// Makes the table that a [`Scribe`] writes to.
    pub async fn make_table(&self) -> Result<()> {
        self.query("CREATE TABLE numbers (n bigint PRIMARY KEY)")
            .await
            .map(drop)
    }

    /// Writes one row, and tells an instant after its commit by the database's clock.
    pub async fn write(&self, n: i64) -> Result<String> {
        let insert = format!("INSERT INTO numbers VALUES ({n})");
        self.query(&insert).await?;
        self.now().await
    }

    /// The time of the database.
    pub async fn now(&self) -> Result<String> {
        let now = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        self.query(now).await
    }

    /// The rows there are, in order, separated by commas.
    pub async fn rows(&self) -> Result<String> {
        self.query("SELECT coalesce(string_agg(n::text, ',' ORDER BY n), '') FROM numbers")
            .await
    }
}

/// A writer that does not stop for errors, and never writes a number twice.
pub struct Scribe {
    acknowledged: Arc<AtomicI64>,
    stop: CancellationToken,
    task: JoinHandle<Vec<i64>>,
}

impl Scribe {
    /// Writes from `first` on until it is stopped.
    pub fn start(door: Door, first: i64) -> Self {
        let acknowledged = Arc::new(AtomicI64::new(0));
        let stop = CancellationToken::new();
        let task = tokio::spawn(write(door, first, Arc::clone(&acknowledged), stop.clone()));
        Self {
            acknowledged,
            stop,
            task,
        }
    }

    /// How many rows were acknowledged so far.
    pub fn count(&self) -> i64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Stops, and tells which rows were acknowledged.
    pub async fn stop(self) -> Result<Vec<i64>> {
        self.stop.cancel();
        self.task.await.context("the writer panicked")
    }
}

async fn write(
    door: Door,
    first: i64,
    acknowledged: Arc<AtomicI64>,
    stop: CancellationToken,
) -> Vec<i64> {
    let mut rows = Vec::new();
    let mut n = first;
    while !stop.is_cancelled() {
        let insert = format!("INSERT INTO numbers VALUES ({n})");
        if door.query(&insert).await.is_ok() {
            rows.push(n);
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        n += 1;
    }
    rows
}
