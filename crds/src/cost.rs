//! What a database costs, and whether a quota has room for it. Pure; exact, in integers.
//!
//! The cost of a database is the envelope of the revision it is bound to: everything that may run and every volume that
//! may exist for it at once. With three instances of 1500m CPU, 2Gi memory, a data volume of 20Gi and a WAL volume of
//! 5Gi, and two pooler instances of 200m and 96Mi:
//!
//! ```
//! # let tier: daap_crds::DaapTierSpec = serde_json::from_value(serde_json::json!({
//! #     "description": "d", "postgres": {"major": 17, "image": "p:17.6"},
//! #     "compute": {"cpu": "1500m", "memory": "2Gi"}, "storage": {"size": "20Gi", "walSize": "5Gi"},
//! #     "availability": {"instances": 3}, "destruction": {"strategy": "Freeze"},
//! #     "pooling": {"mode": "Session", "maxClientConnections": 9, "defaultPoolSize": 9, "instances": 2,
//! #         "compute": {"cpu": "200m", "memory": "96Mi"}},
//! # })).unwrap();
//! let cost = daap_crds::cost::Cost::of(&tier).unwrap();
//! assert_eq!(cost.databases, 1);
//! assert_eq!(cost.cpu.to_string(), "4900m"); // 3 × 1500m + 2 × 200m
//! assert_eq!(cost.memory.to_string(), "6336Mi"); // 3 × 2Gi + 2 × 96Mi
//! assert_eq!(cost.storage.to_string(), "75Gi"); // 3 × (20Gi + 5Gi)
//! ```

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    quantity::{Bytes, Cpu},
    quota::DaapQuotaSpec,
    tier::{Compute, DaapTierSpec},
};

/// What databases cost.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// How many databases.
    #[serde(default)]
    pub databases: i64,
    /// CPU.
    #[serde(default)]
    pub cpu: Cpu,
    /// Memory.
    #[serde(default)]
    pub memory: Bytes,
    /// Storage.
    #[serde(default)]
    pub storage: Bytes,
}

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self {
        databases: 0,
        cpu: Cpu::ZERO,
        memory: Bytes::ZERO,
        storage: Bytes::ZERO,
    };

    /// What one database of a revision costs, or `None` when it is too much to be written.
    pub fn of(revision: &DaapTierSpec) -> Option<Self> {
        let instances = u64::try_from(revision.availability.instances).ok()?;
        let mut cost = Self::of_instances(instances, &revision.compute)?;
        if let Some(pooling) = &revision.pooling {
            let poolers = u64::try_from(pooling.instances).ok()?;
            cost = cost.checked_add(Self::of_instances(poolers, &pooling.compute)?)?;
        }
        let volumes = revision
            .storage
            .size
            .checked_add(revision.storage.wal_size.unwrap_or_default())?;
        Some(Self {
            databases: 1,
            storage: volumes.checked_mul(instances)?,
            ..cost
        })
    }

    fn of_instances(count: u64, each: &Compute) -> Option<Self> {
        Some(Self {
            cpu: each.cpu.checked_mul(count)?,
            memory: each.memory.checked_mul(count)?,
            ..Self::ZERO
        })
    }

    /// The sum, or `None` when it is too large to be written.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            databases: self.databases.checked_add(other.databases)?,
            cpu: self.cpu.checked_add(other.cpu)?,
            memory: self.memory.checked_add(other.memory)?,
            storage: self.storage.checked_add(other.storage)?,
        })
    }

    /// The larger of both, resource by resource: what a database may cost while it moves from one revision to another.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            databases: self.databases.max(other.databases),
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            storage: self.storage.max(other.storage),
        }
    }

    /// How much of one resource, in its unit.
    pub fn amount(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Databases => u64::try_from(self.databases).unwrap_or(0),
            Resource::Cpu => self.cpu.millicores(),
            Resource::Memory => self.memory.mebibytes(),
            Resource::Storage => self.storage.mebibytes(),
        }
    }
}

/// What a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Databases, counted.
    Databases,
    /// CPU, in thousandths of a core.
    Cpu,
    /// Memory, in mebibytes.
    Memory,
    /// Storage, in mebibytes.
    Storage,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 4] = [Self::Databases, Self::Cpu, Self::Memory, Self::Storage];

    /// The name, as in the fields of a DaapQuota.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Databases => "databases",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Storage => "storage",
        }
    }

    /// An amount in the notation of Kubernetes.
    pub fn text(self, amount: u64) -> String {
        match self {
            Self::Databases => amount.to_string(),
            Self::Cpu => Cpu::from_millicores(amount).to_string(),
            Self::Memory | Self::Storage => Bytes::from_mebibytes(amount)
                .map_or_else(|| format!("{amount}Mi"), |bytes| bytes.to_string()),
        }
    }
}

/// A limit that does not hold a cost, in the unit of the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// What is limited.
    pub resource: Resource,
    /// The limit.
    pub limit: u64,
    /// What is allocated already.
    pub used: u64,
    /// What is asked for.
    pub requested: u64,
}

impl Excess {
    /// What is left of the limit; nothing, when more than the limit is allocated.
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |amount| self.resource.text(amount);
        write!(
            formatter,
            "{}: {} of {} used",
            self.resource.as_str(),
            text(self.used),
            text(self.limit)
        )?;
        if self.requested > 0 {
            write!(formatter, ", {} requested", text(self.requested))?;
        }
        Ok(())
    }
}

