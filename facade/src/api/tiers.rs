//! The operations about tiers: guarantees for everybody, definitions for platform teams.

use std::{collections::BTreeMap, sync::Arc};

use daap_crds::{DaapTierSpec, tier};
use poem::web::Data;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, param::Path, payload::Json};

use super::{Group, caller::Caller, entity_tag::Condition, problem::problems};
use crate::{
    domain::{
        actor::Role,
        entity_tag::EntityTag,
        tier::{Tier as TierRecord, destruction_effect},
    },
    service::Service,
};

/// The operations about tiers.
pub struct Tiers;

/// A tier: what a database of it is guaranteed.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Tier {
    /// Identifies the tier; the same as its name.
    #[oai(validator(max_length = 40))]
    id: String,
    /// The name, as given when a database is created.
    #[oai(validator(max_length = 40))]
    name: String,
    /// What one gets, in the words of the platform team.
    #[oai(validator(max_length = 500))]
    description: String,
    /// Whether databases can be created on it at the moment.
    available: bool,
    /// The major version of PostgreSQL.
    #[oai(validator(minimum(value = "1"), maximum(value = "99")))]
    postgres_version: i32,
    /// Whether a database survives the loss of the machine it runs on without waiting for a repair.
    high_availability: bool,
    /// Backups.
    backup: BackupGuarantee,
    /// Whether a database can be restored to an instant in the past.
    restore: bool,
    /// Connection pooling.
    pooling: PoolingGuarantee,
    /// What deleting a database does.
    destruction: DestructionGuarantee,
    /// The extensions that databases can enable, as far as the platform team lists them.
    #[oai(validator(max_items = 200))]
    extensions: Vec<String>,
    /// Everything behind the guarantees. Only platform teams see it.
    definition: Option<TierDefinition>,
    /// How the tier is doing. Only platform teams see it.
    state: Option<TierState>,
}

/// Backups of the databases of a tier.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct BackupGuarantee {
    /// Whether there are any.
    configured: bool,
    /// When they are taken, as a cron schedule in UTC.
    #[oai(validator(max_length = 100))]
    frequency: Option<String>,
    /// How long they are kept: days (d), weeks (w) or months (m).
    #[oai(validator(max_length = 5))]
    retention: Option<String>,
}

/// Connection pooling of a tier.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct PoolingGuarantee {
    /// Whether there is a pooler.
    configured: bool,
    /// When a connection to the database is given back to the pool.
    mode: Option<PoolMode>,
}

/// When a connection to the database is given back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum PoolMode {
    /// When the client disconnects.
    Session,
    /// At the end of each transaction.
    Transaction,
}

/// A destruction strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum Strategy {
    /// Inaccessible, data in place, reversible.
    Freeze,
    /// Removed, recoverable from backups.
    Archive,
    /// Removed with its backups, irrecoverably.
    Hard,
}

/// What deleting a database of a tier does.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct DestructionGuarantee {
    /// The strategy.
    strategy: Strategy,
    /// What it does, in words.
    #[oai(validator(max_length = 200))]
    effect: String,
    /// How long an archived database can be restored. Absent: until somebody deletes it, or not at all.
    #[oai(validator(max_length = 5))]
    archive_retention: Option<String>,
}

/// Everything behind the guarantees of a tier.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct TierDefinition {
    /// PostgreSQL itself.
    postgres: PostgresDefinition,
    /// What one instance gets.
    compute: ComputeDefinition,
    /// The volumes of one instance.
    storage: StorageDefinition,
    /// How many instances, and how they replicate.
    availability: AvailabilityDefinition,
    /// Backups and continuous archiving. Absent: none.
    backup: Option<BackupDefinition>,
    /// The connection pooler. Absent: none.
    pooling: Option<PoolingDefinition>,
    /// What deleting a database does.
    destruction: DestructionDefinition,
}

/// PostgreSQL: version, image and settings.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct PostgresDefinition {
    /// The major version.
    #[oai(validator(minimum(value = "1"), maximum(value = "99")))]
    major: i32,
    /// The container image of the instances.
    #[oai(validator(max_length = 300))]
    image: Option<String>,
    /// The name of the image catalogue that has an image for the major version.
    #[oai(validator(max_length = 253))]
    catalog: Option<String>,
    /// Settings for postgresql.conf.
    #[oai(validator(max_properties = 100))]
    parameters: BTreeMap<String, String>,
    /// The extensions that the image offers.
    #[oai(validator(max_items = 200))]
    extensions: Vec<String>,
}

