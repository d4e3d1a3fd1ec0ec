//! Quotas in the cluster. Reads DaapQuotas, DaapTiers and DaapTierRevisions, writes DaapQuotas.

use async_trait::async_trait;
use daap_crds::{DaapQuota, DaapQuotaSpec, DaapTierRevision, cost::Cost, label};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use uuid::Uuid;

use super::{Cluster, by_facade, unavailable, within_deadline};
use crate::{
    domain::{
        entity_tag::{EntityTag, EntityTags, check_if_match},
        failure::{Code, Failure},
        intent::mark,
        quota::Quota,
        tier::Tier,
    },
    service::ports::{LiveTiers as _, Quotas},
};

/// How often a change is tried when others write the same quota at the same time.
const TRIES: usize = 10;

#[async_trait]
impl Quotas for Cluster {
    async fn quota(&self, tier: &str) -> Result<Option<Quota>, Failure> {
        let live = self.live(tier).await?;
        let Some(found) = live.and_then(Tier::from_resource) else {
            return Ok(None);
        };
        let quota = within_deadline(self.quota_api().get_opt(tier))
            .await
            .map_err(unavailable)?;
        let tag = quota
            .as_ref()
            .and_then(|quota| EntityTag::of(&quota.metadata));
        let (limits, status) = quota
            .map(|quota| (quota.spec, quota.status))
            .unwrap_or_default();
        Ok(Some(Quota {
            tier: tier.to_owned(),
            tag,
            limits,
            allocated: status.map(|status| status.allocated),
            each: self.cost_of_one(&found).await?,
        }))
    }

    async fn set_quota(
        &self,
        tier: &str,
        limits: &DaapQuotaSpec,
        if_match: Option<&EntityTags>,
        intent: Uuid,
    ) -> Result<(), Failure> {
        for _ in 1..TRIES {
            match self.try_to_set(tier, limits, if_match, intent).await? {
                Ok(()) => return Ok(()),
                // The controller counted at the same moment.
                Err(kube::Error::Api(status))
                    if status.is_conflict() || status.is_already_exists() => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        let last = self.try_to_set(tier, limits, if_match, intent).await?;
        last.map_err(unavailable)
    }
}

impl Cluster {
    fn quota_api(&self) -> Api<DaapQuota> {
        Api::all(self.client.clone())
    }

    /// Sets the limits of the quota as it is now. One that is not there is made: the platform need not wait for the
    /// controller.
    async fn try_to_set(
        &self,
        tier: &str,
        limits: &DaapQuotaSpec,
        if_match: Option<&EntityTags>,
        intent: Uuid,
    ) -> Result<Result<(), kube::Error>, Failure> {
        let quotas = self.quota_api();
        let found = within_deadline(quotas.get_opt(tier))
            .await
            .map_err(unavailable)?;
        let Some(quota) = found else {
            if if_match.is_some() {
                return Err(Failure::new(
                    Code::PreconditionFailed,
                    "There is no quota yet, so it is in no state that 'If-Match' could name.",
                ));
            }
            let mut quota = DaapQuota::new(tier, limits.clone());
            mark(&mut quota.metadata, intent);
            let created = within_deadline(quotas.create(&by_facade(), &quota)).await;
            return Ok(created.map(drop));
        };
        if let Some(tag) = EntityTag::of(&quota.metadata) {
            check_if_match(if_match, &tag)?;
        }
        // A field that is null is removed.
        let changes = json!({
            "metadata": {
                "resourceVersion": quota.metadata.resource_version,
                "annotations": {label::INTENT: intent},
            },
            "spec": {
                "databases": limits.databases, "cpu": limits.cpu, "memory": limits.memory, "storage": limits.storage,
            },
        });
        let changes = Patch::Merge(changes);
        let parameters = PatchParams {
            field_manager: by_facade().field_manager,
            ..PatchParams::default()
        };
        let changed = within_deadline(quotas.patch(tier, &parameters, &changes)).await;
        Ok(changed.map(drop))
    }

    /// What one more database costs, as long as the tier takes any.
    async fn cost_of_one(&self, tier: &Tier) -> Result<Option<Cost>, Failure> {
        let Some(name) = tier.current_revision.as_ref().filter(|_| tier.accepted) else {
            return Ok(None);
        };
        let revisions: Api<DaapTierRevision> = Api::all(self.client.clone());
        let revision = within_deadline(revisions.get_opt(name))
            .await
            .map_err(unavailable)?;
        Ok(revision.and_then(|revision| Cost::of(&revision.spec.template)))
    }
}
