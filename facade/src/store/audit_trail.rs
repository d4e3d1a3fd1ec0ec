//! The audit log as it is read, sealed and kept in order. Reads the log; appends to it and to its chain.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    Store,
    audit_rows::{COLUMNS, NewRow, append_now, entry},
    call,
};
use crate::{
    domain::{
        audit::{Entry, EntryFilter, Outcome},
        audit_chain::{Anchor, Link, Seal, Start},
        failure::Failure,
        page::{Page, Position},
        policy::Kind,
    },
    service::ports::{AuditTrail, Rejections, Sealing},
};

#[async_trait]
impl AuditTrail for Store {
    async fn rejected(&self, rejections: &[Rejections]) -> Result<(), Failure> {
        let rows: Vec<_> = rejections
            .iter()
            .map(|rejections| NewRow {
                stage: "outcome",
                action: "authenticate",
                resource_kind: Kind::ApiKey.as_str(),
                outcome: Some(Outcome::Denied.as_str()),
                status: Some(401),
                source: rejections.source.clone(),
                calls: rejections.calls,
                ..NewRow::default()
            })
            .collect();
        append_now(&self.pool, &rows).await
    }

    async fn entries(
        &self,
        filter: &EntryFilter,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Page<Entry>, Failure> {
        let mut query = select(filter, before);
        // One more than asked for tells whether there are more.
        query.push(" order by id desc limit ");
        query.push_bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1));
        let rows = call(query.build().fetch_all(&self.pool)).await?;
        let entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>();
        let mut items = entries.map_err(super::failure)?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().map(position).filter(|_| more);
        Ok(Page { items, next })
    }

    async fn start(&self) -> Result<Start, Failure> {
        self.chain_start().await
    }

    async fn head(&self) -> Result<(Link, bool), Failure> {
        let head = self.chain_head().await?;
        let unsealed = sqlx::query_scalar("select exists (select from audit where id > $1)")
            .bind(head.entry_id)
            .fetch_one(&self.pool);
        Ok((head, call(unsealed).await?))
    }

    async fn seals_after(&self, sequence: i64, limit: usize) -> Result<Vec<Seal>, Failure> {
        self.read_seals(sequence, limit).await
    }

    async fn entries_between(&self, after: i64, through: i64) -> Result<Vec<Entry>, Failure> {
        let text =
            format!("select {COLUMNS} from audit where id > $1 and id <= $2 order by id, at");
        let query = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(after)
            .bind(through);
        let rows = call(query.fetch_all(&self.pool)).await?;
        let entries = rows.iter().map(entry).collect::<Result<_, _>>();
        entries.map_err(super::failure)
    }

    async fn count_after(&self, id: i64) -> Result<u64, Failure> {
        let count = sqlx::query_scalar::<_, i64>("select count(*) from audit where id > $1")
            .bind(id)
            .fetch_one(&self.pool);
        Ok(u64::try_from(call(count).await?).unwrap_or_default())
    }

    async fn seal(&self, anchored: Option<&Anchor>) -> Result<Sealing, Failure> {
        self.seal_next(anchored).await
    }

    async fn complete_interrupted(&self, older_than: Duration) -> Result<u64, Failure> {
        self.complete_open_intents(older_than).await
    }

    async fn make_months(&self) -> Result<(), Failure> {
        self.make_audit_months().await
    }

    async fn expired(&self, cutoff: Timestamp) -> Result<Option<Start>, Failure> {
        self.find_expired(cutoff).await
    }

    async fn drop_expired(&self, start: &Start) -> Result<(), Failure> {
        self.drop_before(start).await
    }
}

fn select(filter: &EntryFilter, before: Option<Position>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(format!("select {COLUMNS} from audit where true"));
    let texts = [
        (" and team = ", filter.team.as_deref()),
        (" and action = ", filter.action.as_deref()),
        (" and resource_id = ", filter.resource_id.as_deref()),
        (" and outcome = ", filter.outcome.map(Outcome::as_str)),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            query.push(condition).push_bind(value.to_owned());
        }
    }
    if let Some(key_id) = filter.key_id {
        query.push(" and key_id = ").push_bind(key_id);
    }
    for (condition, value) in [(" and at >= ", filter.from), (" and at < ", filter.to)] {
        if let Some(value) = value {
            query.push(condition).push_bind(value.to_sqlx());
        }
    }
    if let Some(position) = before {
        let id = i64::try_from(position.id.as_u128()).unwrap_or(i64::MAX);
        query.push(" and id < ").push_bind(id);
    }
    query
}

/// Where a row stands in the order, in the form of every cursor.
fn position(entry: &Entry) -> Position {
    Position {
        created_at: entry.at,
        id: Uuid::from_u128(u128::from(entry.id.unsigned_abs())),
    }
}
