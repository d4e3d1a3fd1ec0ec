//! Operations of databases: what was asked for and has not begun, what goes on, and what has ended. Pure.
//!
//! Who asks for something draws the id of the operation that will do it, and writes it beside what is asked for. So the
//! answer to a request names the operation before the controller has begun it.

use std::collections::BTreeMap;

use daap_crds::{
    DaapDatabase, Phase,
    database::{Operation, OperationKind, OperationResult},
    label,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::hexadecimal;

/// The step of an operation that has not begun.
pub const REQUESTED: &str = "requested";

/// An operation, and the database that it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The database.
    pub database_id: Uuid,
    /// The operation as it was seen last.
    pub operation: Operation,
}

/// How an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was asked for.
    Requested,
    /// It goes on.
    Running,
    /// It ended.
    Ended(OperationResult),
}

/// How an operation is.
pub fn state(operation: &Operation) -> State {
    match operation.result {
        Some(result) => State::Ended(result),
        None if operation.step == REQUESTED => State::Requested,
        None => State::Running,
    }
}

/// Writes on a resource which id the operation gets that will do what its spec asks for, and what it is. The id says
/// when it was drawn.
pub fn ask(metadata: &mut ObjectMeta, id: Uuid, kind: OperationKind) {
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(label::OPERATION.to_owned(), id.to_string());
    annotations.insert(label::OPERATION_KIND.to_owned(), word(kind));
}

/// What goes on with a database, or will as soon as the controller has seen what was asked for.
pub fn unfinished(database: &DaapDatabase) -> Option<Operation> {
    requested(database).or_else(|| running(database).cloned())
}

/// Every operation that a resource tells of.
pub fn told_by(database: &DaapDatabase) -> Vec<Operation> {
    let last = last(database).cloned();
    last.into_iter().chain(requested(database)).collect()
}

/// When a database that is deleted became so, as far as it tells.
pub fn deleted_at(database: &DaapDatabase) -> Option<Timestamp> {
    let status = database.status.as_ref()?;
    let finished = status.operation.as_ref()?.finished_at.as_ref()?;
    (status.phase == Some(Phase::Deleted)).then_some(finished.0)
}

/// The SHA-256 of what an operation that has ended removed: of its receipt as canonical JSON
/// ([RFC 8785](https://www.rfc-editor.org/rfc/rfc8785)), in hexadecimal digits. Absent: it removed nothing, or goes on.
pub fn receipt_digest(operation: &Operation) -> Option<String> {
    if operation.result.is_none() || operation.receipt.is_empty() {
        return None;
    }
    let removals = operation.receipt.iter().map(|removal| {
        let count = removal.count.map(|count| ("count", Value::from(count)));
        let texts = [("kind", &removal.kind), ("name", &removal.name)];
        let texts = texts.map(|(name, text)| (name, Value::from(text.as_str())));
        count.into_iter().chain(texts).collect::<BTreeMap<_, _>>()
    });
    let text = serde_json::to_vec(&removals.collect::<Vec<_>>()).ok()?;
    Some(hexadecimal::encode(&Sha256::digest(text)))
}

/// What goes on with a database.
fn running(database: &DaapDatabase) -> Option<&Operation> {
    last(database).filter(|operation| operation.result.is_none())
}

fn last(database: &DaapDatabase) -> Option<&Operation> {
    database.status.as_ref()?.operation.as_ref()
}

/// What was asked for and has not begun: the controller has not seen it yet, or has never begun anything.
fn requested(database: &DaapDatabase) -> Option<Operation> {
    let annotations = database.metadata.annotations.as_ref()?;
    let id: Uuid = annotations.get(label::OPERATION)?.parse().ok()?;
    let kind = kind_of(annotations.get(label::OPERATION_KIND)?)?;
    let began = last(database);
    if began.is_some_and(|operation| operation.id == id.to_string()) {
        return None;
    }
    let status = database.status.as_ref();
    if status.and_then(|status| status.phase) == Some(Phase::Deleted) {
        return None;
    }
    let seen = status.and_then(|status| status.observed_generation);
    let is_news = seen < database.metadata.generation;
    (began.is_none() || is_news).then_some(())?;
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?;
    let nanoseconds = i32::try_from(nanoseconds).ok()?;
    let at = Timestamp::new(seconds, nanoseconds).ok()?;
    Some(Operation {
        annotation: None,
        id: id.to_string(),
        kind,
        step: REQUESTED.to_owned(),
        since: Time(at),
        attempts: 0,
        cancellable: false,
        message: None,
        reason: None,
        started_at: Time(at),
        finished_at: None,
        result: None,
        steps: Vec::new(),
        fence: None,
        backup: None,
        receipt: Vec::new(),
    })
}

