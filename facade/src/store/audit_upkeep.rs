//! What keeps the audit log in order, in SQL: outcomes of interrupted changes, tables of months to come, and the end of
//! months that are over. Appends rows; makes and drops tables.

use std::time::Duration;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

use super::{
    Store,
    audit_chain::{UPKEEP_LOCK, head, link},
    call, failure,
};
use crate::domain::{audit_chain::Start, failure::Failure};

/// How many months have their table before they begin.
const MONTHS_AHEAD: i32 = 2;

impl Store {
    pub(super) async fn make_audit_months(&self) -> Result<(), Failure> {
        let query = sqlx::query("select audit_make_months($1)").bind(MONTHS_AHEAD);
        call(query.execute(&self.pool)).await.map(|_| ())
    }

    pub(super) async fn complete_open_intents(&self, older_than: Duration) -> Result<u64, Failure> {
        call(self.complete(older_than)).await
    }

    /// Looks only at intents that are newer than all that were looked at before, and writes only if there are any.
    async fn complete(&self, older_than: Duration) -> Result<u64, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        if !sqlx::query_scalar(UPKEEP_LOCK)
            .fetch_one(&mut *transaction)
            .await?
        {
            return Ok(0);
        }
        let until: Option<jiff_sqlx::Timestamp> = sqlx::query_scalar(
            "select max(at) from audit where stage = 'intent' \
             and at > (select completed_until from audit_chain) and at <= now() - make_interval(secs => $1)",
        )
        .bind(older_than.as_secs_f64())
        .fetch_one(&mut *transaction)
        .await?;
        let Some(until) = until else {
            return Ok(0);
        };
        let completed = sqlx::query(
            "insert into audit (stage, intent, request_id, key_id, team, role, action, resource_kind, resource_id, \
             outcome, source, changed_fields) \
             select 'outcome', intent, request_id, key_id, team, role, action, resource_kind, resource_id, \
             'unknown', source, changed_fields \
             from audit as open where stage = 'intent' \
             and at > (select completed_until from audit_chain) and at <= $1 \
             and not exists (select from audit where intent = open.intent and stage = 'outcome')",
        )
        .bind(until)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("update audit_chain set completed_until = $1")
            .bind(until)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(completed.rows_affected())
    }

    pub(super) async fn find_expired(&self, cutoff: Timestamp) -> Result<Option<Start>, Failure> {
        let mut connection = call(self.pool.acquire()).await?;
        let months = call(months(&mut connection)).await?;
        let over = |(_, end): &(String, Timestamp)| *end <= cutoff;
        let Some((_, end)) = months.into_iter().rfind(over) else {
            return Ok(None);
        };
        // Without the usual deadline: the chain may be long, and this happens once a month.
        start_after(&mut connection, end).await.map_err(failure)
    }

    pub(super) async fn drop_before(&self, start: &Start) -> Result<(), Failure> {
        self.drop_months(start).await.map_err(failure)
    }

    async fn drop_months(&self, start: &Start) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        if !sqlx::query_scalar(UPKEEP_LOCK)
            .fetch_one(&mut *transaction)
            .await?
        {
            return Ok(());
        }
        sqlx::query("set local statement_timeout = 0")
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "update audit_chain set start_sequence = $1, start_audit_id = $2, start_digest = $3, expired_before = $4",
        )
        .bind(start.link.sequence)
        .bind(start.link.entry_id)
        .bind(start.link.digest.to_vec())
        .bind(start.expired_before.map(|time| time.to_sqlx()))
        .execute(&mut *transaction)
        .await?;
        sqlx::query("delete from audit_seal where sequence <= $1")
            .bind(start.link.sequence)
            .execute(&mut *transaction)
            .await?;
        for (table, end) in months(&mut transaction).await? {
            if start.expired_before.is_some_and(|before| end <= before) {
                let drop = format!("drop table \"{table}\"");
                sqlx::query(sqlx::AssertSqlSafe(drop))
                    .execute(&mut *transaction)
                    .await?;
                tracing::info!(audit.table = table, "a month of the audit log was dropped");
            }
        }
        transaction.commit().await
    }
}

/// The tables of months and when each ends, oldest first. A table that is not named like a month is left alone.
async fn months(connection: &mut PgConnection) -> Result<Vec<(String, Timestamp)>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_inherits join pg_class on oid = inhrelid \
         where inhparent = 'audit'::regclass order by relname",
    )
    .fetch_all(connection)
    .await?;
    let dated = |name: String| end_of_month(&name).map(|end| (name, end));
    Ok(names.into_iter().filter_map(dated).collect())
}

/// When the month of a table such as `audit_2026_11` ends.
fn end_of_month(table: &str) -> Option<Timestamp> {
    let (year, month) = table.strip_prefix("audit_")?.split_once('_')?;
    let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
    let next = first.last_of_month().tomorrow().ok()?;
    Some(next.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Where the chain begins without the rows of before `end`; `None` as long as some of these are not sealed. The last
/// seal always stays.
async fn start_after(
    connection: &mut PgConnection,
    end: Timestamp,
) -> Result<Option<Start>, sqlx::Error> {
    let head = head(connection).await?;
    let unsealed: bool =
        sqlx::query_scalar("select exists (select from audit where at < $1 and id > $2)")
            .bind(end.to_sqlx())
            .bind(head.entry_id)
            .fetch_one(&mut *connection)
            .await?;
    if unsealed {
        return Ok(None);
    }
    let row = sqlx::query(
        "select sequence, audit_id, digest from audit_seal where sequence < \
         coalesce((select min(sequence) from audit_seal where audit_at >= $1), \
         (select max(sequence) from audit_seal)) \
         order by sequence desc limit 1",
    )
    .bind(end.to_sqlx())
    .fetch_optional(&mut *connection)
    .await?;
    let link = match row {
        Some(row) => link(&row)?,
        None => super::audit_chain::start(connection).await?.link,
    };
    Ok(Some(Start {
        link,
        expired_before: Some(end),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_end_with_their_last_day() {
        let end = |table| end_of_month(table).map(|end| end.to_string());
        assert_eq!(
            end("audit_2026_11").as_deref(),
            Some("2026-12-01T00:00:00Z")
        );
        assert_eq!(
            end("audit_2026_12").as_deref(),
            Some("2027-01-01T00:00:00Z")
        );
        for other in ["audit_2026_13", "audit_seal", "audit_old_1", "other"] {
            assert_eq!(end(other), None, "{other}");
        }
    }
}
