//! What changed between two states of a database, in the terms of people, and who changed it. Pure.
//!
//! Who it was is what the API server recorded: the manager that owns the changed field
//! ([Server-Side Apply, field management](https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management)).
//! A write of the facade carries the audit intent behind it, which leads to the key and the team.

use daap_crds::{DaapDatabase, Phase, database};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use uuid::Uuid;

use super::intent;

/// The name under which the facade writes resources.
pub const FIELD_MANAGER: &str = "daap-facade";

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It was asked for.
    Created,
    /// Its status.
    Status,
    /// What it is for.
    Purpose,
    /// Whose it is.
    OwnerTeam,
    /// The revision of its tier.
    TierRevision,
    /// Whether deleting it is refused.
    DeletionProtection,
    /// Whether it is meant to exist.
    DesiredState,
    /// It left the cluster.
    Deleted,
}

impl Change {
    /// Every change.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Status,
        Self::Purpose,
        Self::OwnerTeam,
        Self::TierRevision,
        Self::DeletionProtection,
        Self::DesiredState,
        Self::Deleted,
    ];

    /// The word for it, in REST and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Status => "status",
            Self::Purpose => "purpose",
            Self::OwnerTeam => "owner_team",
            Self::TierRevision => "tier_revision",
            Self::DeletionProtection => "deletion_protection",
            Self::DesiredState => "desired_state",
            Self::Deleted => "deleted",
        }
    }

    /// The change of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == word)
    }
}

/// Who changed something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Author {
    /// The manager that the API server recorded.
    pub manager: Option<String>,
    /// The audit intent, of a write over REST.
    pub intent: Option<Uuid>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// What changed.
    pub change: Change,
    /// What it was before.
    pub before: Option<String>,
    /// What it is now.
    pub after: Option<String>,
    /// Why, where a reason is known.
    pub detail: Option<String>,
    /// When the API server recorded it. Absent: it was only noticed later.
    pub at: Option<Timestamp>,
    /// Who changed it.
    pub author: Author,
}

/// Who asked over REST for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The team of the key.
    pub team: String,
    /// The key.
    pub key_id: Uuid,
}

/// A change as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the order of all changes.
    pub number: i64,
    /// When it happened, or was noticed.
    pub at: Timestamp,
    /// What changed.
    pub transition: Transition,
    /// Who asked for it, over REST.
    pub requester: Option<Requester>,
}

/// A field whose changes are told.
struct Field {
    change: Change,
    /// Where it stands in the resource.
    path: [&'static str; 2],
    value: fn(&DaapDatabase) -> Option<String>,
}

const FIELDS: [Field; 6] = [
    Field {
        change: Change::OwnerTeam,
        path: ["spec", "ownerTeam"],
        value: |resource| Some(resource.spec.owner_team.clone()),
    },
    Field {
        change: Change::Purpose,
        path: ["spec", "purpose"],
        value: |resource| resource.spec.purpose.clone(),
    },
    Field {
        change: Change::DeletionProtection,
        path: ["spec", "deletionProtection"],
        value: |resource| Some(resource.spec.deletion_protection.to_string()),
    },
    Field {
        change: Change::TierRevision,
        path: ["spec", "tierRevision"],
        value: |resource| resource.spec.tier_revision.clone(),
    },
    Field {
        change: Change::DesiredState,
        path: ["spec", "state"],
        value: |resource| Some(desired_state(resource.spec.state).to_owned()),
    },
    Field {
        change: Change::Status,
        path: ["status", "phase"],
        value: |resource| Some(phase(resource).to_string()),
    },
];

/// What changed from `before` to `after`; a database that was never seen before was created.
pub fn transitions(before: Option<&DaapDatabase>, after: &DaapDatabase) -> Vec<Transition> {
    let Some(before) = before else {
        return std::iter::once(creation(after))
            .chain(first_moves(after))
            .collect();
    };
    FIELDS
        .iter()
        .filter_map(|field| change_of(field, (field.value)(before), Some(before), after))
        .collect()
}

/// That a database left the cluster. Nobody records who removed the last trace of it.
pub fn deletion(before: &DaapDatabase) -> Transition {
    Transition {
        change: Change::Deleted,
        before: Some(phase(before).to_string()),
        after: None,
        detail: None,
        at: None,
        author: Author::default(),
    }
}

fn creation(resource: &DaapDatabase) -> Transition {
    let owner = owner_of(resource, ["spec", "tier"]);
    Transition {
        change: Change::Created,
        before: None,
        after: Some(Phase::default().to_string()),
        detail: None,
        at: resource
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0),
        author: owner.map_or_else(Author::default, |owner| author(resource, owner)),
    }
}

