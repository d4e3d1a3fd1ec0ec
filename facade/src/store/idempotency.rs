//! What was answered to requests with an `Idempotency-Key`, in SQL. Reads and writes.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{postgres::types::PgInterval, types::Json};
use uuid::Uuid;

use super::{Store, call};
use crate::{
    domain::failure::Failure,
    service::ports::{Begun, Idempotency, RepeatableRequest, StoredAnswer},
};

/// For how long an answer is kept. The contract tells it.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// For how long a try is taken to be running. Longer than the deadlines of anything a request waits for together.
const HELD: Duration = Duration::from_secs(60);

#[async_trait]
impl Idempotency for Store {
    async fn begin(&self, request: &RepeatableRequest) -> Result<Begun, Failure> {
        call(self.forget_expired()).await?;
        if let Some(intent) = call(self.take(request)).await? {
            return Ok(Begun::Run { intent });
        }
        call(self.look(request)).await
    }

    async fn finish(&self, attempt: Uuid, answer: &StoredAnswer) -> Result<(), Failure> {
        let query = sqlx::query(
            "update idempotency set attempt = null, held_until = null, status = $2, headers = $3, body = $4 \
             where attempt = $1",
        )
        .bind(attempt)
        .bind(i32::from(answer.status))
        .bind(Json(&answer.headers))
        .bind(&answer.body);
        call(query.execute(&self.pool)).await.map(drop)
    }

    async fn release(&self, attempt: Uuid) -> Result<(), Failure> {
        let query = sqlx::query(
            "update idempotency set attempt = null, held_until = null where attempt = $1",
        )
        .bind(attempt);
        call(query.execute(&self.pool)).await.map(drop)
    }
}

impl Store {
    async fn forget_expired(&self) -> Result<(), sqlx::Error> {
        sqlx::query("delete from idempotency where expires_at < clock_timestamp()")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Takes the key for this try: when nobody used it, or when an earlier try of the same request ended without an
    /// answer that holds. Returns what marks the effect.
    async fn take(&self, request: &RepeatableRequest) -> Result<Option<Uuid>, sqlx::Error> {
        sqlx::query_scalar(
            "insert into idempotency (team, target, key, fingerprint, intent, attempt, held_until, expires_at) \
             values ($1, $2, $3, $4, $5, $5, clock_timestamp() + $6, clock_timestamp() + $7) \
             on conflict (team, target, key) do update \
             set attempt = excluded.attempt, held_until = excluded.held_until \
             where idempotency.status is null and idempotency.fingerprint = excluded.fingerprint \
             and coalesce(idempotency.held_until < clock_timestamp(), true) \
             returning intent",
        )
        .bind(&request.team)
        .bind(&request.target)
        .bind(&request.key)
        .bind(&request.fingerprint[..])
        .bind(request.attempt)
        .bind(interval(HELD))
        .bind(interval(KEPT))
        .fetch_optional(&self.pool)
        .await
    }

    /// Why the key could not be taken.
    async fn look(&self, request: &RepeatableRequest) -> Result<Begun, sqlx::Error> {
        type Row = (
            Vec<u8>,
            Option<i32>,
            Option<Json<Vec<(String, String)>>>,
            Option<Vec<u8>>,
        );
        let row: Option<Row> = sqlx::query_as(
            "select fingerprint, status, headers, body from idempotency \
             where team = $1 and target = $2 and key = $3",
        )
        .bind(&request.team)
        .bind(&request.target)
        .bind(&request.key)
        .fetch_optional(&self.pool)
        .await?;
        Ok(match row {
            Some((fingerprint, ..)) if fingerprint != request.fingerprint => Begun::OtherRequest,
            Some((_, Some(status), Some(Json(headers)), Some(body))) => {
                Begun::Answered(StoredAnswer {
                    status: u16::try_from(status).unwrap_or(500),
                    headers,
                    body,
                })
            }
            // Gone again meanwhile, or running: asking again tells.
            _ => Begun::Running,
        })
    }
}

fn interval(duration: Duration) -> PgInterval {
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX),
    }
}
