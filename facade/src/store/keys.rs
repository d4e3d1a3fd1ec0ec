//! API keys in SQL. Only their digests are kept.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    Store,
    audit_rows::{NewRow, append},
    call, failure,
};
use crate::{
    domain::{
        actor::Role,
        api_key::{ApiKey, KeyDigest, KeyFilter, KeyRecord, NewKey},
        audit::Outcome,
        failure::Failure,
        page::{Page, Position},
        policy::Kind,
    },
    service::ports::{Keys, Revocation},
};

const COLUMNS: &str = "id, name, team, role, created_at, expires_at, revoked_at, last_used_at";

/// Whoever changes which platform keys work holds this, so that two who do it at once see each other.
const LOCK: &str = "lock table api_key in share row exclusive mode";

const USABLE_PLATFORM_KEY: &str = "role = 'platform-team' and revoked_at is null \
                                   and (expires_at is null or expires_at > now())";

#[async_trait]
impl Keys for Store {
    async fn by_digest(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, Failure> {
        let text = format!("select {COLUMNS} from api_key where digest = $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(&digest[..]);
        let row = call(query.fetch_optional(&self.pool)).await?;
        row.map(|row| record(&row).map_err(failure)).transpose()
    }

    async fn insert(&self, key: &ApiKey, new: &NewKey, intent: Uuid) -> Result<KeyRecord, Failure> {
        let inserted = async {
            let mut connection = self.pool.acquire().await?;
            insert(&mut connection, key, new, intent).await
        };
        call(inserted).await
    }

    async fn find(&self, id: Uuid) -> Result<Option<KeyRecord>, Failure> {
        let text = format!("select {COLUMNS} from api_key where id = $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id);
        let row = call(query.fetch_optional(&self.pool)).await?;
        row.map(|row| record(&row).map_err(failure)).transpose()
    }

    async fn list(
        &self,
        filter: &KeyFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<KeyRecord>, Failure> {
        let mut query = select(filter, after);
        // One more than asked for tells whether there are more.
        query.push(" order by created_at, id limit ");
        query.push_bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1));
        let rows = call(query.build().fetch_all(&self.pool)).await?;
        let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>();
        let position = |record: &KeyRecord| Position {
            created_at: record.created_at,
            id: record.id,
        };
        Ok(Page::cut(records.map_err(failure)?, position, after, limit))
    }

    async fn revoke(&self, id: Uuid) -> Result<Revocation, Failure> {
        call(self.revoke_one(id)).await
    }

    async fn used(&self, ids: &[Uuid]) -> Result<(), Failure> {
        let query = sqlx::query(
            "update api_key set last_used_at = now() where id = any($1) \
             and (last_used_at is null or last_used_at < now() - interval '1 hour')",
        )
        .bind(ids);
        call(query.execute(&self.pool)).await.map(|_| ())
    }
}

impl Store {
    /// Keeps the first platform key, or with `force` another one, or a key of a product team; `None` when a platform
    /// key exists that works. Of two who ask at once for the first, one gets it. The audit log tells of it.
    pub async fn bootstrap_key(
        &self,
        key: &ApiKey,
        new: &NewKey,
        force: bool,
    ) -> Result<Option<Uuid>, Failure> {
        call(self.bootstrap(key, new, force)).await
    }

    async fn bootstrap(
        &self,
        key: &ApiKey,
        new: &NewKey,
        force: bool,
    ) -> Result<Option<Uuid>, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(LOCK).execute(&mut *transaction).await?;
        if new.role == Role::Platform && !force && usable_platform_keys(&mut transaction).await? > 0
        {
            return Ok(None);
        }
        let intent = Uuid::now_v7();
        let id = insert(&mut transaction, key, new, intent).await?.id;
        let row = |stage| NewRow {
            stage,
            intent: Some(intent),
            action: "bootstrapKey",
            resource_kind: Kind::ApiKey.as_str(),
            resource_id: Some(id.to_string()),
            source: "command line".to_owned(),
            calls: 1,
            ..NewRow::default()
        };
        let outcome = NewRow {
            outcome: Some(Outcome::Succeeded.as_str()),
            ..row("outcome")
        };
        append(&mut *transaction, &[row("intent"), outcome]).await?;
        transaction.commit().await?;
        Ok(Some(id))
    }

    async fn revoke_one(&self, id: Uuid) -> Result<Revocation, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(LOCK).execute(&mut *transaction).await?;
        let text = format!("select {USABLE_PLATFORM_KEY} from api_key where id = $1");
        let usable: Option<bool> = sqlx::query_scalar(sqlx::AssertSqlSafe(text))
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?;
        match usable {
            None => return Ok(Revocation::Missing),
            Some(true) if usable_platform_keys(&mut transaction).await? < 2 => {
                return Ok(Revocation::LastPlatformKey);
            }
            Some(_) => {}
        }
        sqlx::query("update api_key set revoked_at = now() where id = $1 and revoked_at is null")
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Revocation::Done)
    }
}

async fn usable_platform_keys(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let text = format!("select count(*) from api_key where {USABLE_PLATFORM_KEY}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(text))
        .fetch_one(connection)
        .await
}

/// A second try of the same intent means that nobody ever saw the key that the first one made: it is made anew.
async fn insert(
    connection: &mut PgConnection,
    key: &ApiKey,
    new: &NewKey,
    intent: Uuid,
) -> Result<KeyRecord, sqlx::Error> {
    let text = format!(
        "insert into api_key (id, name, team, role, digest, intent, expires_at) values ($1, $2, $3, $4, $5, $6, $7) \
         on conflict (intent) do update set digest = excluded.digest \
         returning {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(Uuid::now_v7())
        .bind(&new.name)
        .bind(new.team.as_str())
        .bind(new.role.as_str())
        .bind(&key.digest()[..])
        .bind(intent)
        .bind(new.expires_at.map(|time| time.to_sqlx()))
        .fetch_one(connection)
        .await?;
    record(&row)
}

fn select(filter: &KeyFilter, after: Option<Position>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(format!("select {COLUMNS} from api_key where true"));
    if let Some(team) = &filter.team {
        query.push(" and team = ").push_bind(team.clone());
    }
    if let Some(role) = filter.role {
        query.push(" and role = ").push_bind(role.as_str());
    }
    if let Some(position) = after {
        query.push(" and (created_at, id) > (");
        query.push_bind(position.created_at.to_sqlx()).push(", ");
        query.push_bind(position.id).push(")");
    }
    query
}

fn record(row: &PgRow) -> Result<KeyRecord, sqlx::Error> {
    let role: String = row.try_get("role")?;
    let time = |column: &str| -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(row
            .try_get::<Option<jiff_sqlx::Timestamp>, _>(column)?
            .map(|time| time.to_jiff()))
    };
    Ok(KeyRecord {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        team: row.try_get("team")?,
        role: Role::from_word(&role)
            .ok_or_else(|| sqlx::Error::Decode(format!("'{role}' is no role").into()))?,
        created_at: row
            .try_get::<jiff_sqlx::Timestamp, _>("created_at")?
            .to_jiff(),
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
        last_used_at: time("last_used_at")?,
    })
}
