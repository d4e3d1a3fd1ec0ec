//! How old the record of the cluster is that an answer is made from: `Daap-Stale-Seconds`.

use crate::{domain::failure::Failure, service::Service};

/// For how many seconds the cluster was not heard, when a reader must know.
///
/// # Errors
/// When the cluster was never heard, so that there is nothing to answer from.
pub fn stale_seconds(service: &Service) -> Result<Option<u64>, Failure> {
    Ok(service.staleness()?.map(|age| age.as_secs()))
}
