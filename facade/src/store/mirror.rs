//! The mirror of the cluster in SQL. Writes: records, their history, and one row about the mirror itself.
//!
//! Every write is guarded by the version of the resource, so it does not matter who writes first, the replica that
//! mirrors or the request that made the change, nor how often.

use daap_crds::{DaapDatabase, ResourceExt as _, kind::Kind};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction, types::Json};
use uuid::Uuid;

use super::{Store, call, operations::write_operations};
use crate::domain::{
    database::Database,
    failure::Failure,
    history::{self, Transition},
    operation,
};

/// Marks the replica that mirrors. Any number that nothing else uses.
const LOCK: i64 = 0x6461_6170_6d69_7272;

/// That this replica is the one that mirrors, for as long as the connection that holds the lock lives.
pub struct MirrorLock(PgConnection);

/// What the row about the mirror asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    GoOn,
    /// List everything again, and believe that over every record.
    Rebuild,
}

impl MirrorLock {
    /// Binds the mirror to a cluster, the first time or when it is rebuilt.
    pub async fn bind(&mut self, cluster: Uuid) -> Result<(), Failure> {
        let bound = call(self.try_to_bind(cluster)).await?;
        if bound == cluster {
            return Ok(());
        }
        Err(Failure::unavailable(
            "The record of databases",
            format!(
                "the metadata database mirrors the cluster {bound}, and this is {cluster}: nothing is taken for gone \
                 until `daap-facade rebuild` binds it to this one"
            ),
        ))
    }

    /// The cluster that the mirror is bound to now.
    async fn try_to_bind(&mut self, cluster: Uuid) -> Result<Uuid, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let (bound, rebuild): (Option<Uuid>, bool) =
            sqlx::query_as("select cluster, rebuild from mirror for update")
                .fetch_one(&mut *transaction)
                .await?;
        if let Some(bound) = bound.filter(|_| !rebuild) {
            return Ok(bound);
        }
        if rebuild {
            for statement in [
                "update database_record set resource_version = 0",
                "update resource_record set resource_version = 0",
            ] {
                sqlx::query(statement).execute(&mut *transaction).await?;
            }
        }
        sqlx::query("update mirror set cluster = $1, rebuild = false, listed_at = null")
            .bind(cluster)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(cluster)
    }

    /// Writes that everything was listed.
    pub async fn listed(&mut self) -> Result<(), Failure> {
        let query = sqlx::query(
            "update mirror set listed_at = clock_timestamp(), heard_at = clock_timestamp()",
        );
        call(query.execute(&mut self.0)).await.map(drop)
    }

    /// Writes that the cluster was heard, and reads what is wished.
    pub async fn heard(&mut self) -> Result<Wish, Failure> {
        let query =
            sqlx::query_scalar("update mirror set heard_at = clock_timestamp() returning rebuild");
        let rebuild: bool = call(query.fetch_one(&mut self.0)).await?;
        Ok(if rebuild { Wish::Rebuild } else { Wish::GoOn })
    }
}

impl Store {
    /// The lock of the replica that mirrors; `None` while another one holds it.
    pub async fn mirror_lock(&self) -> Result<Option<MirrorLock>, Failure> {
        let mut connection = call(self.pool.acquire()).await?;
        let query = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK);
        match call(query.fetch_one(&mut *connection)).await {
            Ok(true) => Ok(Some(MirrorLock(connection.detach()))),
            Ok(false) => Ok(None),
            Err(failure) => {
                // It may hold the lock unknown to us, and must not go back to the others.
                drop(connection.detach());
                Err(failure)
            }
        }
    }

    /// Every record that is not known to be gone: its id, its version, and where it is.
    pub async fn present(&self) -> Result<Vec<PresentRecord>, Failure> {
        let query = sqlx::query_as(
            "select id, resource_version, namespace, name from database_record where deleted_at is null",
        );
        let rows: Vec<(Uuid, i64, String, String)> = call(query.fetch_all(&self.pool)).await?;
        let record = |(id, version, namespace, name)| PresentRecord {
            id,
            version,
            namespace,
            name,
        };
        Ok(rows.into_iter().map(record).collect())
    }

    /// Keeps what a resource is now, and what changed, unless something at least as new is known.
    pub async fn observe(&self, resource: &DaapDatabase) -> Result<(), Failure> {
        let resource: DaapDatabase = storable(resource)?;
        let Some(record) = Database::from_resource(resource.clone()) else {
            return Err(Failure::internal("a resource without an id was observed"));
        };
        let version: i64 = record.tag.resource_version.parse().map_err(|_| {
            Failure::internal(format!(
                "'{}' is no resource version",
                record.tag.resource_version
            ))
        })?;
        // When somebody inserts it meanwhile, theirs is as good, or its turn comes again.
        while !call(Box::pin(self.try_to_observe(&record, version, &resource))).await? {}
        Ok(())
    }

    /// Whether it is settled: written, or known to be no news.
    async fn try_to_observe(
        &self,
        record: &Database,
        version: i64,
        resource: &DaapDatabase,
    ) -> Result<bool, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let known = lock_record(&mut transaction, record.id).await?;
        if known
            .as_ref()
            .is_some_and(|known| !known.yields_to(version))
        {
            return Ok(true);
        }
        let before = known.map(|known| known.resource);
        let changes = history::transitions(before.as_ref(), resource);
        if !write_record(&mut transaction, record, version, resource).await? {
            return Ok(false);
        }
        for change in &changes {
            write_transition(&mut transaction, record.id, version, change).await?;
        }
        let operations = operation::told_by(resource);
        write_operations(&mut transaction, record, &operations).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Keeps that a database left the cluster.
    pub async fn gone(&self, id: Uuid) -> Result<(), Failure> {
        call(Box::pin(self.write_gone(id))).await
    }

    async fn write_gone(&self, id: Uuid) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let Some(last) = lock_record(&mut transaction, id).await? else {
            return Ok(());
        };
        let updated = sqlx::query(
            "update database_record set deleted_at = clock_timestamp(), status = 'deleted' \
             where id = $1 and deleted_at is null",
        )
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        if updated.rows_affected() > 0 {
            let deletion = history::deletion(&last.resource);
            write_transition(&mut transaction, id, last.version, &deletion).await?;
        }
        transaction.commit().await
    }

    /// Asks the replica that mirrors to begin anew. Returns the database's clock, to compare with [`Store::listed_since`].
    pub async fn ask_for_rebuild(&self) -> Result<Timestamp, Failure> {
        let query =
            sqlx::query_scalar("update mirror set rebuild = true returning clock_timestamp()");
        let now: jiff_sqlx::Timestamp = call(query.fetch_one(&self.pool)).await?;
        Ok(now.to_jiff())
    }

    /// Whether everything was listed after an instant.
    pub async fn listed_since(&self, instant: Timestamp) -> Result<bool, Failure> {
        let query = sqlx::query_scalar(
            "select coalesce(listed_at > $1 and not rebuild, false) from mirror",
        )
        .bind(instant.to_sqlx());
        call(query.fetch_one(&self.pool)).await
    }
}

