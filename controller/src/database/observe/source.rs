//! What a database is restored from, and who restores from it. Reads the cluster, live, for [`super::observe`].

use daap_crds::{
    DaapDatabase, Phase,
    cnpg::Cluster,
    connection_secret::PASSWORD,
    database::{Fence, Operation, OperationKind, Restore, State},
    label,
    name::{DatabaseName, TeamName},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt as _, api::ListParams, core::DeserializeGuard};

use super::{
    super::{
        build,
        lifecycle::step::Step,
        plan::{Identity, Password},
    },
    ObserveError,
};
use crate::{
    k8s::client::{Lookup, Reader},
    tenant_sql::Tenant,
};

/// What a look for the source of a restore found.
#[derive(Default)]
pub enum SourceLookup {
    /// Nothing is to be restored, or it is known from what.
    #[default]
    NotNeeded,
    /// It is not there, or nothing can be restored from it, for this reason.
    Unusable(String),
    /// It.
    Found(Box<Source>),
}

/// What a database is to be restored from.
pub struct Source {
    /// The database.
    pub database: DaapDatabase,
    /// How to log in to it. Absent, when it rests.
    pub tenant: Option<Tenant>,
    /// Where its backups are, up to and without the server name.
    pub backup_url: String,
    /// The name under which it archives.
    pub server_name: String,
    /// The earliest instant that can be restored.
    pub restorable_from: Option<Timestamp>,
    /// Its last fence.
    pub fence: Option<Fence>,
}

/// Whether an operation is under way that goes by pods and volumes. A restore does only when it removes what it began.
pub fn is_operated(database: &DaapDatabase) -> bool {
    running_operation(database).is_some_and(|operation| {
        operation.kind != OperationKind::Restore
            || Step::parse(&operation.step).is_some_and(Step::removes)
    })
}

fn running_operation(database: &DaapDatabase) -> Option<&Operation> {
    let operation = database.status.as_ref()?.operation.as_ref()?;
    operation.result.is_none().then_some(operation)
}

/// Whether a database is losing its backups.
fn loses_backups(database: &DaapDatabase) -> bool {
    let kind = running_operation(database).map(|operation| operation.kind);
    matches!(kind, Some(OperationKind::Hard | OperationKind::Purge))
}

/// How to log in to a database.
pub fn tenant(
    identity: &Identity,
    application: &Secret,
    observer: &Secret,
    authority: &Secret,
) -> Option<Tenant> {
    let value = |secret: &Secret, key: &str| Some(secret.data.as_ref()?.get(key)?.0.clone());
    let password = |secret| {
        let bytes = value(secret, PASSWORD)?;
        String::from_utf8(bytes).ok().map(Password::new)
    };
    Some(Tenant {
        host: build::host(identity, &identity.name.read_write_service()),
        port: 5432,
        authority: value(authority, "ca.crt")?,
        observer_password: password(observer)?,
        application_password: password(application)?,
    })
}

/// The source of a restore that was not begun yet.
///
/// # Errors
/// When the API server does not answer.
pub async fn observe_source(
    reader: &Reader,
    database: &DaapDatabase,
) -> Result<SourceLookup, ObserveError> {
    let status = database.status.as_ref();
    let is_known = status.is_some_and(|status| !status.incarnations.is_empty());
    let Some(restore) = database.spec.restore.as_ref().filter(|_| !is_known) else {
        return Ok(SourceLookup::NotNeeded);
    };
    let unusable = |message: &str| Ok(SourceLookup::Unusable(message.to_owned()));
    let own = database.namespace().unwrap_or_default();
    let namespace = restore.source.namespace.clone().unwrap_or(own);
    let Lookup::Found(source) = reader
        .get_in::<DaapDatabase>(&namespace, &restore.source.name)
        .await?
    else {
        return unusable("The source does not exist.");
    };
    if let Some(message) = objection(database, &source, restore) {
        return unusable(message);
    }
    let status = source.status.clone().unwrap_or_default();
    let Some((incarnation, backup_url)) = status
        .incarnations
        .last()
        .and_then(|last| Some((last, last.backup_url.clone()?)))
    else {
        return unusable("The source has no backups.");
    };
    let restorable_from = status
        .backup
        .as_ref()
        .and_then(|backup| backup.restorable_from.as_ref())
        .map(|from| from.0);
    Ok(SourceLookup::Found(Box::new(Source {
        tenant: observe_tenant(reader, &source).await?,
        backup_url,
        server_name: incarnation.server_name.clone(),
        restorable_from,
        fence: incarnation.fence.clone(),
        database: source,
    })))
}

/// Why nothing can be restored from a database, if so.
fn objection(
    database: &DaapDatabase,
    source: &DaapDatabase,
    restore: &Restore,
) -> Option<&'static str> {
    if source.uid().as_deref() != Some(&restore.source.uid) {
        return Some("The source does not exist any more; another database has its name.");
    }
    if source.spec.owner_team != database.spec.owner_team {
        return Some("The source belongs to another team.");
    }
    let phase = source.status.as_ref().and_then(|status| status.phase);
    (phase == Some(Phase::Deleted) || loses_backups(source))
        .then_some("The source is being removed with its backups.")
}