/// CPU and memory of one instance.
#[derive(Debug, Clone, Object)]
pub struct ComputeDefinition {
    /// Whole cores such as '2', or thousandths such as '500m'.
    #[oai(validator(max_length = 20))]
    cpu: String,
    /// A whole number with Mi, Gi or Ti.
    #[oai(validator(max_length = 20))]
    memory: String,
}

/// The volumes of one instance.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct StorageDefinition {
    /// The size of the data volume: a whole number with Mi, Gi or Ti.
    #[oai(validator(max_length = 20))]
    size: String,
    /// The storage class. Absent: the cluster's default.
    #[oai(validator(max_length = 253))]
    class: Option<String>,
    /// The size of a volume of its own for the write-ahead log. Absent: it shares the data volume.
    #[oai(validator(max_length = 20))]
    wal_size: Option<String>,
}

/// How many instances, and how they replicate.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct AvailabilityDefinition {
    /// One primary, the others standbys.
    #[oai(validator(minimum(value = "1"), maximum(value = "9")))]
    instances: i32,
    /// Synchronous replication. Absent: asynchronous.
    synchronous: Option<SynchronousDefinition>,
}

/// Synchronous replication.
#[derive(Debug, Clone, Object)]
pub struct SynchronousDefinition {
    /// How many standbys confirm a commit.
    #[oai(validator(minimum(value = "1"), maximum(value = "8")))]
    number: i32,
    /// What happens to writes when too few standbys are left.
    durability: Durability,
}

/// What happens to writes when too few standbys are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum Durability {
    /// Writes wait.
    Required,
    /// Writes go on without the missing standbys.
    Preferred,
}

/// Backups and continuous archiving.
#[derive(Debug, Clone, Object)]
pub struct BackupDefinition {
    /// When base backups are taken, as a cron schedule in UTC.
    #[oai(validator(max_length = 100))]
    schedule: String,
    /// How long backups are kept.
    #[oai(validator(max_length = 5))]
    retention: String,
    /// The object store.
    #[oai(validator(max_length = 40))]
    object_store: String,
    /// How long a quiet database waits until its changes are archived.
    #[oai(validator(max_length = 7))]
    archive_timeout: String,
}

/// A connection pooler.
#[derive(Debug, Clone, Object)]
pub struct PoolingDefinition {
    /// When a server connection is given back.
    mode: PoolMode,
    /// How many clients one pooler instance accepts.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    max_client_connections: i32,
    /// How many server connections one pooler instance opens for a user and database.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    default_pool_size: i32,
    /// How many pooler instances.
    #[oai(validator(minimum(value = "1"), maximum(value = "9")))]
    instances: i32,
    /// What one pooler instance gets.
    compute: ComputeDefinition,
}

/// What deleting a database does.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct DestructionDefinition {
    /// The strategy.
    strategy: Strategy,
    /// How long an archived database can be restored. Absent: until somebody deletes it.
    #[oai(validator(max_length = 5))]
    archive_retention: Option<String>,
}

/// How a tier is doing.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct TierState {
    /// Whether the definition can be served.
    accepted: bool,
    /// Why not.
    #[oai(validator(max_length = 4000))]
    message: Option<String>,
    /// The revision that new databases are bound to.
    #[oai(validator(max_length = 63))]
    current_revision: Option<String>,
    /// How many databases hold a revision of the tier.
    #[oai(validator(minimum(value = "0")))]
    in_use: i32,
}

/// Tiers.
#[derive(Debug, Clone, Object)]
pub struct TierList {
    /// Every tier, by name.
    #[oai(validator(max_items = 1000))]
    items: Vec<Tier>,
}

/// A found tier.
#[derive(ApiResponse)]
pub enum Found {
    /// The tier.
    #[oai(status = 200)]
    Tier(
        Json<Box<Tier>>,
        /// The tag of this state of the tier.
        #[oai(header = "ETag")]
        EntityTag,
    ),
    /// The tier is still in the state that 'If-None-Match' names.
    #[oai(status = 304)]
    Unchanged(
        /// The tag of this state of the tier.
        #[oai(header = "ETag")]
        EntityTag,
    ),
}

