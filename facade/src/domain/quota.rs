//! What is asked and answered about quotas. Pure.

use std::fmt;

use daap_crds::{
    DaapDatabase, DaapQuota, DaapQuotaSpec,
    cost::{Cost, Excess, Resource},
    database::Verdict,
};

use super::{
    decimal::{self, PER_CORE, PER_GIBIBYTE},
    entity_tag::EntityTag,
    tier::Tier,
};

/// A quota: what all databases of a tier may cost together, and what they do.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// The tier.
    pub tier: String,
    /// Its state, and which revision of the tier is offered: what one more database costs depends on that. Absent: there
    /// is no quota yet, which is like one without limits.
    pub tag: Option<EntityTag>,
    /// The limits.
    pub limits: DaapQuotaSpec,
    /// What is allocated. Absent: not counted yet.
    pub allocated: Option<Cost>,
    /// What one more database costs. Absent: the tier cannot be used at the moment.
    pub each: Option<Cost>,
}

impl Quota {
    /// The quota of a tier, from the resource of the same name.
    pub fn of(tier: &Tier, quota: Option<DaapQuota>) -> Self {
        let offered = tier.offered_revision();
        let tag = quota
            .as_ref()
            .and_then(|quota| EntityTag::of(&quota.metadata));
        let tag = tag.map(
            |tag| match offered.and_then(|name| name.rsplit('-').next()) {
                Some(hash) => EntityTag {
                    resource_version: format!("{}r{hash}", tag.resource_version),
                    ..tag
                },
                None => tag,
            },
        );
        let (limits, status) = quota
            .map(|quota| (quota.spec, quota.status))
            .unwrap_or_default();
        Self {
            tier: tier.name.clone(),
            tag,
            limits,
            allocated: status.map(|status| status.allocated),
            each: offered.and_then(|_| Cost::of(&tier.spec)),
        }
    }

    /// What is left of the limit of a resource. Absent: it is unlimited, or was not counted yet.
    pub fn remaining(&self, resource: Resource) -> Option<u64> {
        let used = self.allocated?.amount(resource);
        Some(self.limits.limit(resource)?.saturating_sub(used))
    }

    /// How many more databases fit. Absent: any number, or not known.
    pub fn room(&self) -> Option<u64> {
        self.limits.room_for(&self.allocated?, &self.each?)
    }

    /// What one more database would be refused for. Absent: it would be admitted, or that is not known.
    pub fn refusal(&self) -> Option<Refusal> {
        let exceeded = self.limits.exceeded_by(&self.allocated?, &self.each?);
        (!exceeded.is_empty()).then(|| Refusal {
            tier: self.tier.clone(),
            exceeded,
        })
    }

    /// What there is to say about it in words, if there is anything.
    pub fn message(&self) -> Option<String> {
        let Some(allocated) = self.allocated else {
            return Some("What is allocated was not counted yet.".to_owned());
        };
        let excess = self.limits.exceeded_by(&allocated, &Cost::ZERO);
        let limits: Vec<_> = excess.iter().map(in_words).collect();
        (!limits.is_empty()).then(|| {
            format!(
                "More is allocated than the limits allow: {}. Nothing is taken away; no database is admitted until there is \
                 room.",
                limits.join(", ")
            )
        })
    }
}

/// The name of a resource in REST, with its unit.
pub const fn name(resource: Resource) -> &'static str {
    match resource {
        Resource::Databases => "max_databases",
        Resource::Cpu => "cpu_cores",
        Resource::Memory => "memory_gib",
        Resource::Storage => "storage_gib",
    }
}

/// An amount of a resource as a decimal number in the unit of its name.
pub fn number(resource: Resource, amount: u64) -> String {
    match resource {
        Resource::Databases => amount.to_string(),
        Resource::Cpu => decimal::to_text(amount, PER_CORE),
        Resource::Memory | Resource::Storage => decimal::to_text(amount, PER_GIBIBYTE),
    }
}

fn in_words(excess: &Excess) -> String {
    let number = |amount| number(excess.resource, amount);
    let (name, used, limit) = (
        name(excess.resource),
        number(excess.used),
        number(excess.limit),
    );
    if excess.requested == 0 {
        format!("{name} {used} of {limit}")
    } else {
        let requested = number(excess.requested);
        format!("{name} {used} of {limit} used and {requested} more requested")
    }
}

