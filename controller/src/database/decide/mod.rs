//! What is to be done. Pure: [`Observed`] in, [`Plan`] out; no client, no clock, no randomness of its own.

mod archive;
mod backup;
mod health;
mod operate;
mod symptoms;

use daap_crds::{
    DaapDatabase, Phase,
    cnpg::Cluster,
    condition::{self, Fact},
    connection_secret,
    cost::Cost,
    database,
    database::{AdmissionStatus, Incarnation, OperationResult, State},
    label,
    reason::Reason,
    tier::{DaapTierSpec, Strategy},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt as _;

use super::{
    build,
    lifecycle::{self, Course, advance::finish},
    observe::{Children, Observed, StoreLookup},
    plan::{
        Access, Assessment, BackupWork, Claim, Converge, Desired, Health, Identity, Password, Plan,
        Store, Trouble,
    },
};
use crate::{k8s::client::Lookup, settings::Settings};
use backup::Account;
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
    if phase(database) == Some(Phase::Deleted) {
        return decide_deleted(observed, now);
    }
    if database.spec.tier_revision.is_none() {
        return decide_unbound(observed, now);
    }
    if !is_leaving && !has_finalizer(database) {
        return Plan::Claim(Claim {
            finalizers: with_finalizer(database),
        });
    }
    let is_marked = database.annotations().contains_key(label::READERS);
    if is_marked && observed.readers.is_empty() {
        return Plan::Unmark;
    }
    let mut converge = decide_bound(observed, settings, chance, now);
    if is_marked {
        let look_again = converge.assessment.look_again;
        converge.assessment.look_again = look_again.into_iter().chain([soon(now)]).min();
    }
    if let Some(refused) = refused_wish(observed) {
        let trouble = converge.assessment.trouble.take();
        converge.assessment.trouble =
            Some(trouble.map_or(refused.clone(), |trouble| trouble.and(&refused)));
    }
    Plan::Converge(Box::new(converge))
}

fn phase(database: &DaapDatabase) -> Option<Phase> {
    database.status.as_ref()?.phase
}

/// A database that is gone. Its object stays until its record was written down, or for a day where nobody does that.
fn decide_deleted(observed: &Observed, now: Timestamp) -> Plan {
    const UNRECORDED: SignedDuration = SignedDuration::from_hours(24);
    let database = &observed.database;
    let operation = database
        .status
        .as_ref()
        .and_then(|status| status.operation.as_ref());
    let deleted_at = operation
        .and_then(|operation| operation.finished_at.as_ref())
        .map_or(now, |time| time.0);
    let until = deleted_at.saturating_add(UNRECORDED).unwrap_or(deleted_at);
    if database.metadata.deletion_timestamp.is_some() {
        Plan::Release
    } else if database.annotations().contains_key(label::RECORDED) || now >= until {
        Plan::Bury
    } else {
        let mut assessment = assessment(observed, Health::Resting(Phase::Deleted), None);
        assessment.look_again = Some(until);
        Plan::Converge(Box::new(Converge::say(assessment)))
    }
}

