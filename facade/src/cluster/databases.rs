//! Databases in the cluster. Reads, creates and changes DaapDatabases; reads the DaapTierRevisions they are bound to.

use async_trait::async_trait;
use daap_crds::{DaapDatabase, DaapTierRevision, DaapTierSpec};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt as _, api::PostParams, core::Status};
use uuid::Uuid;

use super::{Cluster, by_facade, refused, replace, unavailable, within_deadline};
use crate::{
    domain::{
        database::{NewDatabase, field_of_request, mark_recorded},
        failure::{Code, Failure, FieldError},
        intent::is_marked,
    },
    service::ports::{LiveDatabases, Moved},
};

impl Cluster {
    pub(super) fn databases_in(&self, namespace: &str) -> Api<DaapDatabase> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates the resource, and waits until the quota of its tier has admitted it.
    ///
    /// When the answer is lost or says that the name exists, the object of that name is looked at: the one that this
    /// intent made is the one that was asked for.
    pub(super) async fn create(
        &self,
        new: &NewDatabase,
        intent: Uuid,
    ) -> Result<DaapDatabase, Failure> {
        let databases = self.databases_in(&new.namespace);
        let failure =
            match within_deadline(databases.create(&by_facade(), &new.resource(intent))).await {
                Ok(created) => return self.await_admission(created).await,
                Err(kube::Error::Api(status)) if status.is_already_exists() => name_taken(new),
                Err(kube::Error::Api(status)) if status.is_invalid() => {
                    return Err(refused(&status, field_of_request, str::to_owned));
                }
                Err(error) => unavailable(error),
            };
        match within_deadline(databases.get_opt(new.name.as_str())).await {
            Ok(Some(found)) if is_marked(&found.metadata, intent) => {
                self.await_admission(found).await
            }
            Ok(_) | Err(_) => Err(failure),
        }
    }

    /// Says on a deleted database, as it was seen, that its record is written. One that moved meanwhile is seen again.
    pub async fn mark_recorded(&self, deleted: &DaapDatabase) -> Result<(), Failure> {
        let mut recorded = deleted.clone();
        mark_recorded(&mut recorded);
        let databases = self.databases_in(&deleted.namespace().unwrap_or_default());
        let (name, params) = (deleted.name_any(), by_facade());
        match within_deadline(databases.replace(&name, &params, &recorded)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                Ok(())
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Has the API server check everything, and change nothing.
    pub(super) async fn rehearse(&self, new: &NewDatabase) -> Result<DaapDatabase, Failure> {
        let databases = self.databases_in(&new.namespace);
        let only_checks = PostParams {
            dry_run: true,
            ..by_facade()
        };
        let resource = new.resource(Uuid::nil());
        match within_deadline(databases.create(&only_checks, &resource)).await {
            Ok(checked) => Ok(unstored(checked)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Err(name_taken(new)),
            Err(kube::Error::Api(status)) if status.is_invalid() => {
                Err(refused(&status, field_of_request, str::to_owned))
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(unborn(new)),
            Err(error) => Err(unavailable(error)),
        }
    }
}

#[async_trait]
impl LiveDatabases for Cluster {
    async fn live(&self, namespace: &str, name: &str) -> Result<Option<DaapDatabase>, Failure> {
        within_deadline(self.databases_in(namespace).get_opt(name))
            .await
            .map_err(unavailable)
    }

    async fn template(&self, revision: &str) -> Result<Option<DaapTierSpec>, Failure> {
        let revisions: Api<DaapTierRevision> = Api::all(self.client.clone());
        let found = within_deadline(revisions.get_opt(revision)).await;
        let found = found.map_err(unavailable)?;
        Ok(found.map(|revision| revision.spec.template))
    }

    async fn replace(
        &self,
        database: &DaapDatabase,
        intent: Uuid,
        dry_run: bool,
    ) -> Result<Result<DaapDatabase, Moved>, Failure> {
        let databases = self.databases_in(&database.namespace().unwrap_or_default());
        let broken_rules = |status: &Status| refused(status, field_of_request, str::to_owned);
        replace(&databases, database, intent, dry_run, broken_rules).await
    }
}

/// The first state of a database whose namespace does not exist yet, so that no API server can say more.
fn unborn(new: &NewDatabase) -> DaapDatabase {
    let mut resource = new.resource(Uuid::nil());
    resource.metadata.uid = Some(Uuid::new_v4().to_string());
    resource.metadata.generation = Some(1);
    resource.metadata.creation_timestamp = Some(Time(Timestamp::now()));
    unstored(resource)
}

/// With a version that no stored resource has: what was only checked has none.
fn unstored(mut resource: DaapDatabase) -> DaapDatabase {
    resource.metadata.resource_version = Some("0".to_owned());
    resource
}

fn name_taken(new: &NewDatabase) -> Failure {
    let detail = format!(
        "Team '{}' has a database named '{}' already.",
        new.owner_team, new.name
    );
    Failure {
        errors: vec![FieldError::new("/name", "is taken")],
        ..Failure::new(Code::NameTaken, detail)
    }
}
