//! The operations about the audit log.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, param::Query, payload::Json};
use uuid::Uuid;

use super::{Group, caller::Caller, date_time::DateTime, list, problem::problems};
use crate::{
    domain::{
        audit::{Entry, EntryFilter, Outcome},
        audit_chain::{Breach, Broken},
    },
    service::{
        Service,
        audit::{Anchorage, Verification},
    },
};

/// The operations about the audit log.
pub struct Audit;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// What was asked for was answered or done.
    Succeeded,
    /// The caller may not do it, or not so often.
    Denied,
    /// It was not done, because the request or the service had a fault.
    Failed,
    /// The process that was doing it ended before it could tell.
    Unknown,
}

/// A row of the audit log.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct AuditEntry {
    /// Identifies the row. Later rows have greater ids.
    #[oai(validator(minimum(value = "1")))]
    id: i64,
    /// When the row was written.
    at: DateTime,
    /// 'intent' before a change is tried, 'outcome' when a call ended.
    #[oai(validator(max_length = 10))]
    stage: String,
    /// Binds the rows of one change together.
    intent_id: Option<Uuid>,
    /// The id of the request.
    #[oai(validator(max_length = 128))]
    request_id: Option<String>,
    /// The key that was shown. Absent: none was valid.
    key_id: Option<Uuid>,
    /// The team of the key.
    #[oai(validator(max_length = 40))]
    team: Option<String>,
    /// The role of the key.
    #[oai(validator(max_length = 20))]
    role: Option<String>,
    /// The operation of this contract, by id; or 'authenticate', 'bootstrapKey', or 'finishOperation'.
    #[oai(validator(max_length = 60))]
    action: String,
    /// The kind of thing that it is about.
    #[oai(validator(max_length = 40))]
    resource_kind: String,
    /// The thing that it is about.
    #[oai(validator(max_length = 200))]
    resource_id: Option<String>,
    /// How it ended: 'succeeded', 'denied', 'failed' or 'unknown'. Absent for an intent.
    #[oai(validator(max_length = 20))]
    outcome: Option<String>,
    /// The HTTP status of the answer.
    #[oai(validator(minimum(value = "100"), maximum(value = "599")))]
    status: Option<i32>,
    /// The address it came from.
    #[oai(validator(max_length = 60))]
    source: String,
    /// The names of the fields that the body had; never a value.
    #[oai(validator(max_items = 64))]
    changed_fields: Vec<String>,
    /// How many calls the row stands for: more than one only for failed authentications.
    #[oai(validator(minimum(value = "1")))]
    calls: i32,
    /// Of an operation that removed something: the SHA-256 of its receipt as canonical JSON (RFC 8785), in hexadecimal
    /// digits.
    #[oai(validator(max_length = 64, pattern = "^[0-9a-f]{64}$"))]
    receipt_sha256: Option<String>,
}

/// A slice of the audit log.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct AuditEntryList {
    /// The rows, newest first.
    #[oai(validator(max_items = 200))]
    items: Vec<AuditEntry>,
    /// Ask for the next slice with this cursor. Absent when there are no more.
    #[oai(validator(max_length = 200))]
    next_cursor: Option<String>,
}

/// Why the chain does not hold at a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "kebab-case")]
pub enum AuditBreach {
    /// The row is gone.
    Missing,
    /// The row is not what it was.
    Changed,
    /// The row was added later.
    Added,
    /// The seal of the row is gone, changed or out of place.
    Unsealed,
    /// The chain up to the row holds, and is not the one that was anchored.
    Replaced,
    /// The row, and all after it up to the anchored one, are gone.
    CutOff,
}

/// The first row at which the chain does not hold.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct BrokenRow {
    /// Its place in the chain.
    #[oai(validator(minimum(value = "1")))]
    sequence: i64,
    /// Its id, as far as it is known.
    #[oai(validator(minimum(value = "1")))]
    id: Option<i64>,
    /// Why.
    breach: AuditBreach,
}

/// Whether the ends of the chain were compared with those that are kept outside the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum AuditAnchor {
    /// They were.
    Compared,
    /// None are kept yet.
    Absent,
    /// The Kubernetes API, which keeps them, does not answer at the moment.
    Unreachable,
}

/// What a check of the whole audit log found.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct AuditVerification {
    /// Whether the chain holds. Unless its ends were compared, rows may have been cut off from them unseen.
    intact: bool,
    /// Whether its ends were compared with those that are kept outside the database.
    anchor: AuditAnchor,
    /// How many rows hold, from the first one on.
    #[oai(validator(minimum(value = "0")))]
    verified_rows: i64,
    /// How many rows after these are not sealed yet, or were not looked at.
    #[oai(validator(minimum(value = "0")))]
    unsealed_rows: i64,
    /// The place in the chain that is anchored outside the database. Absent: none is, or that is not known now.
    #[oai(validator(minimum(value = "0")))]
    anchored_sequence: Option<i64>,
    /// The first row at which the chain does not hold.
    first_broken: Option<BrokenRow>,
}

/// Found rows.
#[derive(ApiResponse)]
pub enum Listed {
    /// A slice of the audit log.
    #[oai(status = 200)]
    Entries(Json<AuditEntryList>),
}

/// A checked log.
#[derive(ApiResponse)]
pub enum Verified {
    /// What the check found.
    #[oai(status = 200)]
    Log(Json<AuditVerification>),
}

