//! What the facade does without being asked, for as long as it runs.
//!
//! | module | subject |
//! |---|---|
//! | [`freshness`] | reads how fresh that record is |
//! | [`mirror`] | keeps the record of the cluster in the metadata database |

pub mod freshness;
pub mod mirror;
