//! What every run has at hand.

use crate::{
    backoff::Backoff,
    clock::Clock,
    k8s::{apply::Writer, client::Reader, events::Publisher},
    metrics::Metrics,
    settings::Settings,
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
    /// Counts.
    pub metrics: Metrics,
    /// The waits of databases that failed.
    pub database_backoff: Backoff,
    /// The waits of tiers that failed.
    pub tier_backoff: Backoff,
}