/// The resource with what PostgreSQL cannot hold replaced: a text of it has no null character.
pub(super) fn storable<K: Kind>(resource: &K) -> Result<K, Failure> {
    let mut value = serde_json::to_value(resource).map_err(Failure::internal)?;
    replace_nulls(&mut value);
    serde_json::from_value(value).map_err(Failure::internal)
}

fn replace_nulls(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(replace_nulls),
        Value::Object(fields) => fields.values_mut().for_each(replace_nulls),
        _ => {}
    }
}

/// A record that is not known to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentRecord {
    /// The id.
    pub id: Uuid,
    /// The version of the resource.
    pub version: i64,
    /// The namespace of the resource.
    pub namespace: String,
    /// The name of the resource.
    pub name: String,
}

/// A record, locked until the transaction ends.
struct Known {
    version: i64,
    resource: DaapDatabase,
    deleted: bool,
}

impl Known {
    /// Whether something of this version is news. Version 0 yields to everything: it is to be rebuilt.
    fn yields_to(&self, version: i64) -> bool {
        self.version == 0 || (self.version < version && !self.deleted)
    }
}

async fn lock_record(
    transaction: &mut Transaction<'_, Postgres>,
    id: Uuid,
) -> Result<Option<Known>, sqlx::Error> {
    let row: Option<(i64, Json<DaapDatabase>, bool)> = sqlx::query_as(
        "select resource_version, resource, deleted_at is not null from database_record where id = $1 for update",
    )
    .bind(id)
    .fetch_optional(&mut **transaction)
    .await?;
    Ok(row.map(|(version, Json(resource), deleted)| Known {
        version,
        resource,
        deleted,
    }))
}

/// Whether it was written: not when somebody else inserted something at least as new at the same moment.
async fn write_record(
    transaction: &mut Transaction<'_, Postgres>,
    record: &Database,
    version: i64,
    resource: &DaapDatabase,
) -> Result<bool, sqlx::Error> {
    let mut kept = resource.clone();
    kept.managed_fields_mut().clear();
    let written = sqlx::query(
        "insert into database_record \
         (id, resource_version, namespace, name, owner_team, tier, status, purpose, created_at, resource, source_id, \
         deleted_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
         case when $7 = 'deleted' then coalesce($12, clock_timestamp()) end) \
         on conflict (id) do update set \
         resource_version = excluded.resource_version, owner_team = excluded.owner_team, tier = excluded.tier, \
         status = excluded.status, purpose = excluded.purpose, resource = excluded.resource, \
         source_id = excluded.source_id, deleted_at = excluded.deleted_at \
         where database_record.resource_version < excluded.resource_version",
    )
    .bind(record.id)
    .bind(version)
    .bind(&record.namespace)
    .bind(&record.name)
    .bind(&record.owner_team)
    .bind(&record.tier)
    .bind(record.status.as_str())
    .bind(record.purpose.as_deref().unwrap_or_default())
    .bind(record.created_at.to_sqlx())
    .bind(Json(kept))
    .bind(record.source_id())
    .bind(record.deleted_at.map(|instant| instant.to_sqlx()))
    .execute(&mut **transaction)
    .await?;
    Ok(written.rows_affected() > 0)
}

async fn write_transition(
    transaction: &mut Transaction<'_, Postgres>,
    id: Uuid,
    version: i64,
    transition: &Transition,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into database_transition \
         (database_id, resource_version, at, change, before, after, detail, manager, intent, team, key_id) \
         select $1, $2, coalesce($3, clock_timestamp()), $4, $5, $6, $7, $8, $9, asked.team, asked.key_id \
         from (select) as one left join lateral \
         (select team, key_id from audit where intent = $9 and stage = 'intent' limit 1) as asked on true \
         on conflict do nothing",
    )
    .bind(id)
    .bind(version)
    .bind(transition.at.map(|instant| instant.to_sqlx()))
    .bind(transition.change.as_str())
    .bind(&transition.before)
    .bind(&transition.after)
    .bind(&transition.detail)
    .bind(&transition.author.manager)
    .bind(transition.author.intent)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
