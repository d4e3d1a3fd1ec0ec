//! A database that is bound to a revision: where its data is, and which children it is to have. Pure.

use daap_crds::{
    cnpg::Cluster,
    connection_secret,
    database::{Incarnation, OperationResult},
    label,
    reason::Reason,
    tier::DaapTierSpec,
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt as _;

use super::{
    super::{
        build,
        lifecycle::{self, Course, advance::finish},
        observe::{Observed, StoreLookup},
        plan::{Access, BackupWork, Converge, Desired, Health, Password, Store, Trouble},
    },
    Chance, assessment,
    backup::{self, Account},
    foreign::foreign_child,
    health::{self, Diagnosis},
    soon, stopped, waiting_for,
};
use crate::{k8s::client::Lookup, settings::Settings};

/// Where the data of a database is.
pub(super) enum Data<'a> {
    /// Nowhere yet.
    None,
    /// An incarnation was written down, and its Cluster was not made yet.
    Promised(Incarnation),
    /// In this Cluster.
    Held(Incarnation, &'a Cluster),
}

/// A database that is bound to a revision that exists.
pub(super) struct Bound<'a> {
    pub(super) observed: &'a Observed,
    pub(super) template: &'a DaapTierSpec,
    pub(super) settings: &'a Settings,
    pub(super) chance: &'a Chance,
    pub(super) now: Timestamp,
}

impl<'a> Bound<'a> {
    pub(super) fn decide(&self) -> Converge {
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
    pub(super) fn serve(&self) -> Converge {
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

    pub(super) fn foreign_child(&self) -> Option<String> {
        foreign_child(&self.observed.children, &self.observed.identity)
    }

    /// Finds the Cluster of the last incarnation. A Cluster that once existed is never looked for under another uid.
    pub(super) fn find_data(&self) -> Result<Data<'a>, (Trouble, Health)> {
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
    pub(super) fn prerequisites(&self) -> Result<Option<Store>, Trouble> {
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

    pub(super) fn desired(&self, incarnation: Incarnation, store: Option<Store>) -> Desired {
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
