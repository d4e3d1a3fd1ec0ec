//! The definition of a tier as the spec of its resource, and back. Pure.

use std::{fmt::Display, str::FromStr};

use daap_crds::{DaapTierSpec, tier};

use super::definition::{
    AvailabilityDefinition, BackupDefinition, ComputeDefinition, DestructionDefinition, Durability,
    PoolMode, PoolingDefinition, PostgresDefinition, StorageDefinition, Strategy,
    SynchronousDefinition, TierChange, TierDefinition,
};
use crate::domain::failure::{Failure, FieldError};

impl From<DaapTierSpec> for TierChange {
    fn from(spec: DaapTierSpec) -> Self {
        Self {
            description: spec.description.clone(),
            definition: spec.into(),
        }
    }
}

impl TierChange {
    /// The spec that says the same.
    ///
    /// # Errors
    /// Every quantity that is none, by field.
    pub fn into_spec(self) -> Result<DaapTierSpec, Failure> {
        let TierDefinition {
            postgres,
            compute,
            storage,
            availability,
            backup,
            pooling,
            destruction,
        } = self.definition;
        let mut quantities = Quantities::default();
        let spec = DaapTierSpec {
            description: self.description,
            postgres: postgres.into(),
            compute: quantities.compute("/definition/compute", &compute),
            storage: tier::Storage {
                size: quantities.parse("/definition/storage/size", &storage.size),
                class: storage.class,
                wal_size: storage
                    .wal_size
                    .map(|size| quantities.parse("/definition/storage/wal_size", &size)),
            },
            availability: availability.into(),
            backup: backup.map(Into::into),
            pooling: pooling.map(|pooling| tier::Pooling {
                mode: pooling.mode.into(),
                max_client_connections: pooling.max_client_connections,
                default_pool_size: pooling.default_pool_size,
                instances: pooling.instances,
                compute: quantities.compute("/definition/pooling/compute", &pooling.compute),
            }),
            destruction: tier::Destruction {
                strategy: destruction.strategy.into(),
                archive_retention: destruction.archive_retention,
            },
        };
        if quantities.errors.is_empty() {
            Ok(spec)
        } else {
            Err(Failure::invalid(quantities.errors))
        }
    }
}

/// Reads quantities, and keeps what is wrong with them.
#[derive(Default)]
struct Quantities {
    errors: Vec<FieldError>,
}

impl Quantities {
    fn parse<Q>(&mut self, pointer: &str, text: &str) -> Q
    where
        Q: FromStr<Err: Display> + Default,
    {
        text.parse().unwrap_or_else(|error: Q::Err| {
            self.errors
                .push(FieldError::new(pointer, error.to_string()));
            Q::default()
        })
    }

    fn compute(&mut self, pointer: &str, compute: &ComputeDefinition) -> tier::Compute {
        tier::Compute {
            cpu: self.parse(&format!("{pointer}/cpu"), &compute.cpu),
            memory: self.parse(&format!("{pointer}/memory"), &compute.memory),
        }
    }
}

impl From<PostgresDefinition> for tier::Postgres {
    fn from(postgres: PostgresDefinition) -> Self {
        Self {
            major: postgres.major,
            image: postgres.image,
            catalog: postgres.catalog.map(|name| tier::ImageCatalog { name }),
            parameters: postgres.parameters,
            extensions: postgres.extensions,
        }
    }
}

impl From<AvailabilityDefinition> for tier::Availability {
    fn from(availability: AvailabilityDefinition) -> Self {
        let synchronous = availability
            .synchronous
            .map(|synchronous| tier::Synchronous {
                number: synchronous.number,
                durability: match synchronous.durability {
                    Durability::Required => tier::Durability::Required,
                    Durability::Preferred => tier::Durability::Preferred,
                },
            });
        Self {
            instances: availability.instances,
            synchronous,
        }
    }
}

