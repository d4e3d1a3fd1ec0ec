//! Keeps the audit log in order: tells of changes that were interrupted, makes the tables of months to come, drops
//! months that are over, and writes what was counted in memory. Writes only when there is something to write.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{audit_chain::Anchor, failure::Failure},
    service::{
        Service,
        ports::{Anchors, AuditTrail},
    },
    settings::AuditSettings,
};

/// What keeps the audit log in order.
pub struct Upkeep {
    /// The use cases, for what they counted.
    pub service: Arc<Service>,
    /// The log.
    pub trail: Arc<dyn AuditTrail>,
    /// Where the ends of its chain are kept.
    pub anchors: Arc<dyn Anchors>,
    /// How often, and for how long rows are kept.
    pub settings: AuditSettings,
}

impl Upkeep {
    /// Does everything now and then until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            self.round().await;
            let pause = tokio::time::sleep(self.settings.upkeep_interval());
            if shutdown.run_until_cancelled(pause).await.is_none() {
                break;
            }
        }
        report("writing what was counted", self.service.write_tally().await);
    }

    async fn round(&self) {
        report(
            "making the tables of months",
            self.trail.make_months().await,
        );
        report("writing what was counted", self.service.write_tally().await);
        report("completing interrupted changes", self.complete().await);
        report("dropping months", self.drop_expired().await);
    }

    async fn complete(&self) -> Result<(), Failure> {
        let open = self.settings.open_intent();
        let completed = self.trail.complete_interrupted(open).await?;
        if completed > 0 {
            tracing::warn!(
                audit.rows = completed,
                "changes were interrupted; their outcome is unknown"
            );
        }
        Ok(())
    }

    /// The anchor moves first: from then on, rows before its start may be missing.
    async fn drop_expired(&self) -> Result<(), Failure> {
        let kept = Duration::from_secs(u64::from(self.settings.audit_retention_days) * 24 * 3600);
        let cutoff = Timestamp::now() - kept;
        let Some(start) = self.trail.expired(cutoff).await? else {
            return Ok(());
        };
        let Some((anchor, version)) = self.anchors.read().await? else {
            return Ok(());
        };
        if anchor.head.sequence < start.link.sequence {
            return Ok(());
        }
        let moved = Anchor { start, ..anchor };
        if anchor != moved && !self.anchors.write(&moved, Some(&version)).await? {
            return Ok(());
        }
        self.trail.drop_expired(&start).await
    }
}

fn report(what: &str, result: Result<(), Failure>) {
    if let Err(failure) = result {
        let cause = failure.cause_text();
        tracing::warn!(job.name = what, error.message = cause, "a job failed");
    }
}
