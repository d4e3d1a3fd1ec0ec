//! Quotas in the cluster. Reads and writes DaapQuotas.

use async_trait::async_trait;
use daap_crds::{DaapQuota, DaapQuotaSpec, label};
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
    },
    service::ports::LiveQuotas,
};

/// How often a change is tried when others write the same quota at the same time.
const TRIES: usize = 10;

#[async_trait]
impl LiveQuotas for Cluster {
    async fn live(&self, name: &str) -> Result<Option<DaapQuota>, Failure> {
        within_deadline(self.quota_api().get_opt(name))
            .await
            .map_err(unavailable)
    }

    async fn set(
        &self,
        name: &str,
        limits: &DaapQuotaSpec,
        if_match: Option<&EntityTags>,
        intent: Uuid,
    ) -> Result<DaapQuota, Failure> {
        for _ in 1..TRIES {
            match self.try_to_set(name, limits, if_match, intent).await? {
                Ok(set) => return Ok(set),
                // The controller counted at the same moment.
                Err(kube::Error::Api(status))
                    if status.is_conflict() || status.is_already_exists() => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        let last = self.try_to_set(name, limits, if_match, intent).await?;
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
        name: &str,
        limits: &DaapQuotaSpec,
        if_match: Option<&EntityTags>,
        intent: Uuid,
    ) -> Result<Result<DaapQuota, kube::Error>, Failure> {
        let quotas = self.quota_api();
        let Some(quota) = self.live(name).await? else {
            if if_match.is_some() {
                return Err(Failure::new(
                    Code::PreconditionFailed,
                    "There is no quota yet, so it is in no state that 'If-Match' could name.",
                ));
            }
            let mut quota = DaapQuota::new(name, limits.clone());
            mark(&mut quota.metadata, intent);
            return Ok(within_deadline(quotas.create(&by_facade(), &quota)).await);
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
        Ok(within_deadline(quotas.patch(name, &parameters, &changes)).await)
    }
}
