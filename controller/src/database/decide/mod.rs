//! What is to be done. Pure: [`Observed`] in, [`Plan`] out; no client, no clock, no randomness of its own.

mod backup;
mod health;
mod symptoms;

use daap_crds::{
    DaapDatabase, DaapTier, DaapTierRevision,
    cnpg::Cluster,
    condition, database,
    database::{AdmissionStatus, Incarnation, State},
    label,
    reason::Reason,
    tier::DaapTierSpec,
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt as _;

use super::{
    build::KEY_PASSWORD,
    observe::{Children, Observed, StoreLookup},
    plan::{Assessment, Claim, Converge, Desired, Health, Password, Plan, Store, Trouble},
};
use crate::{k8s::client::Lookup, quota::admission, settings::Settings};
use health::Diagnosis;

/// What must be random, drawn beforehand and used only where nothing is yet.
pub struct Chance {
    /// A server name never used before.
    pub server_name: String,
    /// A password.
    pub application_password: Password,
    /// Another password.
    pub observer_password: Password,
}

/// What is to be done with a database.
pub fn decide(observed: &Observed, settings: &Settings, chance: &Chance, now: Timestamp) -> Plan {
    let database = &observed.database;
    let is_leaving = database.metadata.deletion_timestamp.is_some();
    if is_leaving && holds_nothing(observed) {
        return Plan::Release;
    }
    if database.spec.tier_revision.is_none() {
        return decide_unbound(observed);
    }
    if !is_leaving && !has_finalizer(database) {
        return Plan::Claim(Claim {
            finalizers: with_finalizer(database),
            bind: None,
        });
    }
    let mut converge = decide_bound(observed, settings, chance, now);
    let trouble = &mut converge.assessment.trouble;
    *trouble = trouble.take().or_else(|| refused_wish(database));
    Plan::Converge(Box::new(converge))
}

/// Whether no data can be lost with the database: no Cluster was ever about to be made for it, and none exists.
fn holds_nothing(observed: &Observed) -> bool {
    let status = observed.database.status.as_ref();
    let never = status.is_none_or(|status| status.incarnations.is_empty());
    let cluster = observed.children.cluster.found();
    never && !cluster.is_some_and(|cluster| is_ours(&cluster.metadata, &observed.identity.uid))
}

fn has_finalizer(database: &DaapDatabase) -> bool {
    database
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == label::DATABASE_FINALIZER)
}

fn with_finalizer(database: &DaapDatabase) -> Vec<String> {
    let mut finalizers = database.finalizers().to_vec();
    if !has_finalizer(database) {
        finalizers.push(label::DATABASE_FINALIZER.to_owned());
    }
    finalizers
}

/// Destroying comes with its own strategies, and until then nothing is destroyed.
fn refused_wish(database: &DaapDatabase) -> Option<Trouble> {
    let message = if database.spec.state == State::Destroyed {
        "This version does not destroy databases; nothing was removed. Set the state back to Active."
    } else if database.metadata.deletion_timestamp.is_some() {
        "Deleting the object does not destroy a database: it stays until it is destroyed by 'state: Destroyed', \
         which this version does not do yet."
    } else {
        return None;
    };
    Some(Trouble::new(Reason::Unsupported, message))
}

/// A database that no quota admitted yet.
fn decide_unbound(observed: &Observed) -> Plan {
    let database = &observed.database;
    if let Some(trouble) = refused_wish(database) {
        return waiting(observed, trouble);
    }
    match offered_revision(observed) {
        Ok(revision) => match admission::decide(database, revision) {
            admission::Verdict::Admitted { revision } => Plan::Claim(Claim {
                finalizers: with_finalizer(database),
                bind: Some(revision),
            }),
        },
        Err(trouble) => waiting(observed, trouble),
    }
}

/// The revision that the tier offers to new databases.
fn offered_revision(observed: &Observed) -> Result<&DaapTierRevision, Trouble> {
    let name = &observed.identity.tier;
    let Some(tier) = observed.tier.found() else {
        return Err(Trouble::new(
            Reason::TierNotFound,
            format!("The tier '{name}' does not exist."),
        ));
    };
    let not_accepted =
        |why: &str| Trouble::new(Reason::TierNotAccepted, format!("The tier '{name}' {why}."));
    if tier.metadata.deletion_timestamp.is_some() {
        return Err(not_accepted("is being deleted"));
    }
    if !is_accepted(tier) {
        return Err(not_accepted("is not accepted, or not looked at yet"));
    }
    observed
        .revision
        .found()
        .ok_or_else(|| not_accepted("has no current revision yet"))
}

