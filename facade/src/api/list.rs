//! Long lists: the parameters of a slice. Pure.

use poem_openapi::param::Query;

use crate::{domain::page::DEFAULT_LIMIT, service::slice::Ask};

/// How many entries a slice has when nobody says.
pub fn default_limit() -> u32 {
    u32::try_from(DEFAULT_LIMIT).unwrap_or(u32::MAX)
}

/// The slice that is asked for.
pub fn ask<F>(filter: F, limit: Query<u32>, cursor: Query<Option<String>>) -> Ask<F> {
    Ask {
        filter,
        limit: usize::try_from(limit.0).ok(),
        cursor: cursor.0,
    }
}
