//! The audit log in SQL. Appends rows; each is committed before the call returns.

use async_trait::async_trait;

use super::{Store, failure};
use crate::{
    domain::failure::Failure,
    service::ports::{AuditLog, AuditedCall},
};

#[async_trait]
impl AuditLog for Store {
    async fn intent(&self, call: &AuditedCall) -> Result<(), Failure> {
        self.append("intent", call, None, call.resource_id.as_deref())
            .await
    }

    async fn outcome(
        &self,
        call: &AuditedCall,
        status: u16,
        resource_id: Option<&str>,
    ) -> Result<(), Failure> {
        self.append("outcome", call, Some(i32::from(status)), resource_id)
            .await
    }
}

impl Store {
    async fn append(
        &self,
        stage: &str,
        call: &AuditedCall,
        status: Option<i32>,
        resource: Option<&str>,
    ) -> Result<(), Failure> {
        sqlx::query(
            "insert into audit (stage, intent, request_id, key_id, team, role, action, source, resource_kind, resource_id, status) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(stage)
        .bind(call.intent)
        .bind(&call.request_id)
        .bind(call.actor.key_id)
        .bind(call.actor.team.as_str())
        .bind(call.actor.role.as_str())
        .bind(call.operation)
        .bind(&call.source)
        .bind(call.resource_kind.as_str())
        .bind(resource)
        .bind(status)
        .execute(&self.pool)
        .await
        .map_err(failure)?;
        Ok(())
    }
}
