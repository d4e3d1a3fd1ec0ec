//! Quotas: see and set what all databases of a tier may cost together. Reads and writes through ports.

use daap_crds::{DaapQuotaSpec, name::TeamName};
use uuid::Uuid;

use super::Service;
use crate::domain::{entity_tag::EntityTags, failure::Failure, quota::Quota};

impl Service {
    /// The quota of a tier.
    pub async fn quota(&self, tier: &str) -> Result<Quota, Failure> {
        let missing = || Failure::not_found("tier");
        // Tiers are named like teams.
        TeamName::parse(tier).map_err(|_| missing())?;
        self.ports.quotas.quota(tier).await?.ok_or_else(missing)
    }

    /// Sets all limits of a tier, if its quota is in a state that `if_match` names; absent ones are removed. `intent` is the audit row that says so, already committed.
    pub async fn set_quota(
        &self,
        tier: &str,
        limits: &DaapQuotaSpec,
        if_match: Option<&EntityTags>,
        intent: Uuid,
    ) -> Result<Quota, Failure> {
        self.quota(tier).await?;
        let quotas = &self.ports.quotas;
        quotas.set_quota(tier, limits, if_match, intent).await?;
        self.quota(tier).await
    }
}