impl From<BackupDefinition> for tier::Backup {
    fn from(backup: BackupDefinition) -> Self {
        Self {
            schedule: backup.schedule,
            retention: backup.retention,
            object_store: backup.object_store,
            archive_timeout: backup.archive_timeout,
        }
    }
}

impl From<PoolMode> for tier::PoolMode {
    fn from(mode: PoolMode) -> Self {
        match mode {
            PoolMode::Session => Self::Session,
            PoolMode::Transaction => Self::Transaction,
        }
    }
}

impl From<Strategy> for tier::Strategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Freeze => Self::Freeze,
            Strategy::Archive => Self::Archive,
            Strategy::Hard => Self::Hard,
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
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{contract::Contract, pattern};
    use crate::domain::tier::{field_of_request, words_of_request};

    /// A tier with everything that a tier can have; no value is a default or equal to another.
    fn everything() -> DaapTierSpec {
        let spec = json!({
            "description": "Everything",
            "postgres": {"major": 17, "image": "registry.example/postgresql:17.6", "parameters": {"work_mem": "16MB"}, "extensions": ["vector"]},
            "compute": {"cpu": "1500m", "memory": "4Gi"},
            "storage": {"size": "50Gi", "class": "fast", "walSize": "10Gi"},
            "availability": {"instances": 3, "synchronous": {"number": 2, "durability": "Preferred"}},
            "backup": {"schedule": "0 * * * *", "retention": "30d", "objectStore": "main", "archiveTimeout": "2min"},
            "pooling": {"mode": "Session", "maxClientConnections": 777, "defaultPoolSize": 33, "instances": 4, "compute": {"cpu": "2", "memory": "96Mi"}},
            "destruction": {"strategy": "Archive", "archiveRetention": "3m"}
        });
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn there_and_back() {
        let spec = everything();
        assert_eq!(TierChange::from(spec.clone()).into_spec().unwrap(), spec);
    }

    #[test]
    fn quantities_that_are_none_are_told_by_field() {
        let mut change = TierChange::from(everything());
        change.definition.compute.cpu = "1.5".to_owned();
        // It fits the pattern, and no machine.
        change.definition.storage.size = "999999999Ti".to_owned();
        let pointers: Vec<_> = change
            .into_spec()
            .unwrap_err()
            .errors
            .into_iter()
            .map(|error| error.pointer)
            .collect();
        assert_eq!(
            pointers,
            ["/definition/compute/cpu", "/definition/storage/size"]
        );
    }

    /// The schema that a reference of the contract leads to, or the schema itself.
    fn resolved<'a>(contract: &'a Value, schema: &'a Value) -> &'a Value {
        let reference = schema
            .get("$ref")
            .or_else(|| schema.pointer("/allOf/0/$ref"));
        reference
            .and_then(Value::as_str)
            .map_or(schema, |reference| {
                contract.pointer(reference.trim_start_matches('#')).unwrap()
            })
    }

    /// Every field of the resource has its field in REST, with the same bounds and the same default.
    #[test]
    fn the_fields_are_those_of_the_resource() {
        let contract = Contract::generate().unwrap().document().clone();
        let crds = daap_crds::all_crds();
        let tier = crds
            .iter()
            .find(|crd| crd.spec.names.kind == "DaapTier")
            .unwrap();
        let crd = serde_json::to_value(tier.spec.versions[0].schema.as_ref().unwrap()).unwrap();
        let spec = crd.pointer("/openAPIV3Schema/properties/spec").unwrap();
        let mut open = vec![("/spec".to_owned(), spec)];
        let mut seen = 0;
        while let Some((pointer, schema)) = open.pop() {
            for (name, property) in schema["properties"].as_object().unwrap() {
                let pointer = format!("{pointer}/{name}");
                let request = field_of_request(&pointer);
                let path: Vec<_> = request.split('/').skip(1).collect();
                let mut mine = &contract["components"]["schemas"]["NewTier"];
                let mut parent = mine;
                for part in &path {
                    parent = mine;
                    mine = resolved(&contract, &mine["properties"][*part]);
                    assert!(mine.is_object(), "{pointer} has no field {request}");
                }
                seen += 1;
                if property.get("properties").is_some() {
                    open.push((pointer.clone(), property));
                    continue;
                }
                for bound in [
                    "minimum",
                    "maximum",
                    "minLength",
                    "maxLength",
                    "pattern",
                    "maxItems",
                    "maxProperties",
                ] {
                    // Every text of the contract is without control characters, at least.
                    let mine = mine
                        .get(bound)
                        .filter(|bound| **bound != json!(pattern::TEXT));
                    let same = match (mine, property.get(bound)) {
                        (Some(mine), Some(other)) => {
                            mine == other
                                || mine
                                    .as_f64()
                                    .is_some_and(|mine| Some(mine) == other.as_f64())
                        }
                        (mine, other) => mine == other,
                    };
                    assert!(same, "{pointer}: {bound}");
                }
                // A catalogue is its name here, and an object there.
                if pointer.ends_with("/catalog/name") {
                    continue;
                }
                let required = |schema: &Value, name: &str| {
                    let names = schema["required"].as_array();
                    names.is_some_and(|names| names.contains(&json!(name)))
                };
                assert_eq!(
                    required(parent, path.last().unwrap()),
                    required(schema, name),
                    "{pointer}: required"
                );
                let words = |value: &Value| words_of_request(&value.to_string()).to_lowercase();
                let names = |values: &Value| {
                    values
                        .as_array()
                        .map(|values| values.iter().map(words).collect::<Vec<_>>())
                };
                assert_eq!(
                    names(&mine["enum"]),
                    names(&property["enum"]),
                    "{pointer}: enum"
                );
            }
        }
        assert!(seen > 25, "{seen}");
    }

    /// What is left out is the same for both.
    #[test]
    fn the_defaults_are_those_of_the_resource() {
        let resource = json!({
            "description": "The least", "postgres": {"major": 16, "catalog": {"name": "blessed"}},
            "compute": {"cpu": "1", "memory": "1Gi"}, "storage": {"size": "3Gi"},
            "availability": {"instances": 2, "synchronous": {"number": 1}},
            "backup": {"schedule": "0 3 * * *", "retention": "30d", "objectStore": "main"},
            "pooling": {"mode": "Session", "maxClientConnections": 100, "defaultPoolSize": 10},
            "destruction": {"strategy": "Hard"},
        });
        let request = json!({
            "description": "The least",
            "definition": {
                "postgres": {"major": 16, "catalog": "blessed"},
                "compute": {"cpu": "1", "memory": "1Gi"}, "storage": {"size": "3Gi"},
                "availability": {"instances": 2, "synchronous": {"number": 1}},
                "backup": {"schedule": "0 3 * * *", "retention": "30d", "object_store": "main"},
                "pooling": {"mode": "session", "max_client_connections": 100, "default_pool_size": 10},
                "destruction": {"strategy": "hard"},
            }
        });
        let same = |resource: &Value, request: &Value| {
            let spec: DaapTierSpec = serde_json::from_value(resource.clone()).unwrap();
            let change = <TierChange as poem_openapi::types::ParseFromJSON>::parse_from_json(Some(
                request.clone(),
            ));
            let change = change.unwrap_or_else(|error| panic!("{}", error.into_message()));
            assert_eq!(TierChange::from(spec.clone()).to_json(), change.to_json());
            assert_eq!(change.into_spec().unwrap(), spec);
        };
        same(&resource, &request);
        let (mut resource, mut request) = (resource, request);
        resource.as_object_mut().unwrap().remove("availability");
        request["definition"]
            .as_object_mut()
            .unwrap()
            .remove("availability");
        same(&resource, &request);
    }
}
