//! Quotas: see and set what all databases of a tier may cost together. Reads and writes through ports.

use daap_crds::DaapQuotaSpec;
use uuid::Uuid;

use super::{Service, left_to_the_mirror, tiers};
use crate::domain::{entity_tag::EntityTags, failure::Failure, quota::Quota, tier::Tier};

impl Service {
    /// The quota of a tier.
    pub async fn quota(&self, tier: &str) -> Result<Quota, Failure> {
        let tier = self.tier(tier).await?;
        let quota = self.ports.menu.quota(&tier.name).await?;
        Ok(Quota::of(&tier, quota))
    }

    /// Sets all limits of a tier, if its quota is in a state that `if_match` names; absent ones are removed. `intent` is
    /// the audit row that says so, already committed.
    pub async fn set_quota(
        &self,
        tier: &str,
        limits: &DaapQuotaSpec,
        if_match: Option<&EntityTags>,
        intent: Uuid,
    ) -> Result<Quota, Failure> {
        tiers::check_name(tier)?;
        let tier = self.ports.live_tiers.live(tier).await?;
        let tier = tier
            .and_then(Tier::from_resource)
            .ok_or_else(tiers::missing)?;
        let quotas = &self.ports.live_quotas;
        let quota = quotas.set(&tier.name, limits, if_match, intent).await?;
        left_to_the_mirror(self.ports.menu.keep_quota(&quota).await);
        Ok(Quota::of(&tier, Some(quota)))
    }

    /// Keeps the quota of a tier as it is after a verdict. The controller writes a quota before it admits anything, so
    /// whoever was admitted, or refused, finds its numbers on every replica.
    pub(super) async fn keep_quota_after_verdict(&self, tier: &str) {
        let kept = async {
            match self.ports.live_quotas.live(tier).await? {
                Some(quota) => self.ports.menu.keep_quota(&quota).await,
                None => Ok(()),
            }
        };
        left_to_the_mirror(kept.await);
    }
}
