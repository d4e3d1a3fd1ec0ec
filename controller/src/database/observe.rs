//! What there is. Reads the cluster, live and never from a cache; with the modules below it, the only
//! reader of the database controller.
//!
//! In: the name of a DaapDatabase. Out: [`Observed`], without any judgement.

mod archive;
mod source;

use daap_crds::{
    DaapDatabase, DaapObjectStore, DaapTier, DaapTierRevision,
    cnpg::{self, Backup, Cluster, ObjectStore, Pooler, ScheduledBackup},
    condition,
    name::{DatabaseName, NameError, TeamName},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, Namespace, PersistentVolumeClaim, Pod, Secret},
    networking::v1::NetworkPolicy,
};
use kube::{ResourceExt as _, api::ListParams};
use thiserror::Error;

use super::{
    build,
    plan::{Identity, Store},
};
use crate::{
    k8s::{
        client::{Lookup, Reader},
        error::CallError,
    },
    object_store::secrets,
    settings::Settings,
    tenant_sql::Tenant,
};
pub use archive::{ArchiveLook, observe_archive};
pub use source::{Source, SourceLookup};

/// Why nothing can be told about a database.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The API server did not answer.
    #[error("cannot read what there is")]
    Call(#[from] CallError),
    /// A name is none, which the CRD excludes.
    #[error("a name of the database cannot be used")]
    Name(#[from] NameError),
}

/// What there is.
pub struct Observed {
    /// The database.
    pub database: DaapDatabase,
    /// Who it is.
    pub identity: Identity,
    /// Its namespace. Read only once it is bound, like its store and its children.
    pub namespace: Option<Namespace>,
    /// Its tier. Read only while the database is not bound.
    pub tier: Lookup<DaapTier>,
    /// Its revision: the bound one, or the tier's current one while it is not bound.
    pub revision: Lookup<DaapTierRevision>,
    /// The object store of its revision.
    pub store: StoreLookup,
    /// Why that object store cannot be used now, as it says of itself. What is there already goes on without.
    pub store_trouble: Option<String>,
    /// What was made for it.
    pub children: Children,
    /// What may tell why it is not ready, and what is left of it. Read only while its Cluster is not healthy, or an
    /// operation is under way.
    pub symptoms: Symptoms,
    /// What the object store tells of its archive.
    pub archive: ArchiveLook,
    /// What it is to be restored from. Read only until that is known.
    pub source: SourceLookup,
    /// The databases that are being restored from it. Looked for only while some may be.
    pub readers: Vec<String>,
}

impl Observed {
    /// How to log in to it, once everything is there that is needed for that.
    pub fn tenant(&self) -> Option<Tenant> {
        let children = &self.children;
        source::tenant(
            &self.identity,
            children.application_secret.found()?,
            children.observer_secret.found()?,
            children.ca_secret.found()?,
        )
    }
}

/// What a look for an object store found.
#[derive(Default)]
pub enum StoreLookup {
    /// The revision has no backup.
    #[default]
    NotNeeded,
    /// It does not exist, or a Secret it names is not as it says.
    Unavailable(String),
    /// It and its Secrets.
    Available(Box<Store>),
}

/// What was made for a database, as far as it exists.
#[derive(Default)]
pub struct Children {
    /// The namespace's default-deny policy.
    pub default_deny: Lookup<NetworkPolicy>,
    /// The policy of the instances.
    pub instance_policy: Lookup<NetworkPolicy>,
    /// The policy of the pooler.
    pub pooler_policy: Lookup<NetworkPolicy>,
    /// The password of the application's role.
    pub application_secret: Lookup<Secret>,
    /// The password of the observer role.
    pub observer_secret: Lookup<Secret>,
    /// What an application needs to connect.
    pub connection_secret: Lookup<Secret>,
    /// The certificate authority, made by CloudNativePG.
    pub ca_secret: Lookup<Secret>,
    /// The copied credentials of the object store.
    pub store_secret: Lookup<Secret>,
    /// Where the instances archive to.
    pub object_store: Lookup<ObjectStore>,
    /// Where the instances restored from.
    pub source_store: Lookup<ObjectStore>,
    /// PostgreSQL.
    pub cluster: Lookup<Cluster>,
    /// PgBouncer.
    pub pooler: Lookup<Pooler>,
    /// What runs the pooler, made by CloudNativePG.
    pub pooler_deployment: Lookup<Deployment>,
    /// When base backups are taken.
    pub scheduled_backup: Lookup<ScheduledBackup>,
    /// Its base backups, by whomever they were asked for.
    pub backups: Vec<Backup>,
    /// The base backup of a request that is not known to be carried out.
    pub requested_backup: Lookup<Backup>,
}

/// What may tell why a database is not ready.
#[derive(Default)]
pub struct Symptoms {
    /// The pods of the instances, of the Jobs that prepare them, and of the pooler.
    pub pods: Vec<Pod>,
    /// The volumes of the instances.
    pub volumes: Vec<PersistentVolumeClaim>,
    /// Warnings about volumes of the namespace.
    pub volume_warnings: Vec<Event>,
}

/// What there is; nothing, when the database is gone.
///
/// # Errors
/// When the API server does not answer.
pub async fn observe(
    reader: &Reader,
    settings: &Settings,
    namespace: &str,
    name: &str,
) -> Result<Option<Observed>, ObserveError> {
    let Lookup::Found(database) = reader.get_in::<DaapDatabase>(namespace, name).await? else {
        return Ok(None);
    };
    let identity = Identity {
        name: DatabaseName::parse(name)?,
        namespace: namespace.to_owned(),
        uid: database.metadata.uid.clone().unwrap_or_default(),
        team: TeamName::parse(&database.spec.owner_team)?,
        tier: database.spec.tier.clone(),
    };
    let (tier, revision) = observe_tier(reader, &database).await?;
    // What is not bound never was, so nothing was made for it. Many may wait for a long time.
    let (namespace, (store, store_trouble), children) = if database.spec.tier_revision.is_none() {
        Default::default()
    } else {
        tokio::try_join!(
            reader.get::<Namespace>(namespace),
            observe_store(reader, settings, &identity, revision.found()),
            observe_children(
                reader,
                &database,
                &identity,
                revision.found(),
                database.pending_backup_request()
            ),
        )?
    };
    let symptoms = if is_well(&children) && !source::is_operated(&database) {
        Symptoms::default()
    } else {
        observe_symptoms(reader, &identity).await?
    };
    let (source, readers) = tokio::try_join!(
        source::observe_source(reader, &database),
        source::observe_readers(reader, &database),
    )?;
    let namespace = namespace.found().cloned();
    Ok(Some(Observed {
        database,
        identity,
        namespace,
        tier,
        revision,
        store,
        store_trouble,
        children,
        symptoms,
        archive: ArchiveLook::default(),
        source,
        readers,
    }))
}

async fn observe_tier(
    reader: &Reader,
    database: &DaapDatabase,
) -> Result<(Lookup<DaapTier>, Lookup<DaapTierRevision>), CallError> {
    if let Some(bound) = &database.spec.tier_revision {
        return Ok((Lookup::Absent, reader.get(bound).await?));
    }
    let tier = reader.get::<DaapTier>(&database.spec.tier).await?;
    let current = tier
        .found()
        .and_then(|tier| tier.status.as_ref()?.current_revision.clone());
    let revision = match current {
        Some(name) => reader.get(&name).await?,
        None => Lookup::Absent,
    };
    Ok((tier, revision))
}

async fn observe_children(
    reader: &Reader,
    database: &DaapDatabase,
    identity: &Identity,
    revision: Option<&DaapTierRevision>,
    backup_request: Option<&str>,
) -> Result<Children, CallError> {
    let Identity {
        name, namespace, ..
    } = identity;
    let template = revision.map(|revision| &revision.spec.template);
    let pools = template.is_some_and(|template| template.pooling.is_some());
    let backs_up = template.is_some_and(|template| template.backup.is_some());
    let instance_policy = build::instance_policy_name(identity);
    let names = (
        name.cluster(),
        name.pooler(),
        name.object_store(),
        name.scheduled_backup(),
    );
    let secrets = (
        name.application_secret(),
        name.observer_secret(),
        name.connection_secret(),
        name.ca_secret(),
    );
    let store_secret = name.object_store_secret();
    let requested = backup_request.filter(|_| backs_up);
    let requested_name = name.requested_backup(requested.unwrap_or_default());
    let is_restored = database.spec.restore.is_some();
    let source_store = name.source_object_store();
    let (
        default_deny,
        instance_policy,
        pooler_policy,
        application_secret,
        observer_secret,
        connection_secret,
        ca_secret,
        store_secret,
        object_store,
        source_store,
        cluster,
        pooler,
        pooler_deployment,
        scheduled_backup,
        backups,
        requested_backup,
    ) = tokio::try_join!(
        reader.get_in(namespace, build::DEFAULT_DENY),
        reader.get_in(namespace, &instance_policy),
        when(pools, reader.get_in(namespace, &names.1)),
        reader.get_in(namespace, &secrets.0),
        reader.get_in(namespace, &secrets.1),
        reader.get_in(namespace, &secrets.2),
        reader.get_in(namespace, &secrets.3),
        when(backs_up, reader.get_in(namespace, &store_secret)),
        when(backs_up, reader.get_in(namespace, &names.2)),
        when(is_restored, reader.get_in(namespace, &source_store)),
        reader.get_in(namespace, &names.0),
        when(pools, reader.get_in(namespace, &names.1)),
        when(pools, reader.get_in(namespace, &names.1)),
        when(backs_up, reader.get_in(namespace, &names.3)),
        observe_backups(reader, identity, backs_up),
        when(
            requested.is_some(),
            reader.get_in(namespace, &requested_name)
        ),
    )?;
    Ok(Children {
        default_deny,
        instance_policy,
        pooler_policy,
        application_secret,
        observer_secret,
        connection_secret,
        ca_secret,
        store_secret,
        object_store,
        source_store,
        cluster,
        pooler,
        pooler_deployment,
        scheduled_backup,
        backups,
        requested_backup,
    })
}

/// The base backups of a database, if its revision has any. None, where CloudNativePG is not installed.
async fn observe_backups(
    reader: &Reader,
    identity: &Identity,
    backs_up: bool,
) -> Result<Vec<Backup>, CallError> {
    if !backs_up {
        return Ok(Vec::new());
    }
    let selector = format!("{}={}", cnpg::label::CLUSTER, identity.name);
    let of_cluster = ListParams::default().labels(&selector);
    match reader
        .list_in::<Backup>(&identity.namespace, &of_cluster)
        .await
    {
        Err(error) if error.status().is_some_and(|status| status.code == 404) => Ok(Vec::new()),
        listed => listed,
    }
}

/// Looks only when there can be something to find.
async fn when<K>(
    wanted: bool,
    look: impl Future<Output = Result<Lookup<K>, CallError>>,
) -> Result<Lookup<K>, CallError> {
    if wanted {
        look.await
    } else {
        Ok(Lookup::Absent)
    }
}

/// The object store and the Secrets it names, which are all in DAAP's own namespace.
async fn observe_store(
    reader: &Reader,
    settings: &Settings,
    identity: &Identity,
    revision: Option<&DaapTierRevision>,
) -> Result<(StoreLookup, Option<String>), CallError> {
    let Some(backup) = revision.and_then(|revision| revision.spec.template.backup.as_ref()) else {
        return Ok((StoreLookup::NotNeeded, None));
    };
    let name = &backup.object_store;
    let Lookup::Found(store) = reader.get::<DaapObjectStore>(name).await? else {
        let message = format!("The object store '{name}' does not exist.");
        return Ok((StoreLookup::Unavailable(message), None));
    };
    let trouble = unreachable(&store);
    let lookup = match secrets::read(reader, &settings.system_namespace, &store.spec).await? {
        Ok(secrets) => StoreLookup::Available(Box::new(Store {
            url: build::database_url(&store.spec.url, &identity.namespace, &identity.uid),
            spec: store.spec,
            secrets,
        })),
        Err(missing) => {
            StoreLookup::Unavailable(format!("The object store '{name}' names {missing}."))
        }
    };
    Ok((lookup, trouble))
}

/// Why an object store cannot be reached, as it says itself.
fn unreachable(store: &DaapObjectStore) -> Option<String> {
    let conditions = &store.status.as_ref()?.conditions;
    let reachable = condition::find(conditions, condition::REACHABLE)?;
    let name = store.name_any();
    (reachable.status == "False").then(|| {
        format!(
            "The object store '{name}' is not reachable: {}",
            reachable.message
        )
    })
}

/// Whether there is nothing to explain.
fn is_well(children: &Children) -> bool {
    let Some(cluster) = children.cluster.found() else {
        return true;
    };
    let status = cluster.status.clone().unwrap_or_default();
    let pooler_is_well = children.pooler.found().is_none()
        || pooler_is_available(children.pooler_deployment.found());
    status.ready_instances == cluster.spec.instances && pooler_is_well
}

/// Whether a pooler takes connections.
pub fn pooler_is_available(deployment: Option<&Deployment>) -> bool {
    deployment
        .and_then(|deployment| deployment.status.as_ref()?.ready_replicas)
        .is_some_and(|ready| ready > 0)
}

async fn observe_symptoms(reader: &Reader, identity: &Identity) -> Result<Symptoms, CallError> {
    let selector = format!("{}={}", cnpg::label::CLUSTER, identity.name);
    let of_cluster = ListParams::default().labels(&selector);
    let about_volumes =
        ListParams::default().fields("involvedObject.kind=PersistentVolumeClaim,type=Warning");
    let (pods, volumes) = tokio::try_join!(
        reader.list_in::<Pod>(&identity.namespace, &of_cluster),
        reader.list_in::<PersistentVolumeClaim>(&identity.namespace, &of_cluster),
    )?;
    let waits = volumes.iter().any(|volume| {
        volume
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            == Some("Pending")
    });
    let volume_warnings = if waits {
        reader
            .list_in::<Event>(&identity.namespace, &about_volumes)
            .await?
    } else {
        Vec::new()
    };
    Ok(Symptoms {
        pods,
        volumes,
        volume_warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::object_store;

    /// What was not looked at yet, or is only suspected, keeps nobody waiting.
    #[test]
    fn a_store_is_unreachable_when_it_says_so() {
        let told = |status: &str| {
            let mut store = object_store();
            let conditions = &mut store.status.as_mut()?.conditions;
            let reachable = conditions.iter_mut().find(|one| one.type_ == "Reachable")?;
            reachable.status = status.to_owned();
            reachable.message = "no route".to_owned();
            unreachable(&store)
        };
        assert_eq!(told("True"), None);
        assert_eq!(told("Unknown"), None);
        assert_eq!(
            told("False").as_deref(),
            Some("The object store 'vault' is not reachable: no route")
        );
        let mut new = object_store();
        new.status = None;
        assert_eq!(unreachable(&new), None);
    }
}
