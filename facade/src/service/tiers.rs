//! Tiers: what can be chosen, and how platform teams change it. Reads and writes through ports.

use daap_crds::{
    DaapTier, DaapTierSpec,
    acceptance::{Objection, objections},
};

use super::{
    Service,
    change::{TRIES, Terms, restless},
    left_to_the_mirror,
};
use crate::domain::{
    entity_tag::{EntityTag, check_if_match},
    failure::{Code, Failure, FieldError},
    intent,
    tier::{Deletion, Tier, field_of_request, holders, in_use, words_of_request},
};

/// A change of a tier's spec, which may be done more than once.
pub type Change<'a> = &'a (dyn Fn(DaapTierSpec) -> Result<DaapTierSpec, Failure> + Send + Sync);

impl Service {
    /// Every tier, by name. What of it a role may see is decided where it is shown.
    pub async fn tiers(&self) -> Result<Vec<Tier>, Failure> {
        self.ports.menu.tiers().await
    }

    /// The tier of this name.
    pub async fn tier(&self, name: &str) -> Result<Tier, Failure> {
        check_name(name)?;
        self.ports.menu.tier(name).await?.ok_or_else(missing)
    }

    /// Makes a tier.
    pub async fn create_tier(
        &self,
        name: &str,
        spec: DaapTierSpec,
        terms: &Terms,
    ) -> Result<Tier, Failure> {
        let mut tier = DaapTier::new(name, spec);
        intent::mark(&mut tier.metadata, terms.intent);
        self.check_rules(&tier, None).await?;
        let live_tiers = &self.ports.live_tiers;
        let created = live_tiers
            .create(&tier, terms.intent, terms.dry_run)
            .await?;
        self.kept_tier(created, terms).await
    }

    /// Changes a tier. A change that changes nothing writes nothing.
    pub async fn change_tier(
        &self,
        name: &str,
        change: Change<'_>,
        terms: &Terms,
    ) -> Result<Tier, Failure> {
        for _ in 0..TRIES {
            let old = self.live_tier(name, terms).await?;
            if old.metadata.deletion_timestamp.is_some() {
                return Err(leaving());
            }
            let mut new = old.clone();
            new.spec = change(old.spec.clone())?;
            if new.spec == old.spec {
                return record(old);
            }
            intent::mark(&mut new.metadata, terms.intent);
            self.check_rules(&new, Some(&old)).await?;
            let live_tiers = &self.ports.live_tiers;
            let outcome = live_tiers.replace(&new, terms.intent, terms.dry_run);
            if let Ok(replaced) = outcome.await? {
                return self.kept_tier(replaced, terms).await;
            }
        }
        Err(restless("tier"))
    }

    /// Deletes a tier that no database needs.
    pub async fn delete_tier(&self, name: &str, terms: &Terms) -> Result<Deletion, Failure> {
        for _ in 0..TRIES {
            let tier = self.live_tier(name, terms).await?;
            let holders = holders(self.ports.live_tiers.phases_on(name).await?);
            if !holders.is_empty() {
                return Err(in_use(name, holders));
            }
            let outcome = self.ports.live_tiers.delete(&tier, terms.dry_run);
            if let Ok(deletion) = outcome.await? {
                if deletion == Deletion::Gone && !terms.dry_run {
                    left_to_the_mirror(self.ports.menu.forget_tier(name).await);
                }
                return Ok(deletion);
            }
        }
        Err(restless("tier"))
    }

    /// The record of what a request just made.
    async fn kept_tier(&self, resource: DaapTier, terms: &Terms) -> Result<Tier, Failure> {
        if !terms.dry_run {
            left_to_the_mirror(self.ports.menu.keep_tier(&resource).await);
        }
        record(resource)
    }

    /// The tier as it is stored, when it is in a state that the change is meant for.
    async fn live_tier(&self, name: &str, terms: &Terms) -> Result<DaapTier, Failure> {
        check_name(name)?;
        let live = self.ports.live_tiers.live(name).await?;
        let tier = live.ok_or_else(missing)?;
        let tag = EntityTag::of(&tier.metadata).ok_or_else(unstored)?;
        check_if_match(terms.if_match.as_ref(), &tag)?;
        Ok(tier)
    }

    /// The rules of the resource, and then the richer ones by which the controller accepts a tier.
    async fn check_rules(&self, tier: &DaapTier, old: Option<&DaapTier>) -> Result<(), Failure> {
        let violations = self
            .tier_rules
            .violations_of(tier, old)
            .map_err(Failure::internal)?;
        let error = |pointer: &str, message: &str| {
            FieldError::new(field_of_request(pointer), words_of_request(message))
        };
        let mut errors: Vec<_> = violations
            .iter()
            .map(|broken| error(&broken.pointer, &broken.message))
            .collect();
        if errors.is_empty() {
            let store_exists = match &tier.spec.backup {
                Some(backup) => {
                    let live_tiers = &self.ports.live_tiers;
                    live_tiers.object_store_exists(&backup.object_store).await?
                }
                None => true,
            };
            let objections = objections(&tier.spec, store_exists);
            errors.extend(objections.iter().map(
                |Objection {
                     pointer, detail, ..
                 }| error(pointer, detail),
            ));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Failure::invalid(errors))
        }
    }
}

/// Refuses a name that no tier can have.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    daap_crds::name::TeamName::parse(name)
        .map(drop)
        .map_err(|_| missing())
}

/// There is no such tier.
pub(super) fn missing() -> Failure {
    Failure::not_found("tier")
}

fn unstored() -> Failure {
    Failure::internal("the API server gave a tier without a state")
}

fn record(resource: DaapTier) -> Result<Tier, Failure> {
    Tier::from_resource(resource).ok_or_else(unstored)
}

fn leaving() -> Failure {
    Failure::new(
        Code::BeingDeleted,
        "The tier is being deleted and cannot be changed any more.",
    )
}
