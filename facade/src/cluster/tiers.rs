//! Tiers in the cluster. Reads and writes DaapTiers; reads which databases and object stores they go with.

use async_trait::async_trait;
use daap_crds::{DaapDatabase, DaapObjectStore, DaapTier, Phase};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
    core::{DeserializeGuard, Status},
};
use uuid::Uuid;

use super::{Cluster, PAGE, by_facade, decoded, refused, replace, unavailable, within_deadline};
use crate::{
    domain::{
        failure::{Code, Failure, FieldError},
        intent::is_marked,
        tier::{Deletion, field_of_request, words_of_request},
    },
    service::ports::{LiveTiers, Moved},
};

impl Cluster {
    fn tier_api(&self) -> Api<DeserializeGuard<DaapTier>> {
        Api::all(self.client.clone())
    }

    fn writable_tiers(&self) -> Api<DaapTier> {
        Api::all(self.client.clone())
    }
}

#[async_trait]
impl LiveTiers for Cluster {
    async fn live(&self, name: &str) -> Result<Option<DaapTier>, Failure> {
        let found = within_deadline(self.tier_api().get_opt(name))
            .await
            .map_err(unavailable)?;
        Ok(found.and_then(|DeserializeGuard(tier)| decoded(tier)))
    }

    /// When the answer is lost or says that the name exists, the tier of that name is looked at: the one that this
    /// intent made is the one that was asked for.
    async fn create(
        &self,
        tier: &DaapTier,
        intent: Uuid,
        dry_run: bool,
    ) -> Result<DaapTier, Failure> {
        let params = PostParams {
            dry_run,
            ..by_facade()
        };
        let created = within_deadline(self.writable_tiers().create(&params, tier)).await;
        let failure = match created {
            Ok(created) => return Ok(created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => name_taken(tier),
            Err(kube::Error::Api(status)) if status.is_invalid() => {
                return Err(broken_rules(&status));
            }
            Err(error) => unavailable(error),
        };
        match self.live(&tier.name_any()).await {
            Ok(Some(found)) if is_marked(&found.metadata, intent) => Ok(found),
            Ok(_) | Err(_) => Err(failure),
        }
    }

    async fn replace(
        &self,
        tier: &DaapTier,
        intent: Uuid,
        dry_run: bool,
    ) -> Result<Result<DaapTier, Moved>, Failure> {
        replace(&self.writable_tiers(), tier, intent, dry_run, broken_rules).await
    }

    async fn delete(
        &self,
        tier: &DaapTier,
        dry_run: bool,
    ) -> Result<Result<Deletion, Moved>, Failure> {
        let params = DeleteParams {
            dry_run,
            preconditions: Some(Preconditions {
                uid: tier.uid(),
                resource_version: tier.resource_version(),
            }),
            ..DeleteParams::background()
        };
        match within_deadline(self.tier_api().delete(&tier.name_any(), &params)).await {
            Ok(outcome) => Ok(Ok(if outcome.is_left() {
                Deletion::Leaving
            } else {
                Deletion::Gone
            })),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                Ok(Err(Moved))
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// One that cannot be read counts as an error: it may hold the tier.
    async fn phases_on(&self, name: &str) -> Result<Vec<Phase>, Failure> {
        let databases: Api<DeserializeGuard<DaapDatabase>> = Api::all(self.client.clone());
        let mut params = ListParams::default()
            .fields(&format!("spec.tier={name}"))
            .limit(PAGE);
        let mut phases = Vec::new();
        loop {
            let page = within_deadline(databases.list(&params))
                .await
                .map_err(unavailable)?;
            phases.extend(page.items.into_iter().map(|DeserializeGuard(database)| {
                database.map_or(Phase::Error, |database| {
                    let status = database.status.unwrap_or_default();
                    status.phase.unwrap_or_default()
                })
            }));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(phases),
            }
        }
    }

    async fn object_store_exists(&self, name: &str) -> Result<bool, Failure> {
        let stores: Api<DaapObjectStore> = Api::all(self.client.clone());
        let found = within_deadline(stores.get_metadata_opt(name)).await;
        Ok(found.map_err(unavailable)?.is_some())
    }
}

fn name_taken(tier: &DaapTier) -> Failure {
    let detail = format!("There is a tier named '{}' already.", tier.name_any());
    Failure {
        errors: vec![FieldError::new("/name", "is taken")],
        ..Failure::new(Code::NameTaken, detail)
    }
}

fn broken_rules(status: &Status) -> Failure {
    refused(status, field_of_request, words_of_request)
}
