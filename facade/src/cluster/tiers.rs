//! Tiers in the cluster. Reads DaapTiers.

use daap_crds::DaapTier;
use kube::{Api, core::DeserializeGuard};

use super::{Cluster, decoded, list_all, unavailable, within_deadline};
use crate::domain::{failure::Failure, tier::Tier};

impl Cluster {
    fn tier_api(&self) -> Api<DeserializeGuard<DaapTier>> {
        Api::all(self.client.clone())
    }

    /// Every tier, by name.
    pub(super) async fn list_tiers(&self) -> Result<Vec<Tier>, Failure> {
        let mut tiers: Vec<_> = list_all(&self.tier_api(), None)
            .await?
            .into_iter()
            .filter_map(Tier::from_resource)
            .collect();
        tiers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(tiers)
    }

    /// The tier of this name.
    pub(super) async fn get_tier(&self, name: &str) -> Result<Option<Tier>, Failure> {
        let found = within_deadline(self.tier_api().get_opt(name))
            .await
            .map_err(unavailable)?;
        Ok(found
            .and_then(|DeserializeGuard(tier)| decoded(tier))
            .and_then(Tier::from_resource))
    }
}