problems! {
    /// How listing rows fails.
    ListProblem: 400 401 500 503
}
problems! {
    /// How checking the log fails.
    VerifyProblem: 400 401 403 500 503
}

#[OpenApi(tag = "Group::Audit")]
impl Audit {
    /// List the audit log
    ///
    /// Lists what was called with the keys of your team, newest first; platform teams see the calls of every team, and
    /// how often somebody called without a valid key. A change has two rows, which share their intent.
    #[oai(path = "/audit-log", method = "get", operation_id = "listAuditLog")]
    #[expect(
        clippy::too_many_arguments,
        reason = "poem-openapi takes each query parameter as an argument"
    )]
    async fn list(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// How many rows at once.
        #[oai(
            validator(minimum(value = "1"), maximum(value = "200")),
            default = "list::default_limit"
        )]
        limit: Query<u32>,
        /// The cursor of the slice before, with the same filters.
        #[oai(validator(max_length = 200, pattern = "^[0-9a-f]*$"))]
        cursor: Query<Option<String>>,
        /// Only calls of this team.
        #[oai(validator(max_length = 40, pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
        team: Query<Option<String>>,
        /// Only calls with this key.
        key_id: Query<Option<Uuid>>,
        /// Only this operation.
        #[oai(validator(max_length = 60, pattern = "^[A-Za-z]+$"))]
        action: Query<Option<String>>,
        /// Only calls about this thing.
        #[oai(validator(max_length = 200, pattern = "^[!-~]+$"))]
        resource_id: Query<Option<String>>,
        /// Only calls that ended so.
        outcome: Query<Option<AuditOutcome>>,
        /// Only rows of this instant or later.
        from: Query<Option<DateTime>>,
        /// Only rows from before this instant.
        to: Query<Option<DateTime>>,
    ) -> Result<Listed, ListProblem> {
        let filter = EntryFilter {
            team: team.0,
            key_id: key_id.0,
            action: action.0,
            resource_id: resource_id.0,
            outcome: outcome.0.map(Into::into),
            from: from.0.map(|time| time.0),
            to: to.0.map(|time| time.0),
        };
        let asked = list::ask(filter, limit, cursor);
        let slice = service.audit_entries(&caller.actor, asked).await?;
        Ok(Listed::Entries(Json(AuditEntryList {
            items: slice.items.into_iter().map(Into::into).collect(),
            next_cursor: slice.next_cursor,
        })))
    }

    /// Check the audit log
    ///
    /// Computes the chain over the whole log anew and compares it with what is anchored outside the database. A row that
    /// was changed, removed, added or moved is found, and the first one is named. While the Kubernetes API does not
    /// answer, which keeps the anchor, the rows are checked without it, and the answer says so. It takes longer the
    /// longer the log is. Only platform teams may do this.
    #[oai(
        path = "/audit-log/verify",
        method = "get",
        operation_id = "verifyAuditLog"
    )]
    async fn verify(
        &self,
        _caller: Caller,
        service: Data<&Arc<Service>>,
    ) -> Result<Verified, VerifyProblem> {
        Ok(Verified::Log(Json(service.verify_audit().await?.into())))
    }
}

impl From<Entry> for AuditEntry {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            at: DateTime(entry.at),
            stage: entry.stage,
            intent_id: entry.intent,
            request_id: entry.request_id,
            key_id: entry.key_id,
            team: entry.team,
            role: entry.role,
            action: entry.action,
            resource_kind: entry.resource_kind,
            resource_id: entry.resource_id,
            outcome: entry.outcome,
            status: entry.status,
            source: entry.source,
            changed_fields: entry.changed_fields,
            calls: entry.calls,
            receipt_sha256: entry.receipt_sha256,
        }
    }
}

impl From<Verification> for AuditVerification {
    fn from(found: Verification) -> Self {
        let (anchor, anchored_sequence) = match found.anchor {
            Anchorage::Compared(anchor) => (AuditAnchor::Compared, Some(anchor.head.sequence)),
            Anchorage::Absent => (AuditAnchor::Absent, None),
            Anchorage::Unreachable => (AuditAnchor::Unreachable, None),
        };
        Self {
            anchor,
            intact: found.broken.is_none(),
            verified_rows: found.checked.try_into().unwrap_or(i64::MAX),
            unsealed_rows: found.unsealed.try_into().unwrap_or(i64::MAX),
            anchored_sequence,
            first_broken: found.broken.map(Into::into),
        }
    }
}

impl From<Broken> for BrokenRow {
    fn from(broken: Broken) -> Self {
        Self {
            sequence: broken.sequence,
            id: broken.entry_id,
            breach: match broken.breach {
                Breach::Missing => AuditBreach::Missing,
                Breach::Changed => AuditBreach::Changed,
                Breach::Added => AuditBreach::Added,
                Breach::Unsealed => AuditBreach::Unsealed,
                Breach::Replaced => AuditBreach::Replaced,
                Breach::CutOff => AuditBreach::CutOff,
            },
        }
    }
}

impl From<AuditOutcome> for Outcome {
    fn from(outcome: AuditOutcome) -> Self {
        match outcome {
            AuditOutcome::Succeeded => Self::Succeeded,
            AuditOutcome::Denied => Self::Denied,
            AuditOutcome::Failed => Self::Failed,
            AuditOutcome::Unknown => Self::Unknown,
        }
    }
}
