//! A tier as it is shown: guarantees for everybody, the definition for platform teams. Pure.

use poem_openapi::Object;

use super::definition::{PoolMode, Strategy, TierDefinition};
use crate::domain::{
    actor::Role,
    tier::{Tier as TierRecord, destruction_effect},
};

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
    pub items: Vec<Tier>,
}

impl Tier {
    /// The tier as a role sees it: instances, sizes and topology are for platform teams only.
    pub fn shown_to(role: Role, record: TierRecord) -> Self {
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
            tag: None,
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