/// Found tiers.
#[derive(ApiResponse)]
pub enum Listed {
    /// Every tier.
    #[oai(status = 200)]
    Tiers(Json<TierList>),
}

problems! {
    /// How listing tiers fails.
    ListProblem: 400 401 500 503
}
problems! {
    /// How reading a tier fails.
    GetProblem: 400 401 404 500 503
}

#[OpenApi(tag = "Group::Tiers")]
impl Tiers {
    /// List tiers
    ///
    /// Lists what there is to choose from, with what each tier guarantees.
    #[oai(path = "/tiers", method = "get", operation_id = "listTiers")]
    async fn list(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
    ) -> Result<Listed, ListProblem> {
        let tiers = service.tiers().await?;
        let items = tiers
            .into_iter()
            .map(|tier| Tier::shown_to(caller.actor.role, tier))
            .collect();
        Ok(Listed::Tiers(Json(TierList { items })))
    }

    /// Get a tier
    ///
    /// Shows what one tier guarantees; platform teams also see how it is defined.
    #[oai(path = "/tiers/:id", method = "get", operation_id = "getTier")]
    async fn get(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The name of the tier.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Answer only when the tier is in another state than these tags name.
        #[oai(name = "If-None-Match")]
        if_none_match: Condition,
    ) -> Result<Found, GetProblem> {
        let tier = service.tier(&id.0).await?;
        let tag = tier.tag.clone();
        if if_none_match.0.is_some_and(|known| known.include(&tag)) {
            return Ok(Found::Unchanged(tag));
        }
        let shown = Tier::shown_to(caller.actor.role, tier);
        Ok(Found::Tier(Json(Box::new(shown)), tag))
    }
}

impl Tier {
    /// The tier as a role sees it: instances, sizes and topology are for platform teams only.
    fn shown_to(role: Role, record: TierRecord) -> Self {
        let TierRecord {
            name,
            tag: _,
            spec,
            accepted,
            message,
            current_revision,
            in_use,
        } = record;
        let platform = role == Role::Platform;
        let backup = spec.backup.as_ref();
        let pooling = spec.pooling.as_ref();
        Self {
            id: name.clone(),
            name,
            description: spec.description.clone(),
            available: accepted,
            postgres_version: spec.postgres.major,
            high_availability: spec.availability.instances > 1,
            backup: BackupGuarantee {
                configured: backup.is_some(),
                frequency: backup.map(|backup| backup.schedule.clone()),
                retention: backup.map(|backup| backup.retention.clone()),
            },
            restore: backup.is_some(),
            pooling: PoolingGuarantee {
                configured: pooling.is_some(),
                mode: pooling.map(|pooling| pooling.mode.into()),
            },
            destruction: DestructionGuarantee {
                strategy: spec.destruction.strategy.into(),
                effect: destruction_effect(spec.destruction.strategy).to_owned(),
                archive_retention: spec.destruction.archive_retention.clone(),
            },
            extensions: spec.postgres.extensions.clone(),
            state: platform.then_some(TierState {
                accepted,
                message,
                current_revision,
                in_use,
            }),
            definition: platform.then(|| spec.into()),
        }
    }
}

impl From<DaapTierSpec> for TierDefinition {
    fn from(spec: DaapTierSpec) -> Self {
        Self {
            postgres: spec.postgres.into(),
            compute: spec.compute.into(),
            storage: StorageDefinition {
                size: spec.storage.size.to_string(),
                class: spec.storage.class,
                wal_size: spec.storage.wal_size.map(|size| size.to_string()),
            },
            availability: spec.availability.into(),
            backup: spec.backup.map(Into::into),
            pooling: spec.pooling.map(Into::into),
            destruction: DestructionDefinition {
                strategy: spec.destruction.strategy.into(),
                archive_retention: spec.destruction.archive_retention,
            },
        }
    }
}

impl From<tier::Postgres> for PostgresDefinition {
    fn from(postgres: tier::Postgres) -> Self {
        Self {
            major: postgres.major,
            image: postgres.image,
            catalog: postgres.catalog.map(|catalog| catalog.name),
            parameters: postgres.parameters,
            extensions: postgres.extensions,
        }
    }
}

