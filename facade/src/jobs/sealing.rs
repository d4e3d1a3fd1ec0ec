//! Chains the rows of the audit log, and anchors the ends of the chain outside the database. Writes only when there
//! are new rows. Every replica runs it; one at a time does it.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        audit_chain::{Anchor, Link},
        failure::Failure,
    },
    service::ports::{Anchors, AuditTrail, Sealing},
};

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Seals and anchors.
pub struct Sealer {
    trail: Arc<dyn AuditTrail>,
    anchors: Arc<dyn Anchors>,
    /// The end of the chain that is known to be anchored.
    anchored: Option<Link>,
    /// Whether it has been said that the chain is broken.
    is_broken: bool,
}

impl Sealer {
    /// A sealer that knows nothing yet.
    pub fn new(trail: Arc<dyn AuditTrail>, anchors: Arc<dyn Anchors>) -> Self {
        Self {
            trail,
            anchors,
            anchored: None,
            is_broken: false,
        }
    }

    /// Seals every `interval` until shutdown.
    pub async fn run(mut self, interval: Duration, shutdown: CancellationToken) {
        let mut pause = interval;
        while shutdown
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_some()
        {
            pause = match self.round().await {
                Ok(()) => interval,
                Err(failure) => {
                    let cause = failure.cause_text();
                    tracing::warn!(error.message = cause, "the audit log cannot be sealed");
                    (2 * pause).min(LONGEST_PAUSE.max(interval))
                }
            };
        }
    }

    /// Seals and anchors everything that is there.
    async fn round(&mut self) -> Result<(), Failure> {
        loop {
            let (head, has_more) = self.trail.head().await?;
            if !has_more && self.anchored == Some(head) {
                return Ok(());
            }
            if !self.step().await? {
                return Ok(());
            }
        }
    }

    /// Seals as much as fits into one transaction, and anchors it. Whether that was done.
    async fn step(&mut self) -> Result<bool, Failure> {
        let kept = self.anchors.read().await?;
        let anchor = kept.as_ref().map(|(anchor, _)| anchor);
        let head = match self.trail.seal(anchor).await? {
            Sealing::Sealed(head, _) => head,
            Sealing::Busy => return Ok(false),
            Sealing::Broken => {
                self.report_broken();
                return Ok(false);
            }
        };
        self.is_broken = false;
        if anchor.is_none_or(|anchor| anchor.head != head) {
            if anchor.is_none() && head.sequence > 0 {
                tracing::warn!("the chain of the audit log had no anchor; it gets one now");
            }
            let start = match anchor {
                Some(anchor) => anchor.start,
                None => self.trail.start().await?,
            };
            let version = kept.as_ref().map(|(_, version)| version.as_str());
            if !self.anchors.write(&Anchor { start, head }, version).await? {
                return Ok(false);
            }
        }
        self.anchored = Some(head);
        Ok(true)
    }

    fn report_broken(&mut self) {
        if !self.is_broken {
            tracing::error!(
                "the audit log is not the one that was anchored, so it is not sealed any more; \
                 GET /audit-log/verify names the row"
            );
        }
        self.is_broken = true;
    }
}
