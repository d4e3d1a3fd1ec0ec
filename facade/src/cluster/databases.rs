//! Databases in the cluster. Reads and creates DaapDatabases.

use async_trait::async_trait;
use daap_crds::DaapDatabase;
use kube::{Api, api::PostParams, core::DeserializeGuard};
use uuid::Uuid;

use super::{Cluster, list_all, unavailable, within_deadline};
use crate::{
    domain::{
        database::{Database, DatabaseFilter, NewDatabase, made_by},
        failure::{Code, Failure, FieldError},
        page::{Page, Position},
    },
    service::ports::DatabaseDirectory,
};

impl Cluster {
    /// Creates the resource.
    ///
    /// When the answer is lost or says that the name exists, the object of that name is looked at: the one that this
    /// intent made is the one that was asked for.
    pub(super) async fn create(
        &self,
        new: &NewDatabase,
        intent: Uuid,
    ) -> Result<Database, Failure> {
        let databases: Api<DaapDatabase> =
            Api::namespaced(self.client.clone(), &new.owner_team.namespace());
        let failure =
            match within_deadline(databases.create(&PostParams::default(), &new.resource(intent)))
                .await
            {
                Ok(created) => return record(created),
                Err(kube::Error::Api(status)) if status.is_already_exists() => name_taken(new),
                Err(kube::Error::Api(status)) if status.is_invalid() => {
                    return Err(refused(&status));
                }
                Err(error) => unavailable(error),
            };
        match within_deadline(databases.get_opt(new.name.as_str())).await {
            Ok(Some(found)) if made_by(&found, intent) => record(found),
            Ok(_) | Err(_) => Err(failure),
        }
    }

    /// Every database that fits, as far as the API server can select.
    async fn select(&self, filter: &DatabaseFilter) -> Result<Vec<Database>, Failure> {
        let all: Api<DeserializeGuard<DaapDatabase>> = Api::all(self.client.clone());
        let team = filter
            .owner_team
            .as_ref()
            .map(|team| format!("spec.ownerTeam={team}"));
        let tier = filter.tier.as_ref().map(|tier| format!("spec.tier={tier}"));
        let selector: Vec<_> = team.into_iter().chain(tier).collect();
        let selector = (!selector.is_empty()).then(|| selector.join(","));
        Ok(list_all(&all, selector)
            .await?
            .into_iter()
            .filter_map(Database::from_resource)
            .collect())
    }
}

/// Records straight from the cluster, by LIST.
#[async_trait]
impl DatabaseDirectory for Cluster {
    async fn find(&self, team: Option<&str>, id: Uuid) -> Result<Option<Database>, Failure> {
        let filter = DatabaseFilter {
            owner_team: team.map(str::to_owned),
            ..DatabaseFilter::default()
        };
        Ok(self
            .select(&filter)
            .await?
            .into_iter()
            .find(|database| database.id == id))
    }

    async fn list(
        &self,
        filter: &DatabaseFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<Database>, Failure> {
        let mut matching = self.select(filter).await?;
        matching.retain(|database| filter.matches(database));
        let position = |database: &Database| Position {
            created_at: database.created_at,
            id: database.id,
        };
        Ok(Page::cut(matching, position, after, limit))
    }
}

fn record(resource: DaapDatabase) -> Result<Database, Failure> {
    Database::from_resource(resource)
        .ok_or_else(|| Failure::internal("the API server stored a database without an id"))
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

/// The API server knows a rule that was not checked here.
fn refused(status: &kube::core::Status) -> Failure {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let errors = causes.map(|cause| {
        let field = match cause.field.as_str() {
            "metadata.name" => "/name".to_owned(),
            "spec.ownerTeam" => "/owner_team".to_owned(),
            other => format!("/{}", other.trim_start_matches("spec.").replace('.', "/")),
        };
        FieldError::new(field, cause.message.clone())
    });
    Failure::invalid(errors.collect())
}