/// Whether the tier, as it is now, was looked at and accepted.
fn is_accepted(tier: &DaapTier) -> bool {
    tier.status.as_ref().is_some_and(|status| {
        status.observed_generation == tier.metadata.generation
            && condition::is_true(&status.conditions, condition::ACCEPTED)
    })
}

/// A database for which nothing can be made yet.
fn waiting(observed: &Observed, trouble: Trouble) -> Plan {
    let health = Health::Progressing {
        waiting_for: "its tier".to_owned(),
    };
    let assessment = assessment(observed, health, Some(trouble));
    Plan::Converge(Box::new(Converge {
        desired: None,
        assessment,
    }))
}

/// An assessment with nothing but health and trouble.
fn assessment(observed: &Observed, health: Health, trouble: Option<Trouble>) -> Assessment {
    let database = &observed.database;
    let status = database.status.clone().unwrap_or_default();
    let admitted = AdmissionStatus {
        verdict: database::Verdict::Admitted,
        message: None,
        cost: None,
    };
    Assessment {
        admission: database.spec.tier_revision.is_some().then_some(admitted),
        health,
        trouble,
        facts: Vec::new(),
        incarnations: status.incarnations,
        connectable: observed.children.connection_secret.found().is_some(),
        pooled: false,
        backup: status.backup,
        look_again: None,
    }
}

/// A database that is bound to a revision.
fn decide_bound(
    observed: &Observed,
    settings: &Settings,
    chance: &Chance,
    now: Timestamp,
) -> Converge {
    let stopped = |trouble, health| Converge {
        desired: None,
        assessment: assessment(observed, health, Some(trouble)),
    };
    let Some(revision) = observed.revision.found() else {
        let name = observed
            .database
            .spec
            .tier_revision
            .as_deref()
            .unwrap_or_default();
        let message =
            format!("The revision '{name}', to which the database is bound, does not exist.");
        return stopped(
            Trouble::new(Reason::RevisionNotFound, message),
            Health::Failed,
        );
    };
    if let Some(message) = foreign_child(&observed.children, &observed.identity.uid) {
        return stopped(Trouble::new(Reason::NameConflict, message), Health::Failed);
    }
    let template = &revision.spec.template;
    let prepared = prerequisites(observed);
    match find_incarnation(observed, template) {
        Ok(Data::Held(incarnation, cluster)) => held(
            observed,
            template,
            incarnation,
            cluster,
            prepared,
            settings,
            chance,
            now,
        ),
        Ok(Data::Promised(incarnation)) => match prepared {
            Ok(store) => Converge {
                assessment: assessment(
                    observed,
                    waiting_for("CloudNativePG to take up its Cluster"),
                    None,
                ),
                desired: Some(desired(observed, template, incarnation, store, chance)),
            },
            Err(trouble) => stopped(trouble, waiting_for("what a Cluster needs beforehand")),
        },
        Ok(Data::None) => match prepared {
            Ok(store) => commit(observed, template, store.as_ref(), chance),
            Err(trouble) => stopped(trouble, waiting_for("what a Cluster needs beforehand")),
        },
        Err((trouble, health)) => stopped(trouble, health),
    }
}

fn waiting_for(what: &str) -> Health {
    Health::Progressing {
        waiting_for: what.to_owned(),
    }
}

/// The incarnation is written down before its Cluster is made, so that there is never a Cluster nobody knows of,
/// and never two for one database. The next run makes it.
fn commit(
    observed: &Observed,
    template: &DaapTierSpec,
    store: Option<&Store>,
    chance: &Chance,
) -> Converge {
    let incarnation = Incarnation {
        server_name: chance.server_name.clone(),
        revision: observed
            .database
            .spec
            .tier_revision
            .clone()
            .unwrap_or_default(),
        postgres_major: template.postgres.major,
        backup_url: store.map(|store| store.url.clone()),
        cluster_uid: None,
    };
    let mut assessment = assessment(observed, waiting_for("its Cluster to be made"), None);
    assessment.incarnations.push(incarnation);
    Converge {
        desired: None,
        assessment,
    }
}

