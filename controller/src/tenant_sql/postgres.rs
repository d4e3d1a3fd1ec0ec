//! Tenants' databases as they are: PostgreSQL over TLS. One connection for each call, none is kept.
//!
//! Names in statements are complete, and the search path is empty: nothing that a tenant made is ever called.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use daap_crds::database::Fence;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use sqlx::{
    ConnectOptions, Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{Login, Tenant, TenantError, Tenants};
use crate::database::plan::{APPLICATION, OBSERVER, Password};

/// The database that the observer logs in to. The functions it needs are granted to it there.
const OBSERVED: &str = "postgres";

/// How long sessions get to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon ended sessions are looked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether the server is a replica, and its time in microseconds.
const NOW: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
    (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8";

/// A transaction with an id leaves a commit in the write-ahead log, although it changes nothing.
const COMMIT: &str = "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text";

/// The segment with everything that was written until now.
///
/// A segment begins with 40 bytes of its own. A position right behind them means that the last record filled the segment
/// before to its end; this one is empty then, and would not be closed. Positions are multiples of 8, so 41 bytes less
/// lead to the segment with the last record, and never to the border between two, of which versions think differently.
const SEGMENT: &str =
    "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn() - 41)";

/// Flushes the write-ahead log and closes the current segment, unless it is empty.
const SWITCH: &str = "SELECT pg_catalog.pg_switch_wal()::pg_catalog.text";

/// Ends the sessions of clients, and counts those there were before.
///
/// CloudNativePG's are those of its replicas, and of superusers that come through the socket in the pod. A backend whose
/// kind is not shown is counted, so that a missing grant never looks like an empty server. Superusers cannot be ended.
const END_SESSIONS: &str = "
WITH client AS MATERIALIZED (
  SELECT activity.pid, role.rolsuper
  FROM pg_catalog.pg_stat_activity AS activity
  LEFT JOIN pg_catalog.pg_roles AS role ON role.oid = activity.usesysid
  WHERE coalesce(activity.backend_type, 'client backend') = 'client backend'
    AND activity.pid <> pg_catalog.pg_backend_pid()
    AND activity.usename IS DISTINCT FROM current_user
    AND activity.usename IS DISTINCT FROM 'streaming_replica'
    AND (activity.client_addr IS NOT NULL OR role.rolsuper IS NOT TRUE)
), ended AS MATERIALIZED (
  SELECT pg_catalog.pg_terminate_backend(client.pid) AS signalled FROM client WHERE NOT client.rolsuper
)
SELECT (SELECT pg_catalog.count(*) FROM client), (SELECT pg_catalog.count(*) FROM ended)";

/// Tenants' databases as they are.
#[derive(Debug, Clone, Copy)]
pub struct Postgres {
    deadline: Duration,
}

impl Postgres {
    /// Every call ends within `deadline`.
    pub fn new(deadline: Duration) -> Self {
        Self { deadline }
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, TenantError>> + Send,
    ) -> Result<T, TenantError> {
        tokio::time::timeout(self.deadline, call)
            .await
            .unwrap_or(Err(TenantError::Deadline(self.deadline)))
    }

    fn error(&self, error: sqlx::Error) -> TenantError {
        TenantError::new(error, self.deadline)
    }

    async fn observe(&self, tenant: &Tenant) -> Result<PgConnection, TenantError> {
        let password = &tenant.observer_password;
        self.connect(tenant, OBSERVER, password, OBSERVED).await
    }

    /// The host's name is checked against the certificate. It ends in `.svc`, for which no public authority vouches, so
    /// it does not matter that the machine's own authorities are trusted beside the given one.
    async fn connect(
        &self,
        tenant: &Tenant,
        role: &str,
        password: &Password,
        database: &str,
    ) -> Result<PgConnection, TenantError> {
        // Should this process vanish without a word, the server ends what it began.
        let limit = self.deadline.as_millis().to_string();
        let limits = [
            ("statement_timeout", limit.as_str()),
            ("idle_in_transaction_session_timeout", limit.as_str()),
            ("search_path", ""),
        ];
        let options = PgConnectOptions::new_without_pgpass()
            .host(&tenant.host)
            .port(tenant.port)
            .username(role)
            .password(password.reveal())
            .database(database)
            .application_name("daap-controller")
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(tenant.authority.clone())
            .options(limits)
            .disable_statement_logging();
        let connection = Box::pin(options.connect()).await;
        connection.map_err(|error| self.error(error))
    }

    async fn make_fence(&self, connection: &mut PgConnection) -> Result<Fence, TenantError> {
        let (is_replica, microseconds): (bool, i64) = sqlx::query_as(NOW)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| self.error(error))?;
        if is_replica {
            return Err(TenantError::Failover);
        }
        let time = Timestamp::from_microsecond(microseconds)
            .map_err(|error| self.error(sqlx::Error::Decode(error.into())))?;
        // Each statement is a transaction of its own. The connection does not outlive the server's being the primary.
        self.text(connection, COMMIT).await?;
        let segment = self.text(connection, SEGMENT).await?;
        self.text(connection, SWITCH).await?;
        Ok(Fence {
            time: MicroTime(time),
            segment,
        })
    }

    async fn text(
        &self,
        connection: &mut PgConnection,
        statement: &'static str,
    ) -> Result<String, TenantError> {
        sqlx::query_scalar(statement)
            .fetch_one(connection)
            .await
            .map_err(|error| self.error(error))
    }

    /// Ends sessions until there are none, or patience is.
    async fn end_until_none(&self, connection: &mut PgConnection) -> Result<u32, TenantError> {
        let patience = Instant::now() + PATIENCE.min(self.deadline / 2);
        loop {
            let (clients, _ended): (i64, i64) = sqlx::query_as(END_SESSIONS)
                .fetch_one(&mut *connection)
                .await
                .map_err(|error| self.error(error))?;
            if clients == 0 || Instant::now() >= patience {
                return Ok(u32::try_from(clients).unwrap_or(u32::MAX));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl Tenants for Postgres {
    async fn fence(&self, tenant: &Tenant) -> Result<Fence, TenantError> {
        self.within(async {
            let mut connection = self.observe(tenant).await?;
            let fence = self.make_fence(&mut connection).await?;
            close(connection).await;
            Ok(fence)
        })
        .await
    }

    async fn log_in(&self, tenant: &Tenant) -> Result<Login, TenantError> {
        self.within(async {
            let password = &tenant.application_password;
            match self
                .connect(tenant, APPLICATION, password, APPLICATION)
                .await
            {
                Ok(connection) => {
                    close(connection).await;
                    Ok(Login::Accepted)
                }
                Err(error) if error.is_by_rule() => Ok(Login::Refused),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn end_sessions(&self, tenant: &Tenant) -> Result<u32, TenantError> {
        self.within(async {
            let mut connection = self.observe(tenant).await?;
            let left = self.end_until_none(&mut connection).await?;
            close(connection).await;
            Ok(left)
        })
        .await
    }
}

/// Says goodbye. What was to be known is known, so failing is no harm.
async fn close(connection: PgConnection) {
    drop(connection.close().await);
}
