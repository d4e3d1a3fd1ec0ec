//! What is asked and answered about a database. Pure.

use daap_crds::{
    DaapDatabase, DaapDatabaseSpec, Phase,
    condition::{self, ARCHIVING},
    database::{
        self, Admission, BackupStatus, Endpoint, ExtensionsStatus, Operation, OperationKind,
        Problem, Restore, SecretReference,
    },
    label,
    name::{DatabaseName, TeamName},
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{backup, entity_tag::EntityTag, operation};

/// A database that somebody asks for, with names that are names.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDatabase {
    /// The name.
    pub name: DatabaseName,
    /// The team that will own it.
    pub owner_team: TeamName,
    /// The namespace that it is placed in.
    pub namespace: String,
    /// The tier.
    pub tier: String,
    /// What it is for.
    pub purpose: Option<String>,
    /// What is restored to it, and the id of the operation that does it. Absent: it begins empty.
    pub restore: Option<(Restore, Uuid)>,
}

impl NewDatabase {
    /// The custom resource that asks for it, marked with the audit intent that makes it.
    pub fn resource(&self, intent: Uuid) -> DaapDatabase {
        let spec = DaapDatabaseSpec {
            tier: self.tier.clone(),
            owner_team: self.owner_team.to_string(),
            purpose: self.purpose.clone(),
            state: database::State::Active,
            deletion_protection: false,
            restore: self.restore.as_ref().map(|(restore, _)| restore.clone()),
            destruction: None,
            backup_request: None,
            // A person waits for the answer: no room means no, not later.
            admission: Admission::FailFast,
            tier_revision: None,
        };
        let mut resource = DaapDatabase::new(self.name.as_str(), spec);
        resource.metadata.namespace = Some(self.namespace.clone());
        super::intent::mark(&mut resource.metadata, intent);
        if let Some((_, operation)) = self.restore {
            operation::ask(&mut resource.metadata, operation, OperationKind::Restore);
        }
        resource
    }
}

/// Whether the resource is there only until its quota says no: then it never was a database.
pub fn awaits_verdict(resource: &DaapDatabase) -> bool {
    resource.spec.admission == Admission::FailFast && resource.spec.tier_revision.is_none()
}

/// Whether nothing of the database is left but its resource.
pub fn is_deleted(resource: &DaapDatabase) -> bool {
    let status = resource.status.as_ref();
    status.and_then(|status| status.phase) == Some(Phase::Deleted)
}

/// Whether the resource says that the record of its deletion is written.
pub fn is_recorded(resource: &DaapDatabase) -> bool {
    let annotations = resource.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(label::RECORDED))
}

/// Says on the resource that the record of its deletion is written.
pub fn mark_recorded(resource: &mut DaapDatabase) {
    let annotations = resource.metadata.annotations.get_or_insert_default();
    annotations.insert(label::RECORDED.to_owned(), "true".to_owned());
}

/// The record of a database.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// The uid of the resource.
    pub id: Uuid,
    /// The namespace of the resource, where it is placed.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The tag of its state.
    pub tag: EntityTag,
    /// The team that owns it.
    pub owner_team: String,
    /// What it is for.
    pub purpose: Option<String>,
    /// The tier.
    pub tier: String,
    /// The revision of the tier it is bound to.
    pub tier_revision: Option<String>,
    /// The public status.
    pub status: Phase,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it had left the cluster.
    pub deleted_at: Option<Timestamp>,
    /// Whether destroying is refused.
    pub deletion_protection: bool,
    /// Where applications connect. Only while ready.
    pub connection: Option<Connection>,
    /// Backups. Absent: not known yet.
    pub backup: Option<BackupStatus>,
    /// Whether it is meant to exist.
    pub desired: database::State,
    /// Whether its write-ahead log reaches the object store.
    pub is_archiving: bool,
    /// The backup that was asked for and not yet begun.
    pub requested_backup: Option<String>,
    /// What goes on with it, or will as soon as the controller sees what was asked for.
    pub operation: Option<Operation>,
    /// What it was restored from.
    pub restore: Option<Restore>,
    /// Until when it can be restored, once it is archived.
    pub archived_until: Option<Timestamp>,
    /// The extensions enabled.
    pub extensions: Option<ExtensionsStatus>,
    /// Why it is not what was asked for.
    pub problem: Option<Problem>,
}

/// Where applications connect, and where they find what they need for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Host, port and database.
    pub endpoint: Endpoint,
    /// The Secret with the credentials.
    pub secret: SecretReference,
    /// The Secret with the certificate authority.
    pub ca_secret: Option<SecretReference>,
}

