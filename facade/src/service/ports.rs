//! What the use cases need from the world. Traits only; `store` and `cluster` implement them.

use std::time::Duration;

use async_trait::async_trait;
use daap_crds::{DaapDatabase, DaapTier, Phase};
use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::{
    actor::{Actor, Role},
    api_key::KeyDigest,
    database::{Database, DatabaseFilter, NewDatabase},
    failure::Failure,
    history::Recorded,
    page::{Page, Position},
    policy::Kind,
    tier::{Deletion, Tier},
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

/// Where records of databases are read: the mirror of the cluster.
///
/// A `team` narrows every answer to databases of that team, inside the look-up, so that an id of another team costs
/// and answers the same as one that never was.
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

    /// What changed in a database, oldest first, after the change of this number.
    async fn history(
        &self,
        id: Uuid,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Recorded>, Failure>;

    /// Keeps what a request just made of a resource, so that every replica answers with it at once.
    async fn keep(&self, resource: &DaapDatabase) -> Result<(), Failure>;

    /// How long ago the cluster was last heard. Absent: it never was, so nothing is known yet.
    async fn age(&self) -> Result<Option<Duration>, Failure>;
}

/// The custom resources.
#[async_trait]
pub trait Resources: Send + Sync {
    /// Creates the database, in its team's namespace, which is made when it is missing. A namesake that this same
    /// intent made is taken for it; any other is [`NameTaken`](crate::domain::failure::Code::NameTaken).
    async fn create_database(
        &self,
        new: &NewDatabase,
        intent: Uuid,
    ) -> Result<DaapDatabase, Failure>;

    /// What creating the database would make of it. Has no effect.
    async fn rehearse_database(&self, new: &NewDatabase) -> Result<DaapDatabase, Failure>;

    /// Every tier, by name.
    async fn tiers(&self) -> Result<Vec<Tier>, Failure>;

    /// The tier of this name.
    async fn tier(&self, name: &str) -> Result<Option<Tier>, Failure>;
}

/// The resource is not what it was when it was read; nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved;

/// Tiers as they are stored, for changes. A dry run does everything but the effect.
#[async_trait]
pub trait LiveTiers: Send + Sync {
    /// The tier of this name.
    async fn live(&self, name: &str) -> Result<Option<DaapTier>, Failure>;

    /// Stores a tier. A namesake that this same intent made is taken for it; any other is
    /// [`NameTaken`](crate::domain::failure::Code::NameTaken).
    async fn create(
        &self,
        tier: &DaapTier,
        intent: Uuid,
        dry_run: bool,
    ) -> Result<DaapTier, Failure>;

    /// Stores a tier, which bears the mark of the intent, in place of the state it was read in.
    async fn replace(
        &self,
        tier: &DaapTier,
        intent: Uuid,
        dry_run: bool,
    ) -> Result<Result<DaapTier, Moved>, Failure>;

    /// Deletes a tier in the state it was read in.
    async fn delete(
        &self,
        tier: &DaapTier,
        dry_run: bool,
    ) -> Result<Result<Deletion, Moved>, Failure>;

    /// The phase of each database that names this tier.
    async fn phases_on(&self, name: &str) -> Result<Vec<Phase>, Failure>;

    /// Whether there is an object store of this name.
    async fn object_store_exists(&self, name: &str) -> Result<bool, Failure>;
}

/// Something that the facade depends on.
#[async_trait]
pub trait Dependency: Send + Sync {
    /// What it is called in `/ready`.
    fn name(&self) -> &'static str;

    /// Whether nothing can be answered without it. Without any other, reads still can.
    fn is_essential(&self) -> bool {
        true
    }

    /// Whether it answers.
    async fn check(&self) -> Result<(), Failure>;
}

/// A request that a client may repeat without a second effect.
#[derive(Debug, Clone)]
pub struct RepeatableRequest {
    /// The team of the key: what one team uses means nothing to another.
    pub team: String,
    /// The method and the path.
    pub target: String,
    /// The idempotency key.
    pub key: String,
    /// Of query and body.
    pub fingerprint: [u8; 32],
    /// This try: its audit intent, already committed.
    pub attempt: Uuid,
}

/// An answer to be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that belong to what was done.
    pub headers: Vec<(String, String)>,
    /// The body, without what is shown only once.
    pub body: Vec<u8>,
}

/// What is known about an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Nothing was done that holds: go on, and mark the effect with this intent.
    Run {
        /// The intent of the first try.
        intent: Uuid,
    },
    /// It was answered.
    Answered(StoredAnswer),
    /// An earlier try still runs.
    Running,
    /// The key was used for something else.
    OtherRequest,
}

/// What was answered to requests with an idempotency key.
#[async_trait]
pub trait Idempotency: Send + Sync {
    /// Takes the key for a try, or tells why not.
    async fn begin(&self, request: &RepeatableRequest) -> Result<Begun, Failure>;

    /// Keeps the answer of a try.
    async fn finish(&self, attempt: Uuid, answer: &StoredAnswer) -> Result<(), Failure>;

    /// Lets another try begin at once, because the answer of this one does not hold.
    async fn release(&self, attempt: Uuid) -> Result<(), Failure>;
}
