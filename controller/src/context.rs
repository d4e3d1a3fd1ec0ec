//! What every run has at hand.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    archive::Archives,
    backoff::Backoff,
    clock::Clock,
    k8s::{apply::Writer, client::Reader, events::Publisher},
    metrics::Metrics,
    object_store::probe_times::ProbeTimes,
    quota::bookkeeping::Bookkeeping,
    settings::Settings,
    tenant_sql::Tenants,
};

/// What every run has at hand.
pub struct Context {
    /// What was set from outside.
    pub settings: Settings,
    /// Reads live objects.
    pub reader: Reader,
    /// Writes objects, while this replica leads.
    pub writer: Writer,
    /// Tells people.
    pub publisher: Publisher,
    /// Tells the time.
    pub clock: Clock,
    /// What is charged to quotas.
    pub bookkeeping: Arc<dyn Bookkeeping>,
    /// Works in tenants' databases.
    pub tenants: Arc<dyn Tenants>,
    /// What is in object stores.
    pub archives: Arc<dyn Archives>,
    /// The number of this leadership.
    pub epoch: i64,
    /// Counts.
    pub metrics: Metrics,
    /// The waits of databases that failed.
    pub database_backoff: Backoff,
    /// The waits of tiers that failed.
    pub tier_backoff: Backoff,
    /// The waits of quotas that failed.
    pub quota_backoff: Backoff,
    /// The waits of object stores of which nothing could be told.
    pub object_store_backoff: Backoff,
    /// When each object store is to be tried again.
    pub probe_times: ProbeTimes,
}

impl Context {
    /// How long an object rests that is to be looked at again at a certain time, and anyway after `at_most`, or a
    /// little earlier so that not all objects come at once.
    pub fn pause(&self, look_again: Option<Timestamp>, at_most: Duration) -> Duration {
        let at_most = at_most.mul_f64(rand::random_range(0.8..1.0));
        let Some(time) = look_again else {
            return at_most;
        };
        let until = Duration::try_from(time.duration_since(self.clock.now())).unwrap_or_default();
        // A moment later, so that the time has come by every clock.
        (until + Duration::from_millis(50)).min(at_most)
    }
}
