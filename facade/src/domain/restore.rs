//! Restoring a database to a new one: which instants can be had, and what the new one is called. Pure.

use daap_crds::{
    DaapDatabase, Phase,
    database::{DatabaseReference, OperationKind, Restore, State},
    name::{DatabaseName, MAX_LENGTH},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    database::Database,
    destruction::{no_backup, wrong_state},
    failure::{Code, Failure},
};

/// Which instants of a database can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// All between these, both included.
    Open {
        /// The first.
        from: Timestamp,
        /// The last.
        until: Timestamp,
    },
    /// None yet, for this reason.
    Closed(&'static str),
}

/// Which instants of a database can be restored now.
///
/// As long as its write-ahead log is archived, that is every instant up to now: the controller sees to it when it
/// restores. Otherwise it ends with what is known to be in the archive.
pub fn window(database: &Database, now: Timestamp) -> Result<Window, Failure> {
    check_source(database)?;
    let Some(backup) = &database.backup else {
        return Ok(Window::Closed("Nothing is known of the backups yet."));
    };
    if !backup.configured {
        return Err(no_backup());
    }
    let Some(from) = backup.restorable_from.as_ref().map(|time| time.0) else {
        return Ok(Window::Closed(
            "No base backup has been completed yet. The first one is taken as soon as the database is ready.",
        ));
    };
    let is_live = database.desired == State::Active
        && matches!(
            database.status,
            Phase::Ready | Phase::Error | Phase::Provisioning
        );
    let until = if is_live && database.is_archiving {
        now
    } else {
        let fence = backup.restorable_until.as_ref().map(|time| time.0);
        fence.unwrap_or(from)
    };
    Ok(Window::Open {
        from,
        until: until.max(from),
    })
}

/// Refuses a source whose backups are going or gone.
fn check_source(database: &Database) -> Result<(), Failure> {
    let going = database.operation.as_ref().map(|operation| operation.kind);
    let leaves = matches!(going, Some(OperationKind::Hard | OperationKind::Purge));
    if leaves || database.status == Phase::Deleted {
        return Err(wrong_state(
            database,
            "Its backups are not kept, so it cannot be restored.",
        ));
    }
    Ok(())
}

impl Window {
    /// Refuses an instant that is known to be outside. Absent: the latest possible.
    pub fn check(&self, target: Option<Timestamp>, now: Timestamp) -> Result<(), Failure> {
        let (from, until) = match self {
            Self::Closed(reason) => return Err(Failure::new(Code::NothingRestorable, *reason)),
            Self::Open { from, until } => (*from, *until),
        };
        let Some(target) = target else {
            return Ok(());
        };
        let detail = if target > now {
            format!("{target} is in the future; now it is {now}.")
        } else if target < from || target > until {
            format!("{target} cannot be restored: what can be is from {from} to {until}.")
        } else {
            return Ok(());
        };
        Err(Failure::outside_window(detail, from, until))
    }
}

/// What a new database is to be restored from.
pub fn origin(source: &DaapDatabase, target: Option<Timestamp>) -> Restore {
    let metadata = &source.metadata;
    Restore {
        source: DatabaseReference {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        },
        target_time: target.map(MicroTime),
    }
}