/// What must be there before a Cluster can be made, and the object store if the revision has a backup.
fn prerequisites(observed: &Observed) -> Result<Option<Store>, Trouble> {
    let children = &observed.children;
    if children.cluster.kind_missing() {
        return Err(Trouble::new(
            Reason::OperatorMissing,
            "CloudNativePG's API is not installed.",
        ));
    }
    match &observed.store {
        StoreLookup::NotNeeded => Ok(None),
        StoreLookup::Unavailable(message) => {
            Err(Trouble::new(Reason::ObjectStoreUnavailable, message))
        }
        StoreLookup::Available(_) if children.object_store.kind_missing() => Err(Trouble::new(
            Reason::PluginMissing,
            "The API of the Barman Cloud plugin is not installed.",
        )),
        StoreLookup::Available(store) => Ok(Some(Store::clone(store))),
    }
}

/// Where the data of a database is.
enum Data<'a> {
    /// Nowhere yet.
    None,
    /// An incarnation was written down, and its Cluster was not made yet.
    Promised(Incarnation),
    /// In this Cluster.
    Held(Incarnation, &'a Cluster),
}

/// Finds the Cluster of the last incarnation. A Cluster that once existed is never looked for under another uid.
fn find_incarnation<'a>(
    observed: &'a Observed,
    template: &DaapTierSpec,
) -> Result<Data<'a>, (Trouble, Health)> {
    let vanished = |message: &str| {
        Err((
            Trouble::new(Reason::ClusterVanished, message),
            Health::Failed,
        ))
    };
    let status = observed.database.status.as_ref();
    let last = status
        .and_then(|status| status.incarnations.last())
        .cloned();
    let cluster = match &observed.children.cluster {
        Lookup::Found(cluster) => cluster,
        Lookup::Absent => {
            return match last {
                None => Ok(Data::None),
                Some(incarnation) if incarnation.cluster_uid.is_none() => {
                    Ok(Data::Promised(incarnation))
                }
                Some(_) => vanished("The Cluster that held the data does not exist any more."),
            };
        }
        Lookup::KindMissing => {
            let trouble = Trouble::new(
                Reason::OperatorMissing,
                "CloudNativePG's API is not installed.",
            );
            return Err((trouble, waiting_for("CloudNativePG")));
        }
    };
    let labelled = cluster
        .labels()
        .get(label::INCARNATION)
        .cloned()
        .unwrap_or_default();
    let incarnation = match last {
        Some(incarnation) if incarnation.server_name == labelled => incarnation,
        Some(_) => return vanished("The Cluster of that name is not the one that held the data."),
        // The status was lost, with a restore of the cluster's own state for instance; the Cluster was not.
        None => adopted(observed, template, cluster, labelled),
    };
    if incarnation.cluster_uid.is_some() && incarnation.cluster_uid != cluster.metadata.uid {
        return vanished(
            "The Cluster that held the data was replaced by another one of the same name.",
        );
    }
    if cluster.metadata.deletion_timestamp.is_some() {
        return vanished("The Cluster that holds the data is being deleted by someone else.");
    }
    Ok(Data::Held(incarnation, cluster))
}

fn adopted(
    observed: &Observed,
    template: &DaapTierSpec,
    cluster: &Cluster,
    server_name: String,
) -> Incarnation {
    let store = match &observed.store {
        StoreLookup::Available(store) => Some(store.url.clone()),
        StoreLookup::NotNeeded | StoreLookup::Unavailable(_) => None,
    };
    Incarnation {
        server_name,
        revision: observed
            .database
            .spec
            .tier_revision
            .clone()
            .unwrap_or_default(),
        postgres_major: template.postgres.major,
        backup_url: store,
        cluster_uid: cluster.metadata.uid.clone(),
    }
}

