//! What the use cases need from the world. Traits only; `store` and `cluster` implement them.

use std::time::Duration;

use async_trait::async_trait;
use daap_crds::{DaapDatabase, DaapQuota, DaapQuotaSpec, DaapTier, DaapTierSpec, Phase};
use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::{
    actor::Actor,
    api_key::{ApiKey, KeyDigest, KeyFilter, KeyRecord, NewKey},
    audit::{Entry, EntryFilter},
    audit_chain::{Anchor, Link, Seal, Start},
    database::{Database, DatabaseFilter, NewDatabase},
    entity_tag::EntityTags,
    failure::Failure,
    history::Recorded,
    operation::Kept,
    page::{Page, Position},
    policy::Kind,
    tier::{Deletion, Tier},
};

/// The API keys.
#[async_trait]
pub trait Keys: Send + Sync {
    /// The key with this digest, whether it still works or not.
    async fn by_digest(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, Failure>;

    /// Keeps a key that this audit intent makes.
    async fn insert(&self, key: &ApiKey, new: &NewKey, intent: Uuid) -> Result<KeyRecord, Failure>;

    /// The key with this id.
    async fn find(&self, id: Uuid) -> Result<Option<KeyRecord>, Failure>;

    /// A slice of the keys that match, in the order of their creation.
    async fn list(
        &self,
        filter: &KeyFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<KeyRecord>, Failure>;

    /// Ends a key, from the next look-up on. One that is revoked stays so; the last platform key that can be used is
    /// not revoked, also when two are revoked at once.
    async fn revoke(&self, id: Uuid) -> Result<Revocation, Failure>;

    /// Notes that these keys were used, unless that was noted within the last hour.
    async fn used(&self, ids: &[Uuid]) -> Result<(), Failure>;
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The key is revoked.
    Done,
    /// There is no such key.
    Missing,
    /// It is the last platform key that can be used.
    LastPlatformKey,
}

/// One call, as the audit log tells it.
#[derive(Debug, Clone)]
pub struct AuditedCall {
    /// Binds the rows of one call together; a resource that it makes carries it.
    pub intent: Uuid,
    /// Whether the intent is on record.
    pub is_intended: bool,
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
    /// The names of the fields that the body has.
    pub changed_fields: Vec<String>,
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

/// Failed authentications from one address in a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejections {
    /// The address.
    pub source: String,
    /// How many.
    pub calls: i32,
}

/// The audit log as it is read, sealed and kept in order.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// Writes failed authentications, one row for each address.
    async fn rejected(&self, rejections: &[Rejections]) -> Result<(), Failure>;

    /// A slice of the rows that match, newest first.
    async fn entries(
        &self,
        filter: &EntryFilter,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Page<Entry>, Failure>;

    /// Where the chain begins.
    async fn start(&self) -> Result<Start, Failure>;

    /// Where it ends, and whether there are rows after it.
    async fn head(&self) -> Result<(Link, bool), Failure>;

    /// The next seals after a place, in order.
    async fn seals_after(&self, sequence: i64, limit: usize) -> Result<Vec<Seal>, Failure>;

    /// The rows with ids after `after` and up to `through`, by id.
    async fn entries_between(&self, after: i64, through: i64) -> Result<Vec<Entry>, Failure>;

    /// How many rows come after this id.
    async fn count_after(&self, id: i64) -> Result<u64, Failure>;

    /// Seals the next rows, as many as make one transaction, if the chain still is the anchored one.
    async fn seal(&self, anchored: Option<&Anchor>) -> Result<Sealing, Failure>;

    /// Tells of intents older than this that their outcome is unknown. How many there were.
    async fn complete_interrupted(&self, older_than: Duration) -> Result<u64, Failure>;

    /// Makes the tables of the months to come.
    async fn make_months(&self) -> Result<(), Failure>;

    /// Where the chain begins when whole sealed months that ended before `cutoff` are dropped; `None` when there are
    /// none.
    async fn expired(&self, cutoff: Timestamp) -> Result<Option<Start>, Failure>;

    /// Drops everything before a place that [`AuditTrail::expired`] told.
    async fn drop_expired(&self, start: &Start) -> Result<(), Failure>;
}

/// What became of an attempt to seal rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealing {
    /// The chain ends here now, and this many rows were added.
    Sealed(Link, usize),
    /// Another replica is at it.
    Busy,
    /// The chain is not the one that was anchored. Nothing is added to it.
    Broken,
}

/// Where the ends of the chain are kept, outside the metadata database.
#[async_trait]
pub trait Anchors: Send + Sync {
    /// What is kept, and its version.
    async fn read(&self) -> Result<Option<(Anchor, String)>, Failure>;

