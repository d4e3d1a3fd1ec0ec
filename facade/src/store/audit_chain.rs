//! The chain over the audit log in SQL. Reads rows and seals; appends seals.
//!
//! Rows are sealed in the order of their ids, up to one below which none can appear any more: ids are given to rows
//! while their transaction holds a lock on the table, so none is under way while a conflicting lock is held.

use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    Store,
    audit_rows::{COLUMNS, entry},
    call, failure,
};
use crate::{
    domain::{
        audit_chain::{Anchor, Link, Seal, Start, Sum, seal},
        failure::Failure,
    },
    service::ports::Sealing,
};

/// How many rows are sealed in one transaction.
const BATCH: i64 = 1000;

/// What one replica at a time does to the log: sealing, completing, dropping.
pub const UPKEEP_LOCK: &str = "select pg_try_advisory_xact_lock(hashtext('audit_upkeep'))";

impl Store {
    /// See [`crate::service::ports::AuditTrail::seal`].
    pub(super) async fn seal_next(&self, anchored: Option<&Anchor>) -> Result<Sealing, Failure> {
        let horizon = call(self.horizon()).await?;
        call(self.seal_up_to(horizon, anchored)).await
    }

    /// An id below which no row can appear any more.
    async fn horizon(&self) -> Result<i64, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // Writers wait behind this lock, so it gives up soon.
        sqlx::query("set local lock_timeout = '500ms'")
            .execute(&mut *transaction)
            .await?;
        sqlx::query("lock table only audit in share mode")
            .execute(&mut *transaction)
            .await?;
        let id = sqlx::query_scalar("select coalesce(max(id), 0) from audit")
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(id)
    }

    async fn seal_up_to(
        &self,
        horizon: i64,
        anchored: Option<&Anchor>,
    ) -> Result<Sealing, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        if !sqlx::query_scalar(UPKEEP_LOCK)
            .fetch_one(&mut *transaction)
            .await?
        {
            return Ok(Sealing::Busy);
        }
        let head = head(&mut transaction).await?;
        if let Some(anchor) = anchored
            && !holds(&mut transaction, &anchor.head, &head).await?
        {
            return Ok(Sealing::Broken);
        }
        let text = format!(
            "select {COLUMNS} from audit where id > $1 and id <= $2 order by id limit {BATCH}"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(head.entry_id)
            .bind(horizon)
            .fetch_all(&mut *transaction)
            .await?;
        let mut seals = Vec::with_capacity(rows.len());
        let mut last = head;
        for row in &rows {
            let sealed = seal(&last, &entry(row)?);
            last = sealed.link;
            seals.push(sealed);
        }
        insert(&mut transaction, &seals).await?;
        transaction.commit().await?;
        Ok(Sealing::Sealed(last, seals.len()))
    }

    pub(super) async fn chain_head(&self) -> Result<Link, Failure> {
        let mut connection = call(self.pool.acquire()).await?;
        call(head(&mut connection)).await
    }

    pub(super) async fn chain_start(&self) -> Result<Start, Failure> {
        let mut connection = call(self.pool.acquire()).await?;
        call(start(&mut connection)).await
    }

    pub(super) async fn read_seals(
        &self,
        sequence: i64,
        limit: usize,
    ) -> Result<Vec<Seal>, Failure> {
        let query = sqlx::query(
            "select sequence, audit_id, audit_at, row_digest, digest from audit_seal \
             where sequence > $1 order by sequence limit $2",
        )
        .bind(sequence)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = call(query.fetch_all(&self.pool)).await?;
        let seals = rows.iter().map(|row| {
            Ok(Seal {
                link: link(row)?,
                at: row
                    .try_get::<jiff_sqlx::Timestamp, _>("audit_at")?
                    .to_jiff(),
                row_digest: sum(row, "row_digest")?,
            })
        });
        seals.collect::<Result<_, _>>().map_err(failure)
    }
}

/// The last seal, or the place where the chain begins.
pub(super) async fn head(connection: &mut PgConnection) -> Result<Link, sqlx::Error> {
    let row = sqlx::query(
        "select sequence, audit_id, digest from audit_seal order by sequence desc limit 1",
    )
    .fetch_optional(&mut *connection)
    .await?;
    match row {
        Some(row) => link(&row),
        None => Ok(start(connection).await?.link),
    }
}

pub(super) async fn start(connection: &mut PgConnection) -> Result<Start, sqlx::Error> {
    let row = sqlx::query(
        "select start_sequence as sequence, start_audit_id as audit_id, start_digest as digest, expired_before \
         from audit_chain",
    )
    .fetch_one(connection)
    .await?;
    let expired_before: Option<jiff_sqlx::Timestamp> = row.try_get("expired_before")?;
    Ok(Start {
        link: link(&row)?,
        expired_before: expired_before.map(jiff_sqlx::Timestamp::to_jiff),
    })
}

/// Whether the chain still goes through the anchored place.
async fn holds(
    connection: &mut PgConnection,
    anchored: &Link,
    head: &Link,
) -> Result<bool, sqlx::Error> {
    if anchored == head {
        return Ok(true);
    }
    if anchored.sequence == 0 || anchored.sequence > head.sequence {
        return Ok(anchored.sequence == 0);
    }
    let row = sqlx::query("select sequence, audit_id, digest from audit_seal where sequence = $1")
        .bind(anchored.sequence)
        .fetch_optional(connection)
        .await?;
    match row {
        Some(row) => Ok(link(&row)? == *anchored),
        None => Ok(false),
    }
}

async fn insert(connection: &mut PgConnection, seals: &[Seal]) -> Result<(), sqlx::Error> {
    if seals.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Seal) -> i64| seals.iter().map(of).collect::<Vec<_>>();
    let digests = |of: fn(&Seal) -> Sum| seals.iter().map(|seal| of(seal).to_vec()).collect();
    let row_digests: Vec<Vec<u8>> = digests(|seal| seal.row_digest);
    let links: Vec<Vec<u8>> = digests(|seal| seal.link.digest);
    let times: Vec<_> = seals.iter().map(|seal| seal.at.to_sqlx()).collect();
    sqlx::query(
        "insert into audit_seal (sequence, audit_id, audit_at, row_digest, digest) \
         select * from unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::bytea[], $5::bytea[])",
    )
    .bind(column(|seal| seal.link.sequence))
    .bind(column(|seal| seal.link.entry_id))
    .bind(times)
    .bind(row_digests)
    .bind(links)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) fn link(row: &PgRow) -> Result<Link, sqlx::Error> {
    Ok(Link {
        sequence: row.try_get("sequence")?,
        entry_id: row.try_get("audit_id")?,
        digest: sum(row, "digest")?,
    })
}

fn sum(row: &PgRow, column: &str) -> Result<Sum, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes
        .try_into()
        .map_err(|_| sqlx::Error::Decode(format!("{column} is no SHA-256").into()))
}