/// A database whose Cluster exists. What it needs beforehand may be missing now; that does not make it worse.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a fact of its own, and a struct for one call names none better"
)]
fn held(
    observed: &Observed,
    template: &DaapTierSpec,
    mut incarnation: Incarnation,
    cluster: &Cluster,
    prepared: Result<Option<Store>, Trouble>,
    settings: &Settings,
    chance: &Chance,
    now: Timestamp,
) -> Converge {
    incarnation.cluster_uid.clone_from(&cluster.metadata.uid);
    let Diagnosis {
        health,
        trouble,
        degraded,
        look_again,
    } = health::diagnose(observed, cluster, template, settings, now);
    let mut assessment = assessment(observed, health, trouble);
    assessment.look_again = look_again;
    assessment.pooled = template.pooling.is_some();
    let (backup, archiving) = backup::assess(observed, cluster, template, &incarnation);
    assessment.backup = Some(backup);
    assessment.facts = archiving.into_iter().chain([degraded]).collect();
    match assessment.incarnations.last_mut() {
        Some(last) => *last = incarnation.clone(),
        None => assessment.incarnations.push(incarnation.clone()),
    }
    match prepared {
        Ok(store) => Converge {
            desired: Some(desired(observed, template, incarnation, store, chance)),
            assessment,
        },
        Err(trouble) => {
            assessment.trouble = assessment.trouble.or(Some(trouble));
            Converge {
                desired: None,
                assessment,
            }
        }
    }
}

fn desired(
    observed: &Observed,
    template: &DaapTierSpec,
    incarnation: Incarnation,
    store: Option<Store>,
    chance: &Chance,
) -> Desired {
    let children = &observed.children;
    let known = |secret: &Lookup<Secret>| secret.found().and_then(password);
    // The connection Secret has the application's password too: it heals the loss of the other one.
    let application =
        known(&children.application_secret).or_else(|| known(&children.connection_secret));
    let store = store.map(|store| Store {
        url: incarnation.backup_url.clone().unwrap_or(store.url),
        ..store
    });
    Desired {
        identity: observed.identity.clone(),
        template: template.clone(),
        application_password: application.unwrap_or_else(|| chance.application_password.clone()),
        observer_password: known(&children.observer_secret)
            .unwrap_or_else(|| chance.observer_password.clone()),
        certificate_authority: children.ca_secret.found().and_then(certificate),
        incarnation,
        store,
    }
}

fn password(secret: &Secret) -> Option<Password> {
    let ByteString(bytes) = secret.data.as_ref()?.get(KEY_PASSWORD)?;
    let text = String::from_utf8(bytes.clone())
        .ok()
        .filter(|text| !text.is_empty())?;
    Some(Password::new(text))
}

fn certificate(secret: &Secret) -> Option<ByteString> {
    secret
        .data
        .as_ref()?
        .get("ca.crt")
        .filter(|certificate| !certificate.0.is_empty())
        .cloned()
}

/// Something of the name of a child that is not this database's, in words.
fn foreign_child(children: &Children, uid: &str) -> Option<String> {
    let Children {
        // Shared by the databases of the namespace.
        default_deny: _,
        instance_policy,
        pooler_policy,
        application_secret,
        observer_secret,
        connection_secret,
        // Made by CloudNativePG, for a Cluster whose ownership is told by the Cluster.
        ca_secret: _,
        store_secret,
        object_store,
        cluster,
        pooler,
        pooler_deployment: _,
        scheduled_backup,
    } = children;
    let found = [
        ("NetworkPolicy", meta(instance_policy)),
        ("NetworkPolicy", meta(pooler_policy)),
        ("Secret", meta(application_secret)),
        ("Secret", meta(observer_secret)),
        ("Secret", meta(connection_secret)),
        ("Secret", meta(store_secret)),
        ("ObjectStore", meta(object_store)),
        ("Cluster", meta(cluster)),
        ("Pooler", meta(pooler)),
        ("ScheduledBackup", meta(scheduled_backup)),
    ];
    found.into_iter().find_map(|(kind, meta)| {
        let meta = meta.filter(|meta| !is_ours(meta, uid))?;
        let name = meta.name.as_deref().unwrap_or_default();
        Some(format!(
            "A {kind} '{name}' exists that does not belong to this database."
        ))
    })
}

fn meta<K: kube::Resource>(lookup: &Lookup<K>) -> Option<&ObjectMeta> {
    lookup.found().map(K::meta)
}

fn is_ours(meta: &ObjectMeta, uid: &str) -> bool {
    meta.labels
        .as_ref()
        .and_then(|labels| labels.get(label::DATABASE_UID))
        .is_some_and(|value| value == uid)
}

#[cfg(test)]
mod tests;
