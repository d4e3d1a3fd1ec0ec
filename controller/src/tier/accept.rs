//! Whether a tier can be served: the rules that are too rich for a CRD. Pure.

use daap_crds::{
    DaapObjectStore,
    quantity::Bytes,
    retention::Retention,
    schedule::Schedule,
    tier::{Backup, DaapTierSpec},
};
use jiff::{SignedDuration, Timestamp};

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
    /// A sentence for people.
    pub message: String,
}

/// What speaks against a tier, if anything does.
pub fn objection(spec: &DaapTierSpec, store: Option<&DaapObjectStore>) -> Option<Objection> {
    let backup = spec.backup.as_ref();
    backup
        .and_then(schedule_objection)
        .or_else(|| memory_objection(spec))
        .or_else(|| backup.and_then(|backup| store_objection(backup, store)))
}

fn object(reason: &'static str, message: impl Into<String>) -> Option<Objection> {
    Some(Objection {
        reason,
        message: message.into(),
    })
}

fn schedule_objection(backup: &Backup) -> Option<Objection> {
    let schedule: Schedule = match backup.schedule.parse() {
        Ok(schedule) => schedule,
        Err(error) => return object("InvalidSchedule", format!("backup.schedule: {error}.")),
    };
    let retention: Retention = match backup.retention.parse() {
        Ok(retention) => retention,
        Err(error) => return object("InvalidRetention", format!("backup.retention: {error}.")),
    };
    let Some(interval) = schedule.longest_interval(START, RUNS) else {
        return object("InvalidSchedule", "backup.schedule: it does not run twice.");
    };
    if interval
        > SignedDuration::from_hours(24) * i32::try_from(retention.least_days()).unwrap_or(i32::MAX)
    {
        let message = format!(
            "backup.retention: {retention} is shorter than the longest pause between two backups ({} days), so there \
             would be times without any.",
            interval.as_hours().div_euclid(24) + 1
        );
        return object("RetentionTooShort", message);
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
            let message = format!(
                "postgres.parameters: {name} = '{text}' is not a whole amount of memory such as '256MB'."
            );
            return object("InvalidParameter", message);
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
    object(
        "MemoryTooSmall",
        format!(
            "compute.memory: {names} need {needed} together, and an instance gets {available}."
        ),
    )
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

fn store_objection(backup: &Backup, store: Option<&DaapObjectStore>) -> Option<Objection> {
    if store.is_some() {
        return None;
    }
    object(
        "ObjectStoreNotFound",
        format!(
            "backup.objectStore: the object store '{}' does not exist.",
            backup.object_store
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{object_store, tier_spec};

    fn reason(change: impl FnOnce(&mut DaapTierSpec)) -> Option<&'static str> {
        let mut spec = tier_spec();
        change(&mut spec);
        objection(&spec, Some(&object_store())).map(|objection| objection.reason)
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
        assert_eq!(
            objection(&tier_spec(), None).map(|objection| objection.reason),
            Some("ObjectStoreNotFound")
        );
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
