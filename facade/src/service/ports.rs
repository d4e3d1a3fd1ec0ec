//! What the use cases need from the world. Traits only; `store` and `cluster` implement them.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::{
    actor::{Actor, Role},
    api_key::KeyDigest,
    database::{Database, DatabaseFilter, NewDatabase},
    failure::Failure,
    page::{Page, Position},
    policy::Kind,
    tier::Tier,
};

/// A key as it is kept: everything but the key itself.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// The id.
    pub id: Uuid,
    /// The team it speaks for.
    pub team: String,
    /// Its role.
    pub role: Role,
    /// When it stops working. Absent: never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The API keys.
#[async_trait]
pub trait Keys: Send + Sync {
    /// The key with this digest, whether it still works or not.
    async fn by_digest(&self, digest: &KeyDigest) -> Result<Option<StoredKey>, Failure>;
}

/// One call, as the audit log tells it.
#[derive(Debug, Clone)]
pub struct AuditedCall {
    /// Binds the rows of one call together; a resource that it makes carries it.
    pub intent: Uuid,
    /// The request id.
    pub request_id: String,
    /// Who asked.
    pub actor: Actor,
    /// For which operation of the contract.
    pub operation: &'static str,
    /// From which address.
    pub source: String,
    /// Of which kind of resource.
    pub resource_kind: Kind,
    /// Of which resource, as far as it is known before.
    pub resource_id: Option<String>,
}

/// The audit log. A row is committed when its call returns.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Writes that something is about to be tried.
    async fn intent(&self, call: &AuditedCall) -> Result<(), Failure>;

    /// Writes how it ended: the HTTP status that is about to be answered, and the resource it was about.
    async fn outcome(
        &self,
        call: &AuditedCall,
        status: u16,
        resource_id: Option<&str>,
    ) -> Result<(), Failure>;
}

/// Where records of databases are read.
///
/// The one seam between the use cases and the place the records come from: today the live cluster, later the mirror
/// in PostgreSQL, without any change on this side. A `team` narrows every answer to databases of that team, inside
/// the look-up, so that an id of another team costs and answers the same as one that never was.
#[async_trait]
pub trait DatabaseDirectory: Send + Sync {
    /// The database with this id.
    async fn find(&self, team: Option<&str>, id: Uuid) -> Result<Option<Database>, Failure>;

    /// A slice of the databases that match, in the order of their creation. The filter's team already is the scope.
    async fn list(
        &self,
        filter: &DatabaseFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<Database>, Failure>;
}

/// The custom resources.
#[async_trait]
pub trait Resources: Send + Sync {
    /// Creates the database, in its team's namespace, which is made when it is missing. A namesake that this same
    /// intent made is taken for it; any other is [`NameTaken`](crate::domain::failure::Code::NameTaken).
    async fn create_database(&self, new: &NewDatabase, intent: Uuid) -> Result<Database, Failure>;

    /// Every tier, by name.
    async fn tiers(&self) -> Result<Vec<Tier>, Failure>;

    /// The tier of this name.
    async fn tier(&self, name: &str) -> Result<Option<Tier>, Failure>;
}

/// Something without which the facade is not ready.
#[async_trait]
pub trait Dependency: Send + Sync {
    /// What it is called in `/ready`.
    fn name(&self) -> &'static str;

    /// Whether it answers.
    async fn check(&self) -> Result<(), Failure>;
}
