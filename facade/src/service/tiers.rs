//! Tiers: what can be chosen. Reads through a port.

use super::Service;
use crate::domain::{failure::Failure, tier::Tier};

impl Service {
    /// Every tier, by name. What of it a role may see is decided where it is shown.
    pub async fn tiers(&self) -> Result<Vec<Tier>, Failure> {
        self.ports.resources.tiers().await
    }

    /// The tier of this name.
    pub async fn tier(&self, name: &str) -> Result<Tier, Failure> {
        let missing = || Failure::not_found("tier");
        daap_crds::name::TeamName::parse(name).map_err(|_| missing())?;
        self.ports.resources.tier(name).await?.ok_or_else(missing)
    }
}