    /// Keeps other ends, if what is kept still is of this version. Whether it was: otherwise somebody else was faster.
    async fn write(&self, anchor: &Anchor, version: Option<&str>) -> Result<bool, Failure>;
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

    /// The operation with this id, of whatever database.
    async fn operation(&self, team: Option<&str>, id: &str) -> Result<Option<Kept>, Failure>;

    /// Keeps what a request just made of a resource, so that every replica answers with it at once.
    async fn keep(&self, resource: &DaapDatabase) -> Result<(), Failure>;

    /// How long ago the cluster was last heard. Absent: it never was, so nothing is known yet.
    async fn age(&self) -> Result<Option<Duration>, Failure>;
}

/// Where the menu is read: the mirror of the cluster.
#[async_trait]
pub trait Menu: Send + Sync {
    /// Every tier, by name.
    async fn tiers(&self) -> Result<Vec<Tier>, Failure>;

    /// The tier of this name.
    async fn tier(&self, name: &str) -> Result<Option<Tier>, Failure>;

    /// Keeps what a request just made of a tier, so that every replica answers with it at once.
    async fn keep_tier(&self, tier: &DaapTier) -> Result<(), Failure>;

    /// Keeps that a request just removed a tier.
    async fn forget_tier(&self, name: &str) -> Result<(), Failure>;

    /// The quota of this name.
    async fn quota(&self, name: &str) -> Result<Option<DaapQuota>, Failure>;

    /// Keeps what a request just made of a quota, or saw of it, so that every replica answers with it at once.
    async fn keep_quota(&self, quota: &DaapQuota) -> Result<(), Failure>;
}

/// The custom resources.
#[async_trait]
pub trait Resources: Send + Sync {
    /// Creates the database, and its team's namespace where that is the place and missing, and waits until the quota of its
    /// tier admits it; one that is not admitted is not there any more when this returns. A namesake that this same
    /// intent made is taken for it; any other is [`NameTaken`](crate::domain::failure::Code::NameTaken).
    async fn create_database(
        &self,
        new: &NewDatabase,
        intent: Uuid,
    ) -> Result<DaapDatabase, Failure>;

    /// What creating the database would make of it. Has no effect.
    async fn rehearse_database(&self, new: &NewDatabase) -> Result<DaapDatabase, Failure>;
}

/// The resource is not what it was when it was read; nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved;

/// Databases as they are stored, for changes. A dry run does everything but the effect.
#[async_trait]
pub trait LiveDatabases: Send + Sync {
    /// The database of this name.
    async fn live(&self, namespace: &str, name: &str) -> Result<Option<DaapDatabase>, Failure>;

    /// The tier that a revision is a copy of, as it was.
    async fn template(&self, revision: &str) -> Result<Option<DaapTierSpec>, Failure>;

    /// Stores a database, which bears the mark of the intent, in place of the state it was read in.
    async fn replace(
        &self,
        database: &DaapDatabase,
        intent: Uuid,
        dry_run: bool,
    ) -> Result<Result<DaapDatabase, Moved>, Failure>;
}

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

/// Quotas as they are stored, for changes and for what is decided by them.
#[async_trait]
pub trait LiveQuotas: Send + Sync {
    /// The quota of this name.
    async fn live(&self, name: &str) -> Result<Option<DaapQuota>, Failure>;

    /// Sets all limits of the quota of this name, if it is in a state that `if_match` names. One that is not there is
    /// made. The change is marked with the audit intent that makes it.
    async fn set(
        &self,
        name: &str,
        limits: &DaapQuotaSpec,
        if_match: Option<&EntityTags>,
        intent: Uuid,
    ) -> Result<DaapQuota, Failure>;
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