/// The quota of a tier has no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The tier.
    pub tier: String,
    /// Every limit that would be exceeded.
    pub exceeded: Vec<Excess>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<_> = self.exceeded.iter().map(in_words).collect();
        write!(
            formatter,
            "The quota of the tier '{}' has no room for another database",
            self.tier
        )?;
        if !limits.is_empty() {
            write!(formatter, ": {}", limits.join(", "))?;
        }
        formatter.write_str(". Choose another tier, or ask the platform team for room.")
    }
}

/// What the quota said about a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is bound to a revision.
    Admitted,
    /// There is no room.
    Refused(Refusal),
    /// Nothing yet.
    Pending,
}

/// What the quota said about a database.
pub fn decision(database: &DaapDatabase) -> Decision {
    if database.spec.tier_revision.is_some() {
        return Decision::Admitted;
    }
    let said = database
        .status
        .as_ref()
        .and_then(|status| status.admission.as_ref());
    match said {
        Some(said) if said.verdict == Verdict::Refused => {
            let requested = said.cost.unwrap_or_default();
            let exceeded = said
                .limits
                .as_ref()
                .zip(said.used)
                .map(|(limits, used)| limits.exceeded_by(&used, &requested));
            Decision::Refused(Refusal {
                tier: database.spec.tier.clone(),
                exceeded: exceeded.unwrap_or_default(),
            })
        }
        _ => Decision::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn database(tier_revision: Option<&str>, admission: Value) -> DaapDatabase {
        serde_json::from_value(json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase", "metadata": {"name": "orders"},
            "spec": {"tier": "dev", "ownerTeam": "shop", "tierRevision": tier_revision},
            "status": {"admission": admission},
        }))
        .unwrap()
    }

    fn cost(databases: i64, cpu: &str) -> Value {
        json!({"databases": databases, "cpu": cpu, "memory": "384Mi", "storage": "1Gi"})
    }

    #[test]
    fn a_refusal_names_every_limit_with_its_numbers() {
        let refused = json!({
            "verdict": "Refused", "cost": cost(1, "100m"), "used": cost(2, "1"),
            "limits": {"databases": 2, "cpu": "1", "memory": "100Gi"},
        });
        let Decision::Refused(refusal) = decision(&database(None, refused)) else {
            panic!("not refused")
        };
        assert_eq!(
            refusal.to_string(),
            "The quota of the tier 'dev' has no room for another database: max_databases 2 of 2 used and 1 more requested, \
             cpu_cores 1 of 1 used and 0.1 more requested. Choose another tier, or ask the platform team for room."
        );
    }

    #[test]
    fn a_bound_database_is_admitted_whatever_was_said() {
        let refused = json!({"verdict": "Refused"});
        assert_eq!(
            decision(&database(Some("dev-1"), refused)),
            Decision::Admitted
        );
        assert_eq!(decision(&database(None, Value::Null)), Decision::Pending);
        let waiting = json!({"verdict": "Waiting"});
        assert_eq!(decision(&database(None, waiting)), Decision::Pending);
    }

    #[test]
    fn tells_what_is_left_and_when_there_is_too_little() {
        let allocated = serde_json::from_value(cost(3, "1500m")).unwrap();
        let quota = |limits: Value| Quota {
            tier: "dev".to_owned(),
            tag: None,
            limits: serde_json::from_value(limits).unwrap(),
            allocated: Some(allocated),
            each: Some(serde_json::from_value(cost(1, "500m")).unwrap()),
        };
        let roomy = quota(json!({"databases": 10, "cpu": "3"}));
        assert_eq!((roomy.room(), roomy.message()), (Some(3), None));
        assert_eq!(roomy.remaining(Resource::Cpu), Some(1500));
        assert_eq!(roomy.remaining(Resource::Storage), None);
        let lowered = quota(json!({"cpu": "1"}));
        assert_eq!(lowered.room(), Some(0));
        assert_eq!(lowered.remaining(Resource::Cpu), Some(0));
        assert!(lowered.message().unwrap().contains("cpu_cores 1.5 of 1."));
        assert_eq!(quota(json!({})).room(), None);
    }
}
