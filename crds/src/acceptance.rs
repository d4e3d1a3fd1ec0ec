//! Whether a tier can be served: the rules that are too rich for a CRD. Pure.
//!
//! The controller says them in the condition `Accepted`; the facade refuses a tier that breaks one.

use jiff::{SignedDuration, Timestamp};

use crate::{
    quantity::Bytes,
    retention::Retention,
    schedule::Schedule,
    tier::{Backup, DaapTierSpec},
};

/// How many runs of a schedule are looked at for its longest pause: more than a year of daily ones.
const RUNS: usize = 1500;
/// Where the looking begins. Any fixed instant will do, but it has to be fixed: a tier is not to be accepted today
/// and refused tomorrow.
const START: Timestamp = Timestamp::UNIX_EPOCH;

/// Why a tier is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// A stable code.
    pub reason: &'static str,
    /// The field, as a JSON pointer into the resource.
    pub pointer: &'static str,
    /// What is wrong with it and what would be right.
    pub detail: String,
}

impl Objection {
    fn new(reason: &'static str, pointer: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            pointer,
            detail: detail.into(),
        }
    }

    /// A sentence for people, which names the field.
    pub fn message(&self) -> String {
        let field = self.pointer.trim_start_matches("/spec/").replace('/', ".");
        format!("{field}: {}.", self.detail)
    }
}

/// What speaks against a tier. `store_exists` tells whether there is the object store that it names, if it names one.
pub fn objections(spec: &DaapTierSpec, store_exists: bool) -> Vec<Objection> {
    let backup = spec.backup.as_ref();
    let store = backup.filter(|_| !store_exists).map(store_objection);
    [
        backup.and_then(schedule_objection),
        memory_objection(spec),
        store,
    ]
    .into_iter()
    .flatten()
    .collect()
}

const SCHEDULE: &str = "/spec/backup/schedule";
const RETENTION: &str = "/spec/backup/retention";

fn schedule_objection(backup: &Backup) -> Option<Objection> {
    let schedule: Schedule = match backup.schedule.parse() {
        Ok(schedule) => schedule,
        Err(error) => {
            let detail = error.to_string();
            return Some(Objection::new("InvalidSchedule", SCHEDULE, detail));
        }
    };
    let retention: Retention = match backup.retention.parse() {
        Ok(retention) => retention,
        Err(error) => {
            let detail = error.to_string();
            return Some(Objection::new("InvalidRetention", RETENTION, detail));
        }
    };
    let Some(interval) = schedule.longest_interval(START, RUNS) else {
        let detail = "it does not run twice";
        return Some(Objection::new("InvalidSchedule", SCHEDULE, detail));
    };
    if interval
        > SignedDuration::from_hours(24) * i32::try_from(retention.least_days()).unwrap_or(i32::MAX)
    {
        let detail = format!(
            "{retention} is shorter than the longest pause between two backups ({} days), so there would be times \
             without any",
            interval.as_hours().div_euclid(24) + 1
        );
        return Some(Objection::new("RetentionTooShort", RETENTION, detail));
    }
    None
}

/// What each setting is counted in when it has no unit, in bytes.
const MEMORY_SETTINGS: [(&str, u64); 4] = [
    ("shared_buffers", 8192),
    ("wal_buffers", 8192),
    ("maintenance_work_mem", 1024),
    ("work_mem", 1024),
];

fn memory_objection(spec: &DaapTierSpec) -> Option<Objection> {
    let mut needed: u64 = 0;
    for (name, unit) in MEMORY_SETTINGS {
        let Some(text) = spec.postgres.parameters.get(name).map(|text| text.trim()) else {
            continue;
        };
        // -1 leaves the choice to PostgreSQL.
        if text == "-1" {
            continue;
        }
        let Some(bytes) = memory(text, unit) else {
            let detail =
                format!("{name} = '{text}' is not a whole amount of memory such as '256MB'");
            let pointer = "/spec/postgres/parameters";
            return Some(Objection::new("InvalidParameter", pointer, detail));
        };
        needed = needed.saturating_add(bytes);
    }
    let available = spec.compute.memory.bytes();
    if needed <= available {
        return None;
    }
    let [needed, available] = [needed.div_ceil(1 << 20), available >> 20]
        .map(Bytes::from_mebibytes)
        .map(Option::unwrap_or_default);
    let names = MEMORY_SETTINGS.map(|(name, _)| name).join(", ");
    let detail = format!("{names} need {needed} together, and an instance gets {available}");
    let pointer = "/spec/compute/memory";
    Some(Objection::new("MemoryTooSmall", pointer, detail))
}

