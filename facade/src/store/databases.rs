//! Records of databases in SQL, as the mirror holds them. Reads.

use std::time::Duration;

use async_trait::async_trait;
use daap_crds::DaapDatabase;
use jiff_sqlx::ToSqlx as _;
use sqlx::{Postgres, QueryBuilder, Row as _, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::{Store, call, failure};
use crate::{
    domain::{
        database::{Database, DatabaseFilter},
        failure::Failure,
        history::{Author, Change, Recorded, Requester, Transition},
        operation::Kept,
        page::{Page, Position},
    },
    service::ports::DatabaseDirectory,
};

#[async_trait]
impl DatabaseDirectory for Store {
    async fn find(&self, team: Option<&str>, id: Uuid) -> Result<Option<Database>, Failure> {
        let query = sqlx::query(
            "select resource, deleted_at from database_record \
             where id = $1 and ($2::text is null or owner_team = $2)",
        )
        .bind(id)
        .bind(team);
        let row = call(query.fetch_optional(&self.pool)).await?;
        row.map(|row| database(&row).map_err(failure)).transpose()
    }

    async fn list(
        &self,
        filter: &DatabaseFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<Database>, Failure> {
        let mut query = selection(filter, after, limit);
        let rows = call(query.build().fetch_all(&self.pool)).await?;
        let items = rows.iter().map(database).collect::<Result<Vec<_>, _>>();
        let position = |database: &Database| Position {
            created_at: database.created_at,
            id: database.id,
        };
        Ok(Page::cut(items.map_err(failure)?, position, after, limit))
    }

    async fn history(
        &self,
        id: Uuid,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Recorded>, Failure> {
        let query = sqlx::query(
            "select id, at, change, before, after, detail, manager, intent, team, key_id from database_transition \
             where database_id = $1 and id > $2 order by id limit $3",
        )
        .bind(id)
        .bind(after.unwrap_or_default())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = call(query.fetch_all(&self.pool)).await?;
        rows.iter()
            .map(|row| transition(row).map_err(failure))
            .collect()
    }

    async fn operation(&self, team: Option<&str>, id: &str) -> Result<Option<Kept>, Failure> {
        self.find_operation(team, id).await
    }

    async fn keep(&self, resource: &DaapDatabase) -> Result<(), Failure> {
        self.observe(resource).await
    }

    async fn age(&self) -> Result<Option<Duration>, Failure> {
        let query = sqlx::query_scalar(
            "select extract(epoch from clock_timestamp() - heard_at)::float8 from mirror",
        );
        let seconds: Option<f64> = call(query.fetch_one(&self.pool)).await?;
        // A clock that was set back makes no record older.
        Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
    }
}

/// One more than a slice has, so that it shows whether there are more.
fn selection(
    filter: &DatabaseFilter,
    after: Option<Position>,
    limit: usize,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("select resource, deleted_at from database_record where ");
    match filter.status {
        Some(status) => query.push("status = ").push_bind(status.as_str()),
        None => query.push("status <> 'deleted'"),
    };
    if let Some(team) = &filter.owner_team {
        query.push(" and owner_team = ").push_bind(team);
    }
    if let Some(tier) = &filter.tier {
        query.push(" and tier = ").push_bind(tier);
    }
    if let Some(source) = filter.source_id {
        query.push(" and source_id = ").push_bind(source);
    }
    if let Some(text) = &filter.text {
        query
            .push(" and position(lower(")
            .push_bind(text)
            .push(") in lower(name || E'\\n' || purpose)) > 0");
    }
    if let Some(from) = filter.created_from {
        query.push(" and created_at >= ").push_bind(from.to_sqlx());
    }
    if let Some(before) = filter.created_before {
        query.push(" and created_at < ").push_bind(before.to_sqlx());
    }
    if let Some(Position { created_at, id }) = after {
        query
            .push(" and (created_at, id) > (")
            .push_bind(created_at.to_sqlx())
            .push(", ")
            .push_bind(id)
            .push(")");
    }
    let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    query
        .push(" order by created_at, id limit ")
        .push_bind(rows);
    query
}

fn database(row: &PgRow) -> Result<Database, sqlx::Error> {
    let Json(resource): Json<DaapDatabase> = row.try_get("resource")?;
    let deleted_at: Option<jiff_sqlx::Timestamp> = row.try_get("deleted_at")?;
    let record = Database::from_resource(resource)
        .ok_or_else(|| sqlx::Error::Decode("a record has no id".into()))?;
    Ok(match deleted_at {
        Some(instant) => record.gone(instant.to_jiff()),
        None => record,
    })
}

fn transition(row: &PgRow) -> Result<Recorded, sqlx::Error> {
    let change: String = row.try_get("change")?;
    let at: jiff_sqlx::Timestamp = row.try_get("at")?;
    let team: Option<String> = row.try_get("team")?;
    let key_id: Option<Uuid> = row.try_get("key_id")?;
    Ok(Recorded {
        number: row.try_get("id")?,
        at: at.to_jiff(),
        requester: team
            .zip(key_id)
            .map(|(team, key_id)| Requester { team, key_id }),
        transition: Transition {
            change: Change::from_word(&change)
                .ok_or_else(|| sqlx::Error::Decode(format!("'{change}' is no change").into()))?,
            before: row.try_get("before")?,
            after: row.try_get("after")?,
            detail: row.try_get("detail")?,
            at: None,
            author: Author {
                manager: row.try_get("manager")?,
                intent: row.try_get("intent")?,
            },
        },
    })
}