/// What a database that is seen for the first time already went through: being bound, and a status.
fn first_moves(resource: &DaapDatabase) -> impl Iterator<Item = Transition> {
    FIELDS.iter().filter_map(|field| match field.change {
        Change::TierRevision => change_of(field, None, None, resource),
        Change::Status => change_of(field, Some(Phase::default().to_string()), None, resource),
        _ => None,
    })
}

fn change_of(
    field: &Field,
    old: Option<String>,
    before: Option<&DaapDatabase>,
    resource: &DaapDatabase,
) -> Option<Transition> {
    let new = (field.value)(resource);
    if old == new {
        return None;
    }
    let owner = owner_of(resource, field.path);
    let problem = resource
        .status
        .as_ref()
        .and_then(|status| status.problem.as_ref())
        .filter(|_| field.change == Change::Status);
    Some(Transition {
        change: field.change,
        before: old,
        after: new,
        detail: problem.map(|problem| format!("{}: {}", problem.reason, problem.message)),
        at: owner.and_then(|entry| entry.time.as_ref().map(|time| time.0)),
        author: owner.map_or_else(
            || author_of_removal(before, resource),
            |owner| author(resource, owner),
        ),
    })
}

fn author(resource: &DaapDatabase, owner: &ManagedFieldsEntry) -> Author {
    let facade = owner.manager.as_deref() == Some(FIELD_MANAGER);
    Author {
        manager: owner.manager.clone(),
        intent: facade.then(|| intent::of(&resource.metadata)).flatten(),
    }
}

/// A field that was removed has no owner left. Only the facade tells in another way that it wrote: its intent changed.
fn author_of_removal(before: Option<&DaapDatabase>, resource: &DaapDatabase) -> Author {
    let intent_of = |resource: &DaapDatabase| intent::of(&resource.metadata);
    match intent_of(resource) {
        Some(new) if before.and_then(intent_of) != Some(new) => Author {
            manager: Some(FIELD_MANAGER.to_owned()),
            intent: Some(new),
        },
        _ => Author::default(),
    }
}

/// Who wrote the field last.
fn owner_of<'a>(resource: &'a DaapDatabase, path: [&str; 2]) -> Option<&'a ManagedFieldsEntry> {
    let [part, field] = path.map(|name| format!("f:{name}"));
    let owns = |entry: &&ManagedFieldsEntry| {
        let fields = entry
            .fields_v1
            .as_ref()
            .and_then(|fields| fields.0.get(&part));
        fields.is_some_and(|fields| fields.get(&field).is_some())
    };
    let entries = resource.metadata.managed_fields.iter().flatten();
    entries
        .filter(owns)
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
}

fn phase(resource: &DaapDatabase) -> Phase {
    let status = resource.status.as_ref();
    status.and_then(|status| status.phase).unwrap_or_default()
}

const fn desired_state(state: database::State) -> &'static str {
    match state {
        database::State::Active => "active",
        database::State::Destroyed => "destroyed",
    }
}

#[cfg(test)]
mod tests {
    use daap_crds::label;
    use serde_json::{Value, json};

    use super::*;

