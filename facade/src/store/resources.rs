//! Tiers and quotas in SQL, as the mirror holds them: their state now, without history. Reads and writes.

use std::collections::HashMap;

use async_trait::async_trait;
use daap_crds::{DaapQuota, DaapTier, ResourceExt as _, kind::ClusterWide};
use serde_json::Value;
use sqlx::types::Json;

use super::{Store, call, mirror::storable};
use crate::{
    domain::{failure::Failure, tier::Tier},
    service::ports::Menu,
};

#[async_trait]
impl Menu for Store {
    async fn tiers(&self) -> Result<Vec<Tier>, Failure> {
        let tiers: Vec<DaapTier> = self.resources().await?;
        Ok(tiers.into_iter().filter_map(Tier::from_resource).collect())
    }

    async fn tier(&self, name: &str) -> Result<Option<Tier>, Failure> {
        let tier: Option<DaapTier> = self.resource(name).await?;
        Ok(tier.and_then(Tier::from_resource))
    }

    async fn keep_tier(&self, tier: &DaapTier) -> Result<(), Failure> {
        self.keep_resource(tier).await
    }

    async fn forget_tier(&self, name: &str) -> Result<(), Failure> {
        self.forget_resource::<DaapTier>(name).await
    }

    async fn quota(&self, name: &str) -> Result<Option<DaapQuota>, Failure> {
        self.resource(name).await
    }

    async fn keep_quota(&self, quota: &DaapQuota) -> Result<(), Failure> {
        self.keep_resource(quota).await
    }
}

impl Store {
    /// The version of each, by name.
    pub async fn resource_versions<K: ClusterWide>(&self) -> Result<HashMap<String, i64>, Failure> {
        let query =
            sqlx::query_as("select name, resource_version from resource_record where kind = $1")
                .bind(K::kind(&()));
        let rows: Vec<(String, i64)> = call(query.fetch_all(&self.pool)).await?;
        Ok(rows.into_iter().collect())
    }

    /// Keeps what a resource is now, unless something at least as new is known.
    pub async fn keep_resource<K: ClusterWide>(&self, resource: &K) -> Result<(), Failure> {
        let mut kept: K = storable(resource)?;
        kept.managed_fields_mut().clear();
        let version: i64 = resource
            .resource_version()
            .and_then(|version| version.parse().ok())
            .ok_or_else(|| Failure::internal("a resource without a version was observed"))?;
        let query = sqlx::query(
            "insert into resource_record (kind, name, resource_version, resource) values ($1, $2, $3, $4) \
             on conflict (kind, name) do update \
             set resource_version = excluded.resource_version, resource = excluded.resource \
             where resource_record.resource_version < excluded.resource_version",
        )
        .bind(K::kind(&()))
        .bind(kept.name_any())
        .bind(version)
        .bind(Json(&kept));
        call(query.execute(&self.pool)).await.map(drop)
    }

    /// Keeps that a resource is gone.
    pub async fn forget_resource<K: ClusterWide>(&self, name: &str) -> Result<(), Failure> {
        let query = sqlx::query("delete from resource_record where kind = $1 and name = $2")
            .bind(K::kind(&()))
            .bind(name);
        call(query.execute(&self.pool)).await.map(drop)
    }

    /// The resource of this name.
    async fn resource<K: ClusterWide>(&self, name: &str) -> Result<Option<K>, Failure> {
        let query = sqlx::query_scalar(
            "select resource from resource_record where kind = $1 and name = $2",
        )
        .bind(K::kind(&()))
        .bind(name);
        let row: Option<Json<Value>> = call(query.fetch_optional(&self.pool)).await?;
        row.map(decoded).transpose()
    }

    /// Every resource of the kind, by name.
    async fn resources<K: ClusterWide>(&self) -> Result<Vec<K>, Failure> {
        let query = sqlx::query_scalar(
            "select resource from resource_record where kind = $1 order by name",
        )
        .bind(K::kind(&()));
        let rows: Vec<Json<Value>> = call(query.fetch_all(&self.pool)).await?;
        rows.into_iter().map(decoded).collect()
    }
}

fn decoded<K: ClusterWide>(Json(value): Json<Value>) -> Result<K, Failure> {
    serde_json::from_value(value).map_err(Failure::internal)
}