/// The word of a kind, as resources spell it.
fn word(kind: OperationKind) -> String {
    let word = serde_json::to_value(kind).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}

fn kind_of(word: &str) -> Option<OperationKind> {
    serde_json::from_value(word.into()).ok()
}

/// What an operation of this kind does, as in "it is being …".
pub const fn participle(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Freeze => "frozen",
        OperationKind::Unfreeze => "unfrozen",
        OperationKind::Archive => "archived",
        OperationKind::Hard | OperationKind::Purge => "deleted with its backups",
        OperationKind::Restore => "restored",
        OperationKind::Migrate => "migrated",
        OperationKind::Transfer => "handed to another team",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn database(generation: i64, status: Value) -> DaapDatabase {
        serde_json::from_value(json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase",
            "metadata": {"name": "orders", "generation": generation},
            "spec": {"tier": "dev", "ownerTeam": "shop"}, "status": status,
        }))
        .unwrap()
    }

    fn operation(id: &str, result: Option<&str>) -> Value {
        let at = "2026-01-02T03:04:05Z";
        json!({"id": id, "kind": "Freeze", "step": "Lockout", "since": at, "startedAt": at, "result": result})
    }

    #[test]
    fn what_is_asked_for_is_told_until_the_controller_has_seen_it() {
        let id = Uuid::now_v7();
        let asked = |generation: i64, status: Value| {
            let mut database = database(generation, status);
            ask(&mut database.metadata, id, OperationKind::Archive);
            let unfinished = unfinished(&database);
            unfinished.map(|operation| (operation.id.clone(), state(&operation)))
        };
        let requested = Some((id.to_string(), State::Requested));
        assert_eq!(asked(1, json!({})), requested);
        let another = json!({"observedGeneration": 1, "operation": operation("another", None)});
        assert_eq!(asked(2, another.clone()), requested);
        // Seen, and something else goes on: the mark is of something that was over long ago.
        assert_eq!(
            asked(1, another),
            Some(("another".to_owned(), State::Running))
        );
        let began = |result| json!({"operation": operation(&id.to_string(), result)});
        assert_eq!(
            asked(2, began(None)),
            Some((id.to_string(), State::Running))
        );
        assert_eq!(asked(2, began(Some("Succeeded"))), None);
        assert_eq!(asked(2, json!({"phase": "deleted"})), None);
    }

    /// `jq --compact-output --sort-keys --join-output .receipt | sha256sum`
    #[test]
    fn the_digest_of_a_receipt_can_be_computed_by_others() {
        let mut ended = operation("a", Some("Succeeded"));
        ended["receipt"] = json!([
            {"kind": "Cluster", "name": "orders"},
            {"kind": "Prefix", "name": "s3://b/ä \"x\"/", "count": 12},
        ]);
        let ended: Operation = serde_json::from_value(ended).unwrap();
        let text = r#"[{"kind":"Cluster","name":"orders"},{"count":12,"kind":"Prefix","name":"s3://b/ä \"x\"/"}]"#;
        let digest = hexadecimal::encode(&Sha256::digest(text));
        assert_eq!(receipt_digest(&ended), Some(digest));
        let going = Operation {
            result: None,
            ..ended.clone()
        };
        assert_eq!(receipt_digest(&going), None);
        let without = Operation {
            receipt: Vec::new(),
            ..ended
        };
        assert_eq!(receipt_digest(&without), None);
    }

    #[test]
    fn the_id_tells_when_it_was_drawn() {
        let mut database = database(1, json!({}));
        let before = Timestamp::now();
        ask(
            &mut database.metadata,
            Uuid::now_v7(),
            OperationKind::Restore,
        );
        let operation = unfinished(&database).unwrap();
        assert_eq!(operation.kind, OperationKind::Restore);
        let drawn = operation.started_at.0.as_second() - before.as_second();
        assert!((0..=1).contains(&drawn), "{drawn}");
    }
}