    fn resource(spec: Value, phase: &str, managers: Value) -> DaapDatabase {
        let mut whole = json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase",
            "metadata": {
                "name": "orders", "uid": "0b7e7d5e-6c8e-4a55-9f5a-7c1b8f6f3a10", "creationTimestamp": "2026-01-02T03:04:05Z",
                "annotations": {"daap.dev/intent": "00000000-0000-0000-0000-000000000007"},
                "managedFields": managers,
            },
            "spec": {"tier": "dev", "ownerTeam": "shop"},
            "status": {"phase": phase},
        });
        for (name, value) in spec.as_object().unwrap() {
            whole["spec"][name] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    fn entry(manager: &str, time: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": "Update", "apiVersion": "daap.dev/v1alpha1", "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn tells_what_changed_and_who_the_api_server_recorded() {
        let before = resource(json!({"purpose": "old"}), "provisioning", json!([]));
        let after = resource(
            json!({"purpose": "new", "tierRevision": "dev-1"}),
            "ready",
            json!([
                entry(
                    "daap-facade",
                    "2026-01-02T03:04:05Z",
                    json!({"f:spec": {"f:tier": {}}})
                ),
                entry(
                    "kubectl-edit",
                    "2026-01-02T04:00:00Z",
                    json!({"f:spec": {"f:purpose": {}}})
                ),
                entry(
                    "daap-controller",
                    "2026-01-02T03:05:00Z",
                    json!({"f:spec": {"f:tierRevision": {}}, "f:status": {"f:phase": {}}})
                ),
            ]),
        );
        let told: Vec<_> = transitions(Some(&before), &after)
            .into_iter()
            .map(|one| (one.change, one.after.unwrap(), one.author.manager.unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                (Change::Purpose, "new".to_owned(), "kubectl-edit".to_owned()),
                (
                    Change::TierRevision,
                    "dev-1".to_owned(),
                    "daap-controller".to_owned()
                ),
                (
                    Change::Status,
                    "ready".to_owned(),
                    "daap-controller".to_owned()
                ),
            ]
        );
        assert_eq!(transitions(Some(&after), &after), []);
    }

    #[test]
    fn only_a_write_of_the_facade_has_the_intent() {
        let made_by = |manager: &str| {
            let fields = json!({"f:spec": {"f:tier": {}}});
            let managers = json!([entry(manager, "2026-01-02T03:04:05Z", fields)]);
            let transitions = transitions(None, &resource(json!({}), "provisioning", managers));
            assert_eq!(transitions.len(), 1);
            assert_eq!(transitions[0].change, Change::Created);
            transitions[0].author.intent
        };
        assert_eq!(made_by(FIELD_MANAGER), Some(Uuid::from_u128(7)));
        assert_eq!(made_by("kubectl-create"), None);
    }

    #[test]
    fn a_removed_field_names_nobody_but_a_facade_that_wrote() {
        let removal_after = |intent_before: &str| {
            let mut before = resource(json!({"purpose": "old"}), "ready", json!([]));
            let annotations = [(label::INTENT.to_owned(), intent_before.to_owned())];
            before.metadata.annotations = Some(annotations.into());
            let fields = json!({"f:spec": {"f:tier": {}}});
            let managers = json!([entry(FIELD_MANAGER, "2026-01-02T03:04:05Z", fields)]);
            let removal = transitions(Some(&before), &resource(json!({}), "ready", managers));
            assert_eq!(removal.len(), 1);
            assert_eq!(removal[0].change, Change::Purpose);
            removal[0].author.clone()
        };
        let same = Uuid::from_u128(7).to_string();
        assert_eq!(removal_after(&same), Author::default());
        let other = Uuid::from_u128(6).to_string();
        assert_eq!(removal_after(&other).intent, Some(Uuid::from_u128(7)));
    }

    #[test]
    fn a_database_first_seen_ready_was_created_and_became_ready() {
        let changes: Vec<_> = transitions(None, &resource(json!({}), "ready", json!([])))
            .into_iter()
            .map(|one| one.change)
            .collect();
        assert_eq!(changes, [Change::Created, Change::Status]);
    }
}