impl DaapQuotaSpec {
    /// The limit of a resource, in its unit. Absent: unlimited.
    pub fn limit(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::Databases => self
                .databases
                .map(|count| u64::try_from(count).unwrap_or(0)),
            Resource::Cpu => self.cpu.map(Cpu::millicores),
            Resource::Memory => self.memory.map(Bytes::mebibytes),
            Resource::Storage => self.storage.map(Bytes::mebibytes),
        }
    }

    /// Every limit that `used` and `requested` together exceed; none, when there is room.
    pub fn exceeded_by(&self, used: &Cost, requested: &Cost) -> Vec<Excess> {
        let excess = |resource| {
            let excess = Excess {
                resource,
                limit: self.limit(resource)?,
                used: used.amount(resource),
                requested: requested.amount(resource),
            };
            let together = excess.used.checked_add(excess.requested);
            together
                .is_none_or(|sum| sum > excess.limit)
                .then_some(excess)
        };
        Resource::ALL.into_iter().filter_map(excess).collect()
    }

    /// How many more databases that cost `each` fit beside `used`. Absent: unlimited.
    pub fn room_for(&self, used: &Cost, each: &Cost) -> Option<u64> {
        let room = |resource| {
            let left = self.limit(resource)?.saturating_sub(used.amount(resource));
            left.checked_div(each.amount(resource))
        };
        Resource::ALL.into_iter().filter_map(room).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cost(databases: i64, cpu: u64, memory: u64, storage: u64) -> Cost {
        Cost {
            databases,
            cpu: Cpu::from_millicores(cpu),
            memory: Bytes::from_mebibytes(memory).unwrap(),
            storage: Bytes::from_mebibytes(storage).unwrap(),
        }
    }

    prop_compose! {
        fn any_cost()(databases in 0i64..1000, cpu in 0u64..1_000_000, memory in 0u64..1_000_000, storage in 0u64..1_000_000) -> Cost {
            cost(databases, cpu, memory, storage)
        }
    }

    prop_compose! {
        fn any_limits()(databases in proptest::option::of(0i64..2000), cpu in proptest::option::of(0u64..2_000_000),
            memory in proptest::option::of(0u64..2_000_000), storage in proptest::option::of(0u64..2_000_000)) -> DaapQuotaSpec {
            DaapQuotaSpec {
                databases,
                cpu: cpu.map(Cpu::from_millicores),
                memory: memory.and_then(Bytes::from_mebibytes),
                storage: storage.and_then(Bytes::from_mebibytes),
            }
        }
    }

    #[test]
    fn tells_every_exceeded_limit() {
        let limits = DaapQuotaSpec {
            databases: Some(5),
            cpu: Some(Cpu::from_millicores(1500)),
            ..DaapQuotaSpec::default()
        };
        let excess =
            limits.exceeded_by(&cost(5, 1000, 1 << 20, 1 << 20), &cost(1, 600, 1024, 1024));
        let texts: Vec<_> = excess.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "databases: 5 of 5 used, 1 requested",
                "cpu: 1 of 1500m used, 600m requested"
            ]
        );
        assert_eq!(excess[1].remaining(), 500);
    }

    #[test]
    fn what_cannot_be_written_is_no_cost() {
        let largest = Cpu::from_millicores(999_999_999);
        assert_eq!(largest.checked_add(Cpu::from_millicores(2)), None);
        assert!(largest.checked_add(Cpu::from_millicores(1)).is_some());
        assert_eq!(Bytes::from_mebibytes(999_999_999 + 2), None);
    }

    proptest! {
        /// There is room exactly when no sum is above its limit, calculated in wider numbers.
        #[test]
        fn room_is_exact(limits in any_limits(), used in any_cost(), requested in any_cost()) {
            let over = Resource::ALL.into_iter().filter(|&resource| {
                let sum = u128::from(used.amount(resource)) + u128::from(requested.amount(resource));
                limits.limit(resource).is_some_and(|limit| sum > u128::from(limit))
            });
            let found = limits.exceeded_by(&used, &requested);
            prop_assert_eq!(found.iter().map(|excess| excess.resource).collect::<Vec<_>>(), over.collect::<Vec<_>>());
        }

        /// As many as are said to fit do fit, and one more does not.
        #[test]
        fn as_many_fit_as_are_said_to(limits in any_limits(), used in any_cost(), each in any_cost()) {
            prop_assume!(limits.exceeded_by(&used, &Cost::ZERO).is_empty() && each.databases > 0);
            if let Some(room) = limits.room_for(&used, &each) {
                let times = |count: u64| Cost {
                    databases: each.databases * i64::try_from(count).unwrap(),
                    cpu: each.cpu.checked_mul(count).unwrap(),
                    memory: each.memory.checked_mul(count).unwrap(),
                    storage: each.storage.checked_mul(count).unwrap(),
                };
                prop_assume!(room < 10_000);
                prop_assert!(limits.exceeded_by(&used, &times(room)).is_empty());
                prop_assert!(!limits.exceeded_by(&used, &times(room + 1)).is_empty());
            }
        }

        #[test]
        fn sums_are_exact(one in any_cost(), other in any_cost()) {
            let sum = one.checked_add(other).unwrap();
            for resource in Resource::ALL {
                prop_assert_eq!(sum.amount(resource), one.amount(resource) + other.amount(resource));
                prop_assert_eq!(one.max(other).amount(resource), one.amount(resource).max(other.amount(resource)));
            }
        }
    }
}
