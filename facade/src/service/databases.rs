//! Databases: ask for one, see one, see many. Reads and writes through ports.

use daap_crds::{
    DaapDatabase,
    name::{DatabaseName, NameError, TeamName},
};
use uuid::Uuid;

use super::{
    Service, left_to_the_mirror,
    slice::{Ask, Slice},
};
use crate::domain::{
    actor::Actor,
    database::{Database, DatabaseFilter, NewDatabase, field_of_request},
    failure::{Code, Failure, FieldError},
    history::Recorded,
    page,
    policy::{Action, Ownership, Verdict, decide},
    quota::Quota,
    tier::Tier,
};

/// The fields of a database that somebody asks for, as they were sent.
#[derive(Debug, Clone)]
pub struct CreateDatabase {
    /// The name.
    pub name: String,
    /// The owner. Absent: the team of the key.
    pub owner_team: Option<String>,
    /// The tier.
    pub tier: String,
    /// What it is for.
    pub purpose: Option<String>,
}

impl Service {
    /// Asks for a database. `intent` is the audit row that says so, already committed.
    pub async fn create_database(
        &self,
        actor: &Actor,
        asked: CreateDatabase,
        intent: Uuid,
    ) -> Result<Database, Failure> {
        permit_owner(actor, asked.owner_team.as_deref())?;
        let new = self.checked(actor, asked, intent)?;
        self.check_tier(&new.tier).await?;
        self.admitted(&new, intent).await
    }

    /// What would come of asking for a database: every check, also those of the quota and of the API server, and no
    /// effect.
    pub async fn rehearse_database(
        &self,
        actor: &Actor,
        asked: CreateDatabase,
    ) -> Result<Database, Failure> {
        permit_owner(actor, asked.owner_team.as_deref())?;
        let new = self.checked(actor, asked, Uuid::nil())?;
        let tier = self.check_tier(&new.tier).await?;
        let quota = self.ports.live_quotas.live(&tier.name).await?;
        if let Some(refusal) = Quota::of(&tier, quota).refusal() {
            return Err(Failure::quota_exceeded(refusal));
        }
        let resource = self.ports.resources.rehearse_database(&new).await?;
        Database::from_resource(resource)
            .ok_or_else(|| Failure::internal("the API server rehearsed a database without an id"))
    }

    /// The database with this id, if it exists for the actor.
    pub async fn database(&self, actor: &Actor, id: &str) -> Result<Database, Failure> {
        let missing = || Failure::not_found("database");
        let id = Uuid::parse_str(id).map_err(|_| missing())?;
        self.ports
            .directory
            .find(actor.scope().map(TeamName::as_str), id)
            .await?
            .ok_or_else(missing)
    }

    /// A slice of the databases that exist for the actor.
    pub async fn databases(
        &self,
        actor: &Actor,
        mut asked: Ask<DatabaseFilter>,
    ) -> Result<Slice<Database>, Failure> {
        if !actor.narrow(&mut asked.filter.owner_team) {
            return Ok(Slice::empty());
        }
        let limit = asked.limit()?;
        let fingerprint = asked.filter.fingerprint_text();
        let after = asked.place(|cursor| page::decode(cursor, &fingerprint))?;
        let page = self.ports.directory.list(&asked.filter, after, limit);
        Ok(Slice::of(page.await?, &fingerprint))
    }

    /// Creates a database, and keeps what came of it: the database, and what the quota of its tier has left.
    pub(super) async fn admitted(
        &self,
        new: &NewDatabase,
        intent: Uuid,
    ) -> Result<Database, Failure> {
        let outcome = self.ports.resources.create_database(new, intent).await;
        let refused = |failure: &Failure| failure.code == Code::QuotaExceeded;
        if outcome.is_ok() || outcome.as_ref().is_err_and(refused) {
            self.keep_quota_after_verdict(&new.tier).await;
        }
        self.kept(outcome?).await
    }

    /// The record of what a request just made.
    pub(super) async fn kept(&self, resource: DaapDatabase) -> Result<Database, Failure> {
        left_to_the_mirror(self.ports.directory.keep(&resource).await);
        Database::from_resource(resource)
            .ok_or_else(|| Failure::internal("the API server stored a database without an id"))
    }

