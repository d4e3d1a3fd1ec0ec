//! The operations about quotas.

use std::sync::Arc;

use daap_crds::{
    DaapQuotaSpec,
    cost::{Cost, Resource},
    quantity::{Bytes, Cpu},
};
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};

use super::{
    Group,
    amount::{Cores, Gibibytes},
    body::Body,
    caller::Caller,
    entity_tag::Condition,
    problem::problems,
    staleness::stale_seconds,
};
use crate::{
    domain::{entity_tag::EntityTag, quota::Quota as QuotaRecord},
    service::Service,
};

/// The operations about quotas.
pub struct Quotas;

/// What all databases of a tier may have together. A limit that is absent does not exist.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct QuotaLimits {
    /// How many databases.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000")))]
    pub max_databases: Option<i64>,
    /// CPU of all instances and poolers, in cores, in steps of a thousandth.
    pub cpu_cores: Option<Cores>,
    /// Memory of all instances and poolers, in GiB, in steps of a MiB (1/1024).
    pub memory_gib: Option<Gibibytes>,
    /// All volumes, in GiB, in steps of a MiB (1/1024).
    pub storage_gib: Option<Gibibytes>,
}

/// What the databases of a tier have.
#[derive(Debug, Clone, Object)]
pub struct QuotaUse {
    /// How many databases there are.
    #[oai(validator(minimum(value = "0")))]
    pub max_databases: i64,
    /// CPU of all instances and poolers, in cores.
    pub cpu_cores: Cores,
    /// Memory of all instances and poolers, in GiB.
    pub memory_gib: Gibibytes,
    /// All volumes, in GiB.
    pub storage_gib: Gibibytes,
}

/// The quota of a tier.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Quota {
    /// The tier.
    #[oai(validator(max_length = 40))]
    tier: String,
    /// The limits.
    limits: QuotaLimits,
    /// What the databases of the tier have. Absent while it was not counted yet.
    allocated: Option<QuotaUse>,
    /// What is left of each limit; nothing, where more is allocated than the limit allows.
    remaining: QuotaLimits,
    /// How many more databases of the tier fit. Absent: as many as you like, or not known at the moment.
    #[oai(validator(minimum(value = "0")))]
    additional_databases: Option<u64>,
    /// What there is to say about it, such as that more is allocated than the limits allow.
    #[oai(validator(max_length = 1000))]
    message: Option<String>,
}

/// A found quota.
#[derive(ApiResponse)]
pub enum Found {
    /// The quota.
    #[oai(status = 200)]
    Quota(
        Json<Box<Quota>>,
        /// The tag of this state of the quota. Absent while the tier has none.
        #[oai(header = "ETag")]
        Option<EntityTag>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
    /// The quota is still in the state that 'If-None-Match' names.
    #[oai(status = 304)]
    Unchanged(
        /// The tag of this state of the quota.
        #[oai(header = "ETag")]
        Option<EntityTag>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
}

/// A changed quota.
#[derive(ApiResponse)]
pub enum Changed {
    /// The quota as it is now.
    #[oai(status = 200)]
    Quota(
        Json<Box<Quota>>,
        /// The tag of this state of the quota.
        #[oai(header = "ETag")]
        Option<EntityTag>,
    ),
}

problems! {
    /// How reading a quota fails.
    GetProblem: 400 401 404 500 503
}
problems! {
    /// How setting a quota fails.
    SetProblem: 400 401 403 404 408 412 413 415 422 500 503
}

#[OpenApi(tag = "Group::Quotas")]
impl Quotas {
    /// Get the quota of a tier
    ///
    /// Shows what all databases of a tier may have together, what they have, what is left, and how many more fit. It
    /// follows the cluster: a database that you created, or that was refused, is in the numbers; what deleting one
    /// releases is told when that is done.
    #[oai(path = "/tiers/:id/quota", method = "get", operation_id = "getQuota")]
    async fn get(
        &self,
        _caller: Caller,
        service: Data<&Arc<Service>>,
        /// The name of the tier.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Answer only when the quota is in another state than these tags name.
        #[oai(name = "If-None-Match")]
        if_none_match: Condition,
    ) -> Result<Found, GetProblem> {
        let stale = stale_seconds(&service)?;
        let quota = service.quota(&id.0).await?;
        let tag = quota.tag.clone();
        if if_none_match.says_known(tag.as_ref()) {
            return Ok(Found::Unchanged(tag, stale));
        }
        Ok(Found::Quota(Json(Box::new(quota.into())), tag, stale))
    }

    /// Set the quota of a tier
    ///
    /// Sets all limits at once: one that is absent is removed. Limits may be lower than what is allocated; then nothing
    /// is taken away, the answer says so, and no database is admitted until there is room. Only platform teams may.
    #[oai(path = "/tiers/:id/quota", method = "put", operation_id = "setQuota")]
    async fn set(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The name of the tier.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Set it only when nobody changed the limits since the state that these tags name.
        #[oai(name = "If-Match")]
        if_match: Condition,
        body: Body<QuotaLimits>,
    ) -> Result<Changed, SetProblem> {
        let limits = DaapQuotaSpec::from(body.0);
        let quota = service
            .set_quota(&id.0, &limits, if_match.0.as_ref(), caller.intent)
            .await?;
        let tag = quota.tag.clone();
        Ok(Changed::Quota(Json(Box::new(quota.into())), tag))
    }
}

impl From<QuotaRecord> for Quota {
    fn from(record: QuotaRecord) -> Self {
        let left = |resource| record.remaining(resource);
        let bytes = |resource| left(resource).and_then(Bytes::from_mebibytes);
        let remaining = DaapQuotaSpec {
            databases: left(Resource::Databases).and_then(|count| i64::try_from(count).ok()),
            cpu: left(Resource::Cpu).map(Cpu::from_millicores),
            memory: bytes(Resource::Memory),
            storage: bytes(Resource::Storage),
        };
        Self {
            remaining: remaining.into(),
            additional_databases: record.room(),
            message: record.message(),
            tier: record.tier,
            limits: record.limits.into(),
            allocated: record.allocated.map(Into::into),
        }
    }
}

impl From<DaapQuotaSpec> for QuotaLimits {
    fn from(spec: DaapQuotaSpec) -> Self {
        Self {
            max_databases: spec.databases,
            cpu_cores: spec.cpu.map(Cores),
            memory_gib: spec.memory.map(Gibibytes),
            storage_gib: spec.storage.map(Gibibytes),
        }
    }
}

impl From<QuotaLimits> for DaapQuotaSpec {
    fn from(limits: QuotaLimits) -> Self {
        Self {
            databases: limits.max_databases,
            cpu: limits.cpu_cores.map(|cores| cores.0),
            memory: limits.memory_gib.map(|gibibytes| gibibytes.0),
            storage: limits.storage_gib.map(|gibibytes| gibibytes.0),
        }
    }
}

impl From<Cost> for QuotaUse {
    fn from(cost: Cost) -> Self {
        Self {
            max_databases: cost.databases,
            cpu_cores: Cores(cost.cpu),
            memory_gib: Gibibytes(cost.memory),
            storage_gib: Gibibytes(cost.storage),
        }
    }
}
