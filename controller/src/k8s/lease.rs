//! Which replica leads: one `Lease`, held by one replica at a time. Writes the Lease only.
//!
//! A lease alone does not fence: a replica that sleeps may wake up believing. So every write asks [`Leadership`]
//! first, every write of consequence carries the uid and resourceVersion it was decided on, and a replica that
//! lost the lease ends instead of going on.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseCreateMode, LeaseManagerBuilder, LeaseManagerError};
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

use super::error::CallError;

/// How long a lease is held without being renewed.
const DURATION_SECONDS: u64 = 15;
/// How long before its end it is renewed.
const RENEWAL_SECONDS: u64 = 10;

/// Why there is no leadership.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// The Lease cannot be read or made.
    #[error("the lease cannot be used")]
    Manager(#[from] LeaseManagerError),
    /// Another replica took over, or the Lease could not be renewed in time.
    #[error("the lease was lost")]
    Lost,
}

/// Whether this replica leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    holds: watch::Receiver<bool>,
}

impl Leadership {
    /// Leadership that is told from elsewhere.
    pub fn from_channel(holds: watch::Receiver<bool>) -> Self {
        Self { holds }
    }

    /// Whether this replica leads.
    pub fn holds(&self) -> bool {
        *self.holds.borrow() && self.holds.has_changed().is_ok()
    }

    /// Fails unless this replica leads.
    ///
    /// # Errors
    /// [`CallError::NotLeader`].
    pub fn check(&self) -> Result<(), CallError> {
        if self.holds() {
            Ok(())
        } else {
            Err(CallError::NotLeader)
        }
    }

    /// Waits until this replica leads.
    ///
    /// # Errors
    /// When the Lease is not looked after any more.
    pub async fn acquired(&mut self) -> Result<(), LeaseError> {
        self.holds
            .wait_for(|holds| *holds)
            .await
            .map(drop)
            .map_err(|_| LeaseError::Lost)
    }

    /// Waits until this replica does not lead any more.
    pub async fn lost(&mut self) {
        // An error means that nobody looks after the Lease any more, which is a loss too.
        let _ = self.holds.wait_for(|holds| !*holds).await;
    }
}

/// The Lease, looked after in a task of its own until it is released.
pub struct Lease {
    leadership: Leadership,
    task: JoinHandle<kube_lease_manager::Result<kube_lease_manager::LeaseManager>>,
}

impl Lease {
    /// Starts to compete for a Lease.
    ///
    /// # Errors
    /// When the Lease cannot be read or made.
    pub async fn compete(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
    ) -> Result<Self, LeaseError> {
        let manager = LeaseManagerBuilder::new(client, name)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION_SECONDS)
            .with_grace(RENEWAL_SECONDS)
            .with_create_mode(LeaseCreateMode::AutoCreate)
            .build()
            .await?;
        let (holds, task) = manager.watch().await;
        Ok(Self {
            leadership: Leadership { holds },
            task,
        })
    }

    /// Whether this replica leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Gives the Lease back, so that another replica need not wait for its end. Every [`Leadership`] of it must be
    /// dropped: they keep it held.
    pub async fn release(self) {
        const PATIENCE: Duration = Duration::from_secs(3);
        let Self { leadership, task } = self;
        drop(leadership);
        if tokio::time::timeout(PATIENCE, task).await.is_err() {
            tracing::warn!("the lease was not given back in time; it ends by itself");
        }
    }
}
