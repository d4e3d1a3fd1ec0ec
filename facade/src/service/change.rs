//! How a resource is changed that others may write at the same moment. Pure.

use uuid::Uuid;

use crate::domain::{entity_tag::EntityTags, failure::Failure};

/// How often a change is tried on what moved meanwhile. The controller reports within moments of a change.
pub const TRIES: usize = 5;

/// How a change is to be done.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The audit row that says so, already committed.
    pub intent: Uuid,
    /// The states that the change is meant for. Absent: any.
    pub if_match: Option<EntityTags>,
    /// Whether only to try it out: all checks, and no effect.
    pub dry_run: bool,
}

/// `what` moved each time between the look at it and the write.
pub fn restless(what: &str) -> Failure {
    Failure::unavailable(
        &format!("The {what}, which others are changing at the moment,"),
        "it moved at each try",
    )
}