/// How to log in to the source, unless it rests.
async fn observe_tenant(
    reader: &Reader,
    source: &DaapDatabase,
) -> Result<Option<Tenant>, ObserveError> {
    let phase = source.status.as_ref().and_then(|status| status.phase);
    if matches!(phase, Some(Phase::Frozen | Phase::Archived)) {
        return Ok(None);
    }
    let namespace = source.namespace().unwrap_or_default();
    let name = DatabaseName::parse(&source.name_any())?;
    let names = (
        name.cluster(),
        name.application_secret(),
        name.observer_secret(),
        name.ca_secret(),
    );
    let (cluster, application, observer, authority) = tokio::try_join!(
        reader.get_in::<Cluster>(&namespace, &names.0),
        reader.get_in::<Secret>(&namespace, &names.1),
        reader.get_in::<Secret>(&namespace, &names.2),
        reader.get_in::<Secret>(&namespace, &names.3),
    )?;
    let identity = Identity {
        name,
        namespace,
        uid: source.uid().unwrap_or_default(),
        team: TeamName::parse(&source.spec.owner_team)?,
        tier: source.spec.tier.clone(),
    };
    let (Some(_), Some(application), Some(observer), Some(authority)) = (
        cluster.found(),
        application.found(),
        observer.found(),
        authority.found(),
    ) else {
        return Ok(None);
    };
    Ok(tenant(&identity, application, observer, authority))
}

/// The databases that are being restored from this one, by their names.
///
/// Looked for only while one may be: it said so on this object, or this one is about to lose its backups.
///
/// # Errors
/// When the API server does not answer.
pub async fn observe_readers(
    reader: &Reader,
    database: &DaapDatabase,
) -> Result<Vec<String>, ObserveError> {
    let is_marked = database.annotations().contains_key(label::READERS);
    if !is_marked && !loses_backups(database) {
        return Ok(Vec::new());
    }
    let of_tier = ListParams::default().fields(&format!("spec.tier={}", database.spec.tier));
    let others: Vec<DeserializeGuard<DaapDatabase>> = reader.list_all(&of_tier).await?;
    let uid = database.uid().unwrap_or_default();
    Ok(others
        .into_iter()
        .filter_map(|other| other.0.ok())
        .filter(|other| reads(other, &uid))
        .map(|other| other.name_any())
        .collect())
}

/// Whether a database is still being restored from the one with this uid.
fn reads(other: &DaapDatabase, uid: &str) -> bool {
    let is_of = other
        .spec
        .restore
        .as_ref()
        .is_some_and(|restore| restore.source.uid == uid);
    let operation = other
        .status
        .as_ref()
        .and_then(|status| status.operation.as_ref());
    let is_over = operation.is_some_and(|operation| {
        operation.kind != OperationKind::Restore || operation.result.is_some()
    });
    is_of && !is_over && other.spec.state == State::Active
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{database, from_yaml};

    const SOURCE: &str = "99999999-0000-4000-8000-000000000000";

    /// A database that is restored, or was, with an operation.
    fn restored(kind: &str, step: &str, result: &str) -> DaapDatabase {
        let mut database = database();
        database.spec.restore = Some(from_yaml(&format!(
            "source: {{name: ledger, uid: {SOURCE}}}"
        )));
        database.status = Some(from_yaml(&format!(
            "
            operation:
              {{id: some-id, kind: {kind}, step: {step}, since: '2027-01-15T08:00:00Z',
                startedAt: '2027-01-15T08:00:00Z', result: {result}}}
            "
        )));
        database
    }

    /// From the moment when it is asked for, also before it has begun, until it is over.
    #[test]
    fn who_restores_reads_until_that_is_over() {
        let mut asked = restored("Restore", "ClaimSource", "null");
        asked.status = None;
        assert!(reads(&asked, SOURCE));
        for step in ["ClaimSource", "FenceSource", "AwaitSource", "Recover"] {
            let reading = restored("Restore", step, "null");
            assert!(reads(&reading, SOURCE), "{step}");
            assert!(!reads(&reading, "another"));
        }
        let read = restored("Restore", "Recover", "Succeeded");
        assert!(!reads(&read, SOURCE));
        assert!(!reads(&restored("Freeze", "Quiesce", "null"), SOURCE));
        asked.spec.state = State::Destroyed;
        assert!(!reads(&asked, SOURCE), "it is not wanted any more");
        assert!(!reads(&database(), SOURCE));
    }

    /// What removes something goes by the volumes that are left.
    #[test]
    fn a_restore_looks_at_volumes_when_it_removes_what_it_began() {
        let is_operated = |step| is_operated(&restored("Restore", step, "null"));
        assert!(!is_operated("Recover"));
        for step in ["DeleteCluster", "AwaitGone", "RemoveChildren"] {
            assert!(is_operated(step), "{step}");
        }
    }

    #[test]
    fn nothing_is_restored_from_what_is_another_teams_or_going() {
        let restore: Restore = from_yaml(&format!("source: {{name: orders, uid: {SOURCE}}}"));
        let source = |change: &dyn Fn(&mut DaapDatabase)| {
            let mut source = database();
            source.metadata.uid = Some(SOURCE.to_owned());
            change(&mut source);
            objection(&database(), &source, &restore).unwrap_or_default()
        };
        let operated = |kind: &str, result: &str| {
            let with = restored(kind, "RemoveChildren", result);
            source(&|source| source.status.clone_from(&with.status))
        };
        assert_eq!(source(&|_| ()), "");
        assert!(source(&|source| source.metadata.uid = None).contains("another database"));
        assert!(source(&|source| source.spec.owner_team = "billing".into()).contains("team"));
        for kind in ["Hard", "Purge"] {
            assert!(operated(kind, "null").contains("removed with its backups"));
        }
        assert_eq!(operated("Archive", "null"), "");
        let deleted = |source: &mut DaapDatabase| source.status = Some(from_yaml("phase: deleted"));
        assert!(source(&deleted).contains("removed with its backups"));
    }
}
