//! The Kubernetes cluster. The only reads and writes of custom resources, and the only place that makes namespaces.
//!
//! In: domain types. Out: the same, or a failure that says the API does not answer. Every call has a deadline, and
//! none is repeated unseen.

pub mod anchor;
mod databases;
mod namespaces;
mod quotas;
mod tiers;
mod verdict;
pub mod watch;

use std::time::Duration;

use async_trait::async_trait;
use daap_crds::{DaapDatabase, DaapTier, kind::Kind};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, PostParams},
    core::{Status, error_boundary::InvalidObject},
};
use uuid::Uuid;

use crate::{
    domain::{
        database::NewDatabase,
        failure::{Failure, FieldError},
        history::FIELD_MANAGER,
        intent::is_marked,
    },
    service::ports::{Dependency, Moved, Resources},
};

/// How long one call to the Kubernetes API may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the question whether it answers may take.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);
/// How many objects one page of a LIST has.
const PAGE: u32 = 500;

/// The cluster, through a client.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    admission_timeout: Duration,
}

impl Cluster {
    /// The cluster behind a client. A new database waits so long for its quota to admit it.
    pub fn new(client: Client, admission_timeout: Duration) -> Self {
        Self {
            client,
            admission_timeout,
        }
    }
}

#[async_trait]
impl Resources for Cluster {
    async fn create_database(
        &self,
        new: &NewDatabase,
        intent: Uuid,
    ) -> Result<DaapDatabase, Failure> {
        if new.namespace == new.owner_team.namespace() {
            self.ensure_namespace(&new.owner_team).await?;
        }
        self.create(new, intent).await
    }

    async fn rehearse_database(&self, new: &NewDatabase) -> Result<DaapDatabase, Failure> {
        self.rehearse(new).await
    }
}

#[async_trait]
impl Dependency for Cluster {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    /// Records are read from the metadata database, so reads are answered without the cluster.
    fn is_essential(&self) -> bool {
        false
    }

    /// Asks for one tier, which also tells whether the custom resources are installed and may be read.
    async fn check(&self) -> Result<(), Failure> {
        let tiers: Api<DaapTier> = Api::all(self.client.clone());
        let one = ListParams::default().limit(1);
        let listed = tokio::time::timeout(CHECK_DEADLINE, tiers.list_metadata(&one))
            .await
            .map_err(unavailable)?;
        listed.map(|_| ()).map_err(unavailable)
    }
}

/// Writes under the facade's name, which history tells.
fn by_facade() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Stores an object, which bears the mark of the intent, in place of the state it was read in. When the answer is lost,
/// the object is looked at.
async fn replace<K: Kind>(
    objects: &Api<K>,
    object: &K,
    intent: Uuid,
    dry_run: bool,
    broken_rules: impl Fn(&Status) -> Failure,
) -> Result<Result<K, Moved>, Failure> {
    let params = PostParams {
        dry_run,
        ..by_facade()
    };
    let name = object.name_any();
    match within_deadline(objects.replace(&name, &params, object)).await {
        Ok(replaced) => Ok(Ok(replaced)),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
            Ok(Err(Moved))
        }
        Err(kube::Error::Api(status)) if status.is_invalid() => Err(broken_rules(&status)),
        Err(error) => match within_deadline(objects.get_opt(&name)).await {
            Ok(Some(found)) if is_marked(found.meta(), intent) => Ok(Ok(found)),
            Ok(_) | Err(_) => Err(unavailable(error)),
        },
    }
}

fn decoded<K>(object: Result<K, InvalidObject>) -> Option<K> {
    object
        .inspect_err(|invalid| {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(object.name = name, error.message = %invalid, "an object cannot be decoded and is left out");
        })
        .ok()
}

/// The API server knows a rule that was not checked before. `field` and `words` turn a pointer into the resource, and a
/// message about it, into those of the request.
fn refused(
    status: &Status,
    field: impl Fn(&str) -> String,
    words: impl Fn(&str) -> String,
) -> Failure {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let errors = causes.map(|cause| {
        let pointer = format!("/{}", cause.field.replace('.', "/"));
        FieldError::new(field(&pointer), words(&cause.message))
    });
    Failure::invalid(errors.collect())
}

/// What a call answers, in its deadline.
async fn within_deadline<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    tokio::time::timeout(DEADLINE, call)
        .await
        .unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::unavailable("The Kubernetes API", error)
}