impl From<tier::Compute> for ComputeDefinition {
    fn from(compute: tier::Compute) -> Self {
        Self {
            cpu: compute.cpu.to_string(),
            memory: compute.memory.to_string(),
        }
    }
}

impl From<tier::Availability> for AvailabilityDefinition {
    fn from(availability: tier::Availability) -> Self {
        let synchronous = availability
            .synchronous
            .map(|synchronous| SynchronousDefinition {
                number: synchronous.number,
                durability: match synchronous.durability {
                    tier::Durability::Required => Durability::Required,
                    tier::Durability::Preferred => Durability::Preferred,
                },
            });
        Self {
            instances: availability.instances,
            synchronous,
        }
    }
}

impl From<tier::Backup> for BackupDefinition {
    fn from(backup: tier::Backup) -> Self {
        Self {
            schedule: backup.schedule,
            retention: backup.retention,
            object_store: backup.object_store,
            archive_timeout: backup.archive_timeout,
        }
    }
}

impl From<tier::Pooling> for PoolingDefinition {
    fn from(pooling: tier::Pooling) -> Self {
        Self {
            mode: pooling.mode.into(),
            max_client_connections: pooling.max_client_connections,
            default_pool_size: pooling.default_pool_size,
            instances: pooling.instances,
            compute: pooling.compute.into(),
        }
    }
}

impl From<tier::PoolMode> for PoolMode {
    fn from(mode: tier::PoolMode) -> Self {
        match mode {
            tier::PoolMode::Session => Self::Session,
            tier::PoolMode::Transaction => Self::Transaction,
        }
    }
}

impl From<tier::Strategy> for Strategy {
    fn from(strategy: tier::Strategy) -> Self {
        match strategy {
            tier::Strategy::Freeze => Self::Freeze,
            tier::Strategy::Archive => Self::Archive,
            tier::Strategy::Hard => Self::Hard,
        }
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON as _;
    use serde_json::json;

    use super::*;

    fn record() -> TierRecord {
        let spec = json!({
            "description": "For production.",
            "postgres": {"major": 17, "image": "registry.example/postgresql:17.6", "parameters": {"work_mem": "16MB"}},
            "compute": {"cpu": "1500m", "memory": "4Gi"},
            "storage": {"size": "50Gi", "walSize": "10Gi"},
            "availability": {"instances": 3, "synchronous": {"number": 1}},
            "backup": {"schedule": "0 * * * *", "retention": "30d", "objectStore": "main"},
            "pooling": {"mode": "Transaction", "maxClientConnections": 777, "defaultPoolSize": 33, "instances": 2},
            "destruction": {"strategy": "Archive", "archiveRetention": "3m"}
        });
        TierRecord {
            name: "critical".to_owned(),
            tag: EntityTag {
                generation: 1,
                resource_version: "7".to_owned(),
            },
            spec: serde_json::from_value(spec).unwrap(),
            accepted: true,
            message: None,
            current_revision: Some("critical-0123456789".to_owned()),
            in_use: 42,
        }
    }

    /// All that a product team sees of a tier.
    #[test]
    fn product_teams_see_guarantees_only() {
        let shown = Tier::shown_to(Role::Product, record()).to_json().unwrap();
        let expected = json!({
            "id": "critical",
            "name": "critical",
            "description": "For production.",
            "available": true,
            "postgres_version": 17,
            "high_availability": true,
            "backup": {"configured": true, "frequency": "0 * * * *", "retention": "30d"},
            "restore": true,
            "pooling": {"configured": true, "mode": "transaction"},
            "destruction": {
                "strategy": "archive",
                "effect": "The database is removed. Its backups stay, and a new database can be restored from them.",
                "archive_retention": "3m"
            },
            "extensions": []
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn platform_teams_see_everything() {
        let shown = Tier::shown_to(Role::Platform, record()).to_json().unwrap();
        assert_eq!(shown["definition"]["availability"]["instances"], 3);
        assert_eq!(
            shown["definition"]["storage"],
            json!({"size": "50Gi", "wal_size": "10Gi"})
        );
        assert_eq!(shown["state"]["in_use"], 42);
    }
}
