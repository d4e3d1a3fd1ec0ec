//! API keys in SQL. Only their digests are kept.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::Row as _;
use uuid::Uuid;

use super::{Store, failure};
use crate::{
    domain::{
        actor::Role,
        api_key::{ApiKey, KeyDigest},
        failure::Failure,
    },
    service::ports::{Keys, StoredKey},
};

/// A key to keep.
pub struct NewKey<'a> {
    /// What people call it.
    pub name: &'a str,
    /// The team it speaks for.
    pub team: &'a str,
    /// Its role.
    pub role: Role,
    /// When it stops working. Absent: never.
    pub expires_at: Option<Timestamp>,
}

#[async_trait]
impl Keys for Store {
    async fn by_digest(&self, digest: &KeyDigest) -> Result<Option<StoredKey>, Failure> {
        let row = sqlx::query(
            "select id, team, role, expires_at, revoked_at from api_key where digest = $1",
        )
        .bind(&digest[..])
        .fetch_optional(&self.pool)
        .await
        .map_err(failure)?;
        row.map(|row| stored_key(&row).map_err(failure)).transpose()
    }
}

fn stored_key(row: &sqlx::postgres::PgRow) -> Result<StoredKey, sqlx::Error> {
    let role: String = row.try_get("role")?;
    let time = |column: &str| -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(row
            .try_get::<Option<jiff_sqlx::Timestamp>, _>(column)?
            .map(|time| time.to_jiff()))
    };
    Ok(StoredKey {
        id: row.try_get("id")?,
        team: row.try_get("team")?,
        role: Role::from_word(&role)
            .ok_or_else(|| sqlx::Error::Decode(format!("'{role}' is no role").into()))?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
    })
}

impl Store {
    /// Keeps a key.
    pub async fn insert_key(&self, key: &ApiKey, new: &NewKey<'_>) -> Result<Uuid, Failure> {
        let id = Uuid::now_v7();
        sqlx::query("insert into api_key (id, name, team, role, digest, expires_at) values ($1, $2, $3, $4, $5, $6)")
            .bind(id)
            .bind(new.name)
            .bind(new.team)
            .bind(new.role.as_str())
            .bind(&key.digest()[..])
            .bind(new.expires_at.map(|time| time.to_sqlx()))
            .execute(&self.pool)
            .await
            .map_err(failure)?;
        Ok(id)
    }

    /// Whether a platform key exists that still works.
    pub async fn has_usable_platform_key(&self) -> Result<bool, Failure> {
        sqlx::query_scalar(
            "select exists (select from api_key where role = 'platform-team' and revoked_at is null \
             and (expires_at is null or expires_at > now()))",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(failure)
    }
}