/// Whether no data can be lost with the database: no Cluster was ever about to be made for it, and none exists, or it
/// was destroyed.
fn holds_nothing(observed: &Observed) -> bool {
    let status = observed.database.status.as_ref();
    let never = status.is_none_or(|status| {
        status.incarnations.is_empty() || status.phase == Some(Phase::Deleted)
    });
    let cluster = observed.children.cluster.found();
    never && !cluster.is_some_and(|cluster| observed.identity.owns(&cluster.metadata))
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

/// Deleting the object of a database whose tier only freezes destroys nothing.
fn refused_wish(observed: &Observed) -> Option<Trouble> {
    let database = &observed.database;
    let strategy = observed
        .revision
        .found()
        .map(|revision| revision.spec.template.destruction.strategy);
    let is_refused = database.metadata.deletion_timestamp.is_some()
        && database.spec.state == State::Active
        && !database.is_abandoned()
        && strategy.is_none_or(|strategy| strategy == Strategy::Freeze);
    is_refused.then(|| {
        Trouble::new(
            Reason::Unsupported,
            "Deleting the object does not destroy a database: its tier freezes, and never destroys data. It stays \
             until it is destroyed by force, with 'state: Destroyed' and 'destruction'.",
        )
    })
}

/// A database that no quota admitted yet. It is bound by the quota's controller, and by no other.
fn decide_unbound(observed: &Observed, now: Timestamp) -> Plan {
    let database = &observed.database;
    if database.spec.state == State::Destroyed {
        // Nothing was ever made for it.
        let mut assessment = assessment(observed, Health::Resting(Phase::Deleted), None);
        assessment.operation = Some(lifecycle::nothing_to_destroy(database, now));
        return Plan::Converge(Box::new(Converge::say(assessment)));
    }
    match offer(observed) {
        Offer::Revision => match quota_trouble(database) {
            None if database.status.is_none() && now < decided_by(database) => {
                Plan::Await(decided_by(database))
            }
            trouble => waiting(observed, trouble),
        },
        Offer::NotYet => waiting(observed, None),
        Offer::Refused(trouble) => waiting(observed, Some(trouble)),
    }
}

/// When the quota should have decided on a database.
fn decided_by(database: &DaapDatabase) -> Timestamp {
    const PATIENCE: SignedDuration = SignedDuration::from_secs(3);
    let created = database.metadata.creation_timestamp.as_ref();
    created
        .and_then(|created| created.0.checked_add(PATIENCE).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// That the quota has no room, in its own words.
fn quota_trouble(database: &DaapDatabase) -> Option<Trouble> {
    let said = database.status.as_ref()?.admission.as_ref()?;
    let message = said.message.as_deref()?;
    (said.verdict != database::Verdict::Admitted)
        .then(|| Trouble::new(Reason::QuotaExceeded, message))
}

/// What a tier has for a new database.
enum Offer {
    /// Its current revision.
    Revision,
    /// Nothing yet: it was not looked at since it was made or changed.
    NotYet,
    /// Nothing.
    Refused(Trouble),
}

fn offer(observed: &Observed) -> Offer {
    let name = &observed.identity.tier;
    let Some(tier) = observed.tier.found() else {
        return Offer::Refused(Trouble::new(
            Reason::TierNotFound,
            format!("The tier '{name}' does not exist."),
        ));
    };
    let not_accepted = |why: &str| {
        Offer::Refused(Trouble::new(
            Reason::TierNotAccepted,
            format!("The tier '{name}' is not accepted: {why}"),
        ))
    };
    if tier.metadata.deletion_timestamp.is_some() {
        return not_accepted("it is being deleted.");
    }
    let status = tier
        .status
        .as_ref()
        .filter(|status| status.observed_generation == tier.metadata.generation);
    match status.and_then(|status| condition::find(&status.conditions, condition::ACCEPTED)) {
        Some(accepted) if accepted.status != "True" => not_accepted(&accepted.message),
        Some(_) if observed.revision.found().is_some() => Offer::Revision,
        Some(_) => Offer::NotYet,
        None => Offer::NotYet,
    }
}

/// A database for which nothing can be made yet.
fn waiting(observed: &Observed, trouble: Option<Trouble>) -> Plan {
    let assessment = assessment(observed, waiting_for("its tier and its quota"), trouble);
    Plan::Converge(Box::new(Converge::say(assessment)))
}

/// An assessment with nothing but health and trouble.
fn assessment(observed: &Observed, health: Health, trouble: Option<Trouble>) -> Assessment {
    let database = &observed.database;
    let status = database.status.clone().unwrap_or_default();
    let admission = if database.spec.tier_revision.is_some() {
        let cost = observed
            .revision
            .found()
            .and_then(|revision| Cost::of(&revision.spec.template))
            .or_else(|| status.admission.and_then(|said| said.cost));
        Some(AdmissionStatus::new(database::Verdict::Admitted, cost))
    } else {
        // The quota's controller writes it; here it is kept.
        status.admission
    };
    Assessment {
        facts: vec![admitted(admission.as_ref())],
        admission,
        health,
        trouble,
        incarnations: status.incarnations,
        connectable: observed.children.connection_secret.found().is_some(),
        pooled: false,
        backup: status.backup,
        operation: status.operation,
        archived_until: status.archived_until,
        abandoned_at: status.abandoned_at,
        look_again: None,
    }
}

/// Whether the quota admitted a database, as a condition.
fn admitted(admission: Option<&AdmissionStatus>) -> Fact {
    let (reason, message) = match admission {
        Some(said) if said.verdict == database::Verdict::Admitted => {
            ("Admitted", "The quota of the tier has room for it.")
        }
        Some(said) => (
            Reason::QuotaExceeded.as_str(),
            said.message.as_deref().unwrap_or("There is no room."),
        ),
        None => ("Undecided", "The quota has not decided on it yet."),
    };
    Fact {
        type_: condition::ADMITTED,
        status: admission.map(|said| said.verdict == database::Verdict::Admitted),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

/// A database that is bound to a revision.
fn decide_bound(
    observed: &Observed,
    settings: &Settings,
    chance: &Chance,
    now: Timestamp,
) -> Converge {
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
            observed,
            Trouble::new(Reason::RevisionNotFound, message),
            Health::Failed,
            now,
        );
    };
    Bound {
        observed,
        template: &revision.spec.template,
        settings,
        chance,
        now,
    }
    .decide()
}

/// Nothing is touched until something outside of the database changes. Not all of it wakes a run up, so it is
/// looked at again.
fn stopped(observed: &Observed, trouble: Trouble, health: Health, now: Timestamp) -> Converge {
    let mut assessment = assessment(observed, health, Some(trouble));
    assessment.look_again = Some(soon(now));
    Converge::say(assessment)
}

fn soon(now: Timestamp) -> Timestamp {
    const PAUSE: SignedDuration = SignedDuration::from_secs(30);
    now.saturating_add(PAUSE).unwrap_or(now)
}

fn waiting_for(what: &str) -> Health {
    Health::Progressing {
        waiting_for: what.to_owned(),
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

/// A database that is bound to a revision that exists.
struct Bound<'a> {
    observed: &'a Observed,
    template: &'a DaapTierSpec,
    settings: &'a Settings,
    chance: &'a Chance,
    now: Timestamp,
}

impl<'a> Bound<'a> {
    fn decide(&self) -> Converge {
        let database = &self.observed.database;
        let strategy = self.template.destruction.strategy;
        let is_ours = |cluster: &Cluster| self.observed.identity.owns(&cluster.metadata);
        let holds_data = match self.find_data() {
            Ok(Data::Held(incarnation, cluster)) if is_ours(cluster) => {
                if self.is_status_lost() {
                    return self.adopt(incarnation);
                }
                health::was_initialised(cluster)
            }
            Ok(_) => false,
            // What vanished may still have an archive.
            Err(_) => true,
        };
        match lifecycle::course(database, strategy, holds_data, self.now) {
            Course::Serve => self.serve(),
            Course::Run(operation) => self.operate(operation),
            Course::Cancel(mut operation) => {
                finish(&mut operation, OperationResult::Cancelled, self.now);
                self.say(
                    Health::Operating {
                        doing: "what was begun is undone".to_owned(),
                    },
                    operation,
                )
            }
            Course::Rest(phase) => self.rest(phase),
            Course::Unrestorable => self.unrestorable(),
        }
    }

    /// Brings the children to what a database is made of.
    fn serve(&self) -> Converge {
        if let Some(message) = self.foreign_child() {
            let trouble = Trouble::new(Reason::NameConflict, message);
            return stopped(self.observed, trouble, Health::Failed, self.now);
        }
        let data = match self.find_data() {
            Ok(data) => data,
            Err((trouble, health)) => return stopped(self.observed, trouble, health, self.now),
        };
        let prepared = match (&data, &self.observed.store_trouble) {
            (Data::Promised(_) | Data::None, Some(message)) => {
                Err(Trouble::new(Reason::ObjectStoreUnavailable, message))
            }
            _ => self.prerequisites(),
        };
        match (data, prepared) {
            (Data::Held(incarnation, cluster), prepared) => {
                self.keep(incarnation, cluster, prepared)
            }
            (Data::Promised(incarnation), Ok(store)) => self.make(incarnation, store),
            (Data::None, Ok(_)) => self.commit(),
            (Data::Promised(_) | Data::None, Err(trouble)) => stopped(
                self.observed,
                trouble,
                waiting_for("what a Cluster needs beforehand"),
                self.now,
            ),
        }
    }

    fn foreign_child(&self) -> Option<String> {
        foreign_child(&self.observed.children, &self.observed.identity)
    }

    /// Finds the Cluster of the last incarnation. A Cluster that once existed is never looked for under another uid.
    fn find_data(&self) -> Result<Data<'a>, (Trouble, Health)> {
        let vanished = |message: &str| {
            Err((
                Trouble::new(Reason::ClusterVanished, message),
                Health::Failed,
            ))
        };
        let status = self.observed.database.status.as_ref();
        let last = status
            .and_then(|status| status.incarnations.last())
            .cloned();
        let cluster = match &self.observed.children.cluster {
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
                return Err((operator_not_installed(), waiting_for("CloudNativePG")));
            }
        };
        let labelled = cluster
            .labels()
            .get(label::INCARNATION)
            .cloned()
            .unwrap_or_default();
        let incarnation = match last {
            Some(incarnation) if incarnation.server_name == labelled => incarnation,
            Some(_) => {
                return vanished("The Cluster of that name is not the one that held the data.");
            }
            // The status was lost, with a restore of the cluster's own state for instance; the Cluster was not.
            None => Incarnation {
                reserved_connections: build::kept_connections(cluster),
                ..self.incarnation(labelled, cluster.metadata.uid.clone())
            },
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

    /// What must be there before a Cluster can be made, and the object store if the revision has a backup.
    fn prerequisites(&self) -> Result<Option<Store>, Trouble> {
        let children = &self.observed.children;
        match &self.observed.store {
            _ if children.cluster.kind_missing() => Err(operator_not_installed()),
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

    fn incarnation(&self, server_name: String, cluster_uid: Option<String>) -> Incarnation {
        let backup_url = match &self.observed.store {
            StoreLookup::Available(store) => Some(store.url.clone()),
            StoreLookup::NotNeeded | StoreLookup::Unavailable(_) => None,
        };
        Incarnation {
            server_name,
            revision: self
                .observed
                .database
                .spec
                .tier_revision
                .clone()
                .unwrap_or_default(),
            postgres_major: self.template.postgres.major,
            backup_url,
            cluster_uid,
            fence: None,
            restored_from: None,
            reserved_connections: build::reserved_connections(self.template),
        }
    }

    fn is_status_lost(&self) -> bool {
        let status = self.observed.database.status.as_ref();
        status.is_none_or(|status| status.incarnations.is_empty())
    }

    /// A Cluster of which the status says nothing is written down first: everything else goes by that, what removes it
    /// and what restores it too.
    fn adopt(&self, incarnation: Incarnation) -> Converge {
        let mut assessment = assessment(self.observed, waiting_for("its Cluster"), None);
        assessment.incarnations.push(incarnation);
        Converge::say(assessment)
    }

    /// The incarnation is written down before its Cluster is made, so that there is never a Cluster nobody knows of,
    /// and never two for one database. The next run makes it.
    fn commit(&self) -> Converge {
        let mut assessment = assessment(self.observed, waiting_for("its Cluster to be made"), None);
        let incarnation = self.incarnation(self.chance.server_name.clone(), None);
        assessment.incarnations.push(incarnation);
        Converge::say(assessment)
    }

    /// The Cluster is made, and everything beside it.
    fn make(&self, incarnation: Incarnation, store: Option<Store>) -> Converge {
        let health = waiting_for("CloudNativePG to take up its Cluster");
        let assessment = assessment(self.observed, health, None);
        Converge {
            desired: Some(self.desired(incarnation, store)),
            backups: BackupWork::default(),
            deed: None,
            assessment,
        }
    }

    /// The Cluster is there. What it needed beforehand may be missing now; that does not make it worse.
    fn keep(
        &self,
        mut incarnation: Incarnation,
        cluster: &Cluster,
        prepared: Result<Option<Store>, Trouble>,
    ) -> Converge {
        incarnation.cluster_uid.clone_from(&cluster.metadata.uid);
        let Diagnosis {
            health,
            trouble,
            degraded,
            look_again,
        } = health::diagnose(
            self.observed,
            cluster,
            self.template,
            self.settings,
            self.now,
        );
        let mut assessment = assessment(self.observed, health, trouble);
        assessment.look_again = look_again;
        assessment.pooled = self.template.pooling.is_some();
        let Account {
            status,
            archiving,
            work,
        } = backup::assess(self.observed, cluster, self.template, &incarnation);
        assessment.backup = Some(status);
        assessment
            .facts
            .extend(archiving.into_iter().chain([degraded]));
        match assessment.incarnations.last_mut() {
            Some(last) => *last = incarnation.clone(),
            None => assessment.incarnations.push(incarnation.clone()),
        }
        match prepared {
            Ok(store) => Converge {
                desired: Some(self.desired(incarnation, store)),
                backups: work,
                deed: None,
                assessment,
            },
            Err(trouble) => {
                assessment.trouble = assessment.trouble.or(Some(trouble));
                assessment.look_again = Some(soon(self.now));
                Converge {
                    backups: work,
                    ..Converge::say(assessment)
                }
            }
        }
    }

    fn desired(&self, incarnation: Incarnation, store: Option<Store>) -> Desired {
        let children = &self.observed.children;
        let known = |secret: &Lookup<Secret>| secret.found().and_then(password);
        // The connection Secret has the application's password too: it heals the loss of the other one.
        let application =
            known(&children.application_secret).or_else(|| known(&children.connection_secret));
        let observer = known(&children.observer_secret);
        // Where the backups are was written down once, and is not worked out again.
        let store = store.map(|store| Store {
            url: incarnation.backup_url.clone().unwrap_or(store.url),
            ..store
        });
        Desired {
            identity: self.observed.identity.clone(),
            template: self.template.clone(),
            application_password: application
                .unwrap_or_else(|| self.chance.application_password.clone()),
            observer_password: observer.unwrap_or_else(|| self.chance.observer_password.clone()),
            certificate_authority: children.ca_secret.found().and_then(certificate),
            incarnation,
            store,
            access: Access::Open,
            keeps_backups: !self.observed.readers.is_empty(),
        }
    }
}

fn operator_not_installed() -> Trouble {
    Trouble::new(
        Reason::OperatorMissing,
        "CloudNativePG's API is not installed.",
    )
}

fn password(secret: &Secret) -> Option<Password> {
    let ByteString(bytes) = secret.data.as_ref()?.get(connection_secret::PASSWORD)?;
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
fn foreign_child(children: &Children, identity: &Identity) -> Option<String> {
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
        source_store,
        cluster,
        pooler,
        pooler_deployment: _,
        scheduled_backup,
        // Made for a Cluster whose ownership is told by the Cluster.
        backups: _,
        requested_backup: _,
    } = children;
    let found = [
        ("NetworkPolicy", meta(instance_policy)),
        ("NetworkPolicy", meta(pooler_policy)),
        ("Secret", meta(application_secret)),
        ("Secret", meta(observer_secret)),
        ("Secret", meta(connection_secret)),
        ("Secret", meta(store_secret)),
        ("ObjectStore", meta(object_store)),
        ("ObjectStore", meta(source_store)),
        ("Cluster", meta(cluster)),
        ("Pooler", meta(pooler)),
        ("ScheduledBackup", meta(scheduled_backup)),
    ];
    found.into_iter().find_map(|(kind, meta)| {
        let meta = meta.filter(|meta| !identity.owns(meta))?;
        let name = meta.name.as_deref().unwrap_or_default();
        Some(format!(
            "A {kind} '{name}' exists that does not belong to this database."
        ))
    })
}

fn meta<K: kube::Resource>(lookup: &Lookup<K>) -> Option<&ObjectMeta> {
    lookup.found().map(K::meta)
}

#[cfg(test)]
mod tests;
