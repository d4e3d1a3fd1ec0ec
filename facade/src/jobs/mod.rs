//! What the facade does without being asked, for as long as it runs.
//!
//! | module | subject |
//! |---|---|
//! | [`freshness`] | reads how fresh that record is |
//! | [`mirror`] | keeps the record of the cluster in the metadata database |
//! | [`sealing`] | chains the rows of the audit log and anchors the chain |
//! | [`upkeep`] | interrupted changes, months of the audit log, what was counted in memory |

pub mod freshness;
pub mod mirror;
pub mod sealing;
pub mod upkeep;
