//! Rows of the audit log between SQL and the domain.

use serde::Serialize;
use sqlx::{Row as _, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::call;
use crate::{
    domain::{audit::Entry, failure::Failure},
    service::ports::AuditedCall,
};

/// Every column that an [`Entry`] is read from.
pub const COLUMNS: &str = "id, at, stage, intent, request_id, key_id, team, role, action, resource_kind, resource_id, \
                           outcome, status, source, changed_fields, calls, receipt_sha256";

/// Longer ids come from clients who made them up.
const MAX_RESOURCE_ID: usize = 200;

/// A row to be appended. The database gives it its id and its time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewRow {
    /// `intent` or `outcome`.
    pub stage: &'static str,
    pub intent: Option<Uuid>,
    pub request_id: Option<String>,
    pub key_id: Option<Uuid>,
    pub team: Option<String>,
    pub role: Option<&'static str>,
    pub action: &'static str,
    pub resource_kind: &'static str,
    pub resource_id: Option<String>,
    pub outcome: Option<&'static str>,
    pub status: Option<u16>,
    pub source: String,
    pub changed_fields: Vec<String>,
    pub calls: i32,
    pub receipt_sha256: Option<String>,
}

impl NewRow {
    /// What both rows of a call have in common.
    pub fn of_call(stage: &'static str, call: &AuditedCall, resource_id: Option<&str>) -> Self {
        let bounded = |id: &str| id.chars().take(MAX_RESOURCE_ID).collect();
        Self {
            stage,
            intent: call.is_intended.then_some(call.intent),
            request_id: Some(call.request_id.clone()),
            key_id: Some(call.actor.key_id),
            team: Some(call.actor.team.to_string()),
            role: Some(call.actor.role.as_str()),
            action: call.operation,
            resource_kind: call.resource_kind.as_str(),
            resource_id: resource_id.map(bounded),
            source: call.source.clone(),
            changed_fields: call.changed_fields.clone(),
            calls: 1,
            ..Self::default()
        }
    }
}

/// Appends rows in one statement, which is one commit.
pub async fn append<'c>(
    executor: impl sqlx::PgExecutor<'c>,
    rows: &[NewRow],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into audit (stage, intent, request_id, key_id, team, role, action, resource_kind, resource_id, \
         outcome, status, source, changed_fields, calls, receipt_sha256) \
         select stage, intent, request_id, key_id, team, role, action, resource_kind, resource_id, \
         outcome, status, source, changed_fields, calls, receipt_sha256 \
         from jsonb_to_recordset($1) as row (stage text, intent uuid, request_id text, key_id uuid, team text, \
         role text, action text, resource_kind text, resource_id text, outcome text, status integer, source text, \
         changed_fields text[], calls integer, receipt_sha256 text)",
    )
    .bind(Json(rows))
    .execute(executor)
    .await?;
    Ok(())
}

/// Appends rows within the deadline of a call.
pub async fn append_now(pool: &sqlx::PgPool, rows: &[NewRow]) -> Result<(), Failure> {
    call(append(pool, rows)).await
}

/// The row that was read.
pub fn entry(row: &PgRow) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        id: row.try_get("id")?,
        at: row.try_get::<jiff_sqlx::Timestamp, _>("at")?.to_jiff(),
        stage: row.try_get("stage")?,
        intent: row.try_get("intent")?,
        request_id: row.try_get("request_id")?,
        key_id: row.try_get("key_id")?,
        team: row.try_get("team")?,
        role: row.try_get("role")?,
        action: row.try_get("action")?,
        resource_kind: row.try_get("resource_kind")?,
        resource_id: row.try_get("resource_id")?,
        outcome: row.try_get("outcome")?,
        status: row.try_get("status")?,
        source: row.try_get("source")?,
        changed_fields: row.try_get("changed_fields")?,
        calls: row.try_get("calls")?,
        receipt_sha256: row.try_get("receipt_sha256")?,
    })
}