/// The `number`th name for a database restored from one of this name. A long one is shortened.
pub fn default_name(source: &str, number: usize) -> Option<DatabaseName> {
    let suffix = format!("-restored-{number}");
    let room = MAX_LENGTH.saturating_sub(suffix.len());
    let stem: String = source.chars().take(room).collect();
    DatabaseName::parse(&format!("{}{suffix}", stem.trim_end_matches('-'))).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use uuid::Uuid;

    use super::*;
    use crate::domain::failure::Bounds;

    const BEFORE: &str = "2026-01-01T00:00:00Z";
    const FROM: &str = "2026-01-02T00:00:00Z";
    const FENCE: &str = "2026-01-03T00:00:00.5Z";
    const NOW: &str = "2026-01-04T00:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn database(state: &str, status: Value) -> Database {
        let resource = json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase",
            "metadata": {"name": "orders", "namespace": "daap-team-shop", "generation": 1, "resourceVersion": "7", "uid": Uuid::nil(), "creationTimestamp": BEFORE},
            "spec": {"tier": "dev", "ownerTeam": "shop", "state": state}, "status": status,
        });
        Database::from_resource(serde_json::from_value(resource).unwrap()).unwrap()
    }

    fn status(phase: &str, archiving: &str) -> Value {
        json!({
            "phase": phase,
            "conditions": [{"type": "Archiving", "status": archiving, "reason": "Test", "message": "", "lastTransitionTime": BEFORE}],
            "backup": {"configured": true, "restorableFrom": FROM, "restorableUntil": FENCE},
        })
    }

    /// The end of the window.
    fn until(state: &str, status: Value) -> Timestamp {
        match window(&database(state, status), at(NOW)).unwrap() {
            Window::Open { from, until } => {
                assert_eq!(from, at(FROM));
                until
            }
            Window::Closed(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn only_a_live_source_that_archives_can_be_had_as_it_is_now() {
        assert_eq!(until("Active", status("ready", "True")), at(NOW));
        assert_eq!(until("Active", status("ready", "False")), at(FENCE));
        assert_eq!(until("Active", status("ready", "Unknown")), at(FENCE));
        assert_eq!(until("Destroyed", status("ready", "True")), at(FENCE));
        assert_eq!(until("Destroyed", status("frozen", "True")), at(FENCE));
        assert_eq!(until("Destroyed", status("archived", "True")), at(FENCE));
        let mut without_fence = status("frozen", "True");
        without_fence["backup"]["restorableUntil"] = Value::Null;
        assert_eq!(until("Destroyed", without_fence), at(FROM));
    }

    #[test]
    fn what_has_no_window_says_why() {
        let code = |status: Value| {
            let window = window(&database("Active", status), at(NOW));
            let verdict = window.and_then(|window| window.check(None, at(NOW)));
            verdict.unwrap_err().code
        };
        assert_eq!(code(json!({})), Code::NothingRestorable);
        assert_eq!(
            code(json!({"backup": {"configured": true}})),
            Code::NothingRestorable
        );
        assert_eq!(
            code(json!({"backup": {"configured": false}})),
            Code::NoBackup
        );
        let deleted = json!({"phase": "deleted", "backup": {"configured": true}});
        assert_eq!(code(deleted), Code::WrongState);
        let mut purged = status("archived", "True");
        purged["operation"] =
            json!({"id": "a", "kind": "Purge", "step": "Purge", "since": FROM, "startedAt": FROM});
        assert_eq!(code(purged), Code::WrongState);
    }

    #[test]
    fn a_target_is_inside_or_told_what_would_be() {
        let window = window(&database("Destroyed", status("frozen", "True")), at(NOW)).unwrap();
        for good in [FROM, FENCE, "2026-01-02T12:00:00Z"] {
            assert!(window.check(Some(at(good)), at(NOW)).is_ok(), "{good}");
        }
        assert!(window.check(None, at(NOW)).is_ok());
        for bad in [
            BEFORE,
            NOW,
            "2026-01-03T00:00:00.500001Z",
            "2030-01-01T00:00:00Z",
        ] {
            let failure = window.check(Some(at(bad)), at(NOW)).unwrap_err();
            assert_eq!(failure.code, Code::OutsideWindow, "{bad}");
            let (from, until) = (at(FROM), at(FENCE));
            assert_eq!(
                failure.bounds.as_deref(),
                Some(&Bounds::Window { from, until })
            );
        }
    }

    #[test]
    fn names_fit() {
        let name = |source: &str, number| default_name(source, number).unwrap().to_string();
        assert_eq!(name("orders", 1), "orders-restored-1");
        let long = name(&"a".repeat(MAX_LENGTH), 12);
        assert_eq!(long.len(), MAX_LENGTH);
        assert!(long.ends_with("a-restored-12"));
        let dashed = format!("{}-b", "a".repeat(28));
        assert_eq!(name(&dashed, 1), format!("{}-restored-1", "a".repeat(28)));
    }
}
