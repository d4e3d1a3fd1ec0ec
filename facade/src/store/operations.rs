//! Operations in SQL. Reads and writes them, and tells the audit log what they removed.

use daap_crds::database::{Operation, OperationResult};
use jiff_sqlx::ToSqlx as _;
use sqlx::{Postgres, Transaction, types::Json};
use uuid::Uuid;

use super::{
    Store,
    audit_rows::{NewRow, append},
    call,
};
use crate::domain::{
    audit::Outcome,
    database::Database,
    failure::Failure,
    operation::{Kept, REQUESTED, receipt_digest},
    policy::Kind,
};

/// What the audit log calls that an operation has ended which removed something.
const ACTION: &str = "finishOperation";
/// Where it comes from: nobody called.
const SOURCE: &str = "daap-controller";

impl Store {
    /// The operation with this id, of a database of this team.
    pub(super) async fn find_operation(
        &self,
        team: Option<&str>,
        id: &str,
    ) -> Result<Option<Kept>, Failure> {
        let query = sqlx::query_as(
            "select database_id, operation from operation join database_record on database_record.id = database_id \
             where operation.id = $1 and ($2::text is null or owner_team = $2)",
        )
        .bind(id)
        .bind(team);
        let row: Option<(Uuid, Json<Operation>)> = call(query.fetch_optional(&self.pool)).await?;
        Ok(row.map(|(database_id, Json(operation))| Kept {
            database_id,
            operation,
        }))
    }
}

/// Keeps what a database tells of its operations.
pub(super) async fn write_operations(
    transaction: &mut Transaction<'_, Postgres>,
    database: &Database,
    operations: &[Operation],
) -> Result<(), sqlx::Error> {
    for operation in operations {
        write_operation(transaction, database.id, operation).await?;
        tell_receipt(transaction, database, operation).await?;
    }
    call_off_others(transaction, database.id, operations).await
}

/// What has ended stays as it ended, and an id belongs to the database that it was seen with first.
async fn write_operation(
    transaction: &mut Transaction<'_, Postgres>,
    database_id: Uuid,
    operation: &Operation,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into operation (id, database_id, started_at, operation) values ($1, $2, $3, $4) \
         on conflict (id) do update set started_at = excluded.started_at, operation = excluded.operation \
         where operation.database_id = excluded.database_id and operation.operation <> excluded.operation \
         and (operation.operation->>'result' is null or operation.operation->>'step' = $5)",
    )
    .bind(&operation.id)
    .bind(database_id)
    .bind(operation.started_at.0.to_sqlx())
    .bind(Json(operation))
    .bind(REQUESTED)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Tells the audit log once what an operation removed.
async fn tell_receipt(
    transaction: &mut Transaction<'_, Postgres>,
    database: &Database,
    operation: &Operation,
) -> Result<(), sqlx::Error> {
    let Some(digest) = receipt_digest(operation) else {
        return Ok(());
    };
    let marked = sqlx::query(
        "update operation set is_audited = true where id = $1 and database_id = $2 and not is_audited",
    )
    .bind(&operation.id)
    .bind(database.id)
    .execute(&mut **transaction)
    .await?;
    if marked.rows_affected() == 0 {
        return Ok(());
    }
    let outcome = match operation.result {
        Some(OperationResult::Succeeded) => Outcome::Succeeded,
        _ => Outcome::Failed,
    };
    let row = NewRow {
        stage: "outcome",
        team: Some(database.owner_team.clone()),
        action: ACTION,
        resource_kind: Kind::Operation.as_str(),
        resource_id: Some(operation.id.clone()),
        outcome: Some(outcome.as_str()),
        source: SOURCE.to_owned(),
        calls: 1,
        receipt_sha256: Some(digest),
        ..NewRow::default()
    };
    append(&mut **transaction, &[row]).await
}

/// What was asked for before something else was, and is told no more, never begins.
async fn call_off_others(
    transaction: &mut Transaction<'_, Postgres>,
    database_id: Uuid,
    operations: &[Operation],
) -> Result<(), sqlx::Error> {
    let told: Vec<_> = operations
        .iter()
        .map(|operation| operation.id.clone())
        .collect();
    sqlx::query(
        "update operation set operation = operation || jsonb_build_object('result', 'Cancelled', \
         'finishedAt', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
         'message', 'Something else was asked for before it began.') \
         where database_id = $1 and operation->>'step' = $2 and operation->>'result' is null and id <> all($3)",
    )
    .bind(database_id)
    .bind(REQUESTED)
    .bind(told)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