    /// A slice of what changed in a database, oldest first.
    pub async fn history(
        &self,
        actor: &Actor,
        id: &str,
        asked: Ask<()>,
    ) -> Result<Slice<Recorded>, Failure> {
        let database = self.database(actor, id).await?;
        let limit = asked.limit()?;
        let list = format!("history {}", database.id);
        let after = asked.place(|cursor| page::decode_number(cursor, &list))?;
        let mut items = self
            .ports
            .directory
            .history(database.id, after, limit + 1)
            .await?;
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more);
        Ok(Slice {
            next_cursor: last.map(|last| page::encode_number(last.number, &list)),
            items,
        })
    }

    /// The request with names that are names, or everything that is wrong with it.
    fn checked(
        &self,
        actor: &Actor,
        asked: CreateDatabase,
        intent: Uuid,
    ) -> Result<NewDatabase, Failure> {
        let mut errors = Vec::new();
        let mut keep = |pointer: &str, error: NameError| {
            errors.push(FieldError::new(pointer, error.to_string()))
        };
        let name = DatabaseName::parse(&asked.name)
            .map_err(|error| keep("/name", error))
            .ok();
        let owner_team = match (asked.owner_team, actor.scope()) {
            (Some(team), _) => TeamName::parse(&team)
                .map_err(|error| keep("/owner_team", error))
                .ok(),
            (None, Some(own)) => Some(own.clone()),
            (None, None) => {
                errors.push(FieldError::new(
                    "/owner_team",
                    "is required with a platform key: say which team will own the database",
                ));
                None
            }
        };
        match (name, owner_team) {
            (Some(name), Some(owner_team)) if errors.is_empty() => {
                let new = NewDatabase {
                    name,
                    namespace: owner_team.namespace(),
                    owner_team,
                    tier: asked.tier,
                    purpose: asked.purpose,
                    restore: None,
                };
                self.check_database_rules(&new.resource(intent), None)?;
                Ok(new)
            }
            _ => Err(Failure::invalid(errors)),
        }
    }

    /// Refuses a request that breaks rules of the resource, told by the fields of the request.
    pub(super) fn check_database_rules(
        &self,
        new: &DaapDatabase,
        old: Option<&DaapDatabase>,
    ) -> Result<(), Failure> {
        let violations = self
            .database_rules
            .violations_of(new, old)
            .map_err(Failure::internal)?;
        let errors: Vec<_> = violations
            .into_iter()
            .map(|broken| FieldError::new(field_of_request(&broken.pointer), broken.message))
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Failure::invalid(errors))
        }
    }

    /// The tier, which exists and can be served.
    async fn check_tier(&self, name: &str) -> Result<Tier, Failure> {
        // Looked at live: a tier that was just made can be used at once.
        let live = self.ports.live_tiers.live(name).await?;
        let problem = match live.and_then(Tier::from_resource) {
            Some(tier) if tier.accepted => return Ok(tier),
            Some(_) => format!("the tier '{name}' cannot be used at the moment"),
            None => format!("there is no tier '{name}'"),
        };
        let tiers = self.ports.menu.tiers().await?;
        let available: Vec<_> = tiers
            .iter()
            .filter(|tier| tier.accepted)
            .map(|tier| tier.name.as_str())
            .collect();
        let choice = if available.is_empty() {
            "none is available".to_owned()
        } else {
            format!("available: {}", available.join(", "))
        };
        Err(Failure::invalid(vec![FieldError::new(
            "/tier",
            format!("{problem}; {choice}"),
        )]))
    }
}

/// A field of the body cannot widen a role: only a platform key names another team.
fn permit_owner(actor: &Actor, owner_team: Option<&str>) -> Result<(), Failure> {
    let own = owner_team.is_none_or(|team| team == actor.team.as_str());
    let ownership = if own {
        Ownership::Own
    } else {
        Ownership::Foreign
    };
    match decide(actor.role, Action::CreateDatabase, ownership) {
        Verdict::Allow => Ok(()),
        Verdict::Forbid | Verdict::Hide => Err(Failure::new(
            Code::Forbidden,
            "This key can create databases for its own team only.",
        )),
    }
}