impl Database {
    /// The record of a resource; `None` for one that no API server has stored.
    pub fn from_resource(resource: DaapDatabase) -> Option<Self> {
        let operation = operation::unfinished(&resource);
        let requested_backup = backup::requested(&resource);
        let deleted_at = operation::deleted_at(&resource);
        let DaapDatabase {
            metadata,
            spec,
            status,
        } = resource;
        let tag = EntityTag::of(&metadata)?;
        let status = status.unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        let connection = status
            .endpoint
            .zip(status.connection_secret)
            .map(|(endpoint, secret)| Connection {
                endpoint,
                secret,
                ca_secret: status.ca_secret,
            });
        Some(Self {
            id: metadata.uid?.parse().ok()?,
            namespace: metadata.namespace?,
            name: metadata.name?,
            tag,
            owner_team: spec.owner_team,
            purpose: spec.purpose,
            tier: spec.tier,
            tier_revision: spec.tier_revision,
            status: phase,
            created_at: metadata.creation_timestamp?.0,
            deleted_at,
            deletion_protection: spec.deletion_protection,
            desired: spec.state,
            is_archiving: condition::is_true(&status.conditions, ARCHIVING),
            requested_backup,
            operation,
            restore: spec.restore,
            archived_until: status.archived_until.map(|time| time.0),
            connection: connection.filter(|_| phase == Phase::Ready),
            backup: status.backup,
            extensions: status.extensions,
            problem: status.problem,
        })
    }
}

impl Database {
    /// The database that this one was restored from.
    pub fn source_id(&self) -> Option<Uuid> {
        let restore = self.restore.as_ref()?;
        restore.source.uid.parse().ok()
    }

    /// The record of a database that left the cluster.
    #[must_use]
    pub fn gone(self, at: Timestamp) -> Self {
        Self {
            status: Phase::Deleted,
            deleted_at: Some(at),
            connection: None,
            requested_backup: None,
            operation: None,
            problem: None,
            ..self
        }
    }
}

/// The field of a request for what a pointer into the resource points to.
pub fn field_of_request(pointer: &str) -> String {
    match pointer {
        "/metadata/name" => "/name".to_owned(),
        "/spec/ownerTeam" => "/owner_team".to_owned(),
        "/spec/deletionProtection" => "/deletion_protection".to_owned(),
        other => other.trim_start_matches("/spec").to_owned(),
    }
}

/// Which databases are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseFilter {
    /// Owned by this team.
    pub owner_team: Option<String>,
    /// With this status. Absent: every one that still exists.
    pub status: Option<Phase>,
    /// Of this tier.
    pub tier: Option<String>,
    /// Restored from this database.
    pub source_id: Option<Uuid>,
    /// With this text in the name or the purpose, in whatever case.
    pub text: Option<String>,
    /// Created at this instant or later.
    pub created_from: Option<Timestamp>,
    /// Created before this instant.
    pub created_before: Option<Timestamp>,
}

impl DatabaseFilter {
    /// The filter as text, for the fingerprint of a cursor.
    pub fn fingerprint_text(&self) -> String {
        format!("{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::intent::is_marked;
    use serde_json::json;

    fn resource(phase: &str) -> DaapDatabase {
        serde_json::from_value(json!({
            "apiVersion": "daap.dev/v1alpha1", "kind": "DaapDatabase",
            "metadata": {"name": "orders", "namespace": "daap-team-shop", "generation": 1, "resourceVersion": "7", "uid": "0b7e7d5e-6c8e-4a55-9f5a-7c1b8f6f3a10", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"tier": "dev", "ownerTeam": "shop"},
            "status": {
                "phase": phase,
                "endpoint": {"host": "orders-rw.daap-team-shop.svc", "port": 5432, "database": "app"},
                "connectionSecret": {"namespace": "daap-team-shop", "name": "orders-conn"}
            }
        }))
        .unwrap()
    }

    #[test]
    fn tells_where_to_connect_only_while_ready() {
        assert!(
            Database::from_resource(resource("ready"))
                .unwrap()
                .connection
                .is_some()
        );
        assert!(
            Database::from_resource(resource("frozen"))
                .unwrap()
                .connection
                .is_none()
        );
    }

    #[test]
    fn only_its_own_resource_is_adopted() {
        let new = NewDatabase {
            name: DatabaseName::parse("orders").unwrap(),
            owner_team: TeamName::parse("shop").unwrap(),
            namespace: "daap-team-shop".to_owned(),
            tier: "dev".to_owned(),
            purpose: None,
            restore: None,
        };
        let intent = Uuid::from_u128(1);
        assert!(is_marked(&new.resource(intent).metadata, intent));
        assert!(!is_marked(
            &new.resource(intent).metadata,
            Uuid::from_u128(2)
        ));
    }
}