/// Memory in PostgreSQL's notation.
fn memory(text: &str, unit: u64) -> Option<u64> {
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor = match suffix.trim_start() {
        "" => unit,
        "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn store_objection(backup: &Backup) -> Objection {
    let detail = format!("the object store '{}' does not exist", backup.object_store);
    Objection::new("ObjectStoreNotFound", "/spec/backup/objectStore", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier_spec() -> DaapTierSpec {
        let spec = serde_json::json!({
            "description": "For production.",
            "postgres": {"major": 17, "image": "registry.example/postgresql:17.6", "parameters": {"shared_buffers": "512MB"}},
            "compute": {"cpu": "1", "memory": "2Gi"},
            "storage": {"size": "20Gi"},
            "backup": {"schedule": "0 3 * * *", "retention": "30d", "objectStore": "vault"},
            "destruction": {"strategy": "Archive"}
        });
        serde_json::from_value(spec).unwrap()
    }

    fn reason(change: impl FnOnce(&mut DaapTierSpec)) -> Option<&'static str> {
        let mut spec = tier_spec();
        change(&mut spec);
        let objections = objections(&spec, true);
        objections.first().map(|objection| objection.reason)
    }

    fn set(spec: &mut DaapTierSpec, name: &str, value: &str) {
        spec.postgres
            .parameters
            .insert(name.to_owned(), value.to_owned());
    }

    #[test]
    fn table() {
        assert_eq!(reason(|_| {}), None);
        assert_eq!(
            reason(|spec| spec.backup.as_mut().unwrap().schedule = "61 * * * *".into()),
            Some("InvalidSchedule")
        );
        assert_eq!(
            reason(|spec| {
                let backup = spec.backup.as_mut().unwrap();
                backup.schedule = "0 3 * * 1".into();
                backup.retention = "6d".into();
            }),
            Some("RetentionTooShort")
        );
        assert_eq!(
            reason(|spec| {
                let backup = spec.backup.as_mut().unwrap();
                backup.schedule = "0 3 * * 1".into();
                backup.retention = "1w".into();
            }),
            None
        );
        assert_eq!(
            reason(|spec| set(spec, "shared_buffers", "64GB")),
            Some("MemoryTooSmall")
        );
        assert_eq!(
            reason(|spec| set(spec, "shared_buffers", "1.5GB")),
            Some("InvalidParameter")
        );
        assert_eq!(
            reason(|spec| set(spec, "work_mem", "lots")),
            Some("InvalidParameter")
        );
    }

    #[test]
    fn everything_is_told_at_once_and_by_field() {
        let mut spec = tier_spec();
        spec.backup.as_mut().unwrap().schedule = "0 3 1 * *".into();
        set(&mut spec, "shared_buffers", "64GB");
        let messages: Vec<_> = objections(&spec, false)
            .iter()
            .map(Objection::message)
            .collect();
        insta::assert_snapshot!(messages.join("\n"), @r"
        backup.retention: 30d is shorter than the longest pause between two backups (32 days), so there would be times without any.
        compute.memory: shared_buffers, wal_buffers, maintenance_work_mem, work_mem need 64Gi together, and an instance gets 2Gi.
        backup.objectStore: the object store 'vault' does not exist.
        ");
    }

    #[test]
    fn memory_notation() {
        assert_eq!(memory("16384", 8192), Some(128 << 20));
        assert_eq!(memory("128MB", 8192), Some(128 << 20));
        assert_eq!(memory("128 MB", 8192), Some(128 << 20));
        for bad in ["", "MB", "1.5GB", "-2", "12mb", "99999999999999999999"] {
            assert_eq!(memory(bad, 1), None, "{bad}");
        }
    }
}
