//! Long lists are asked for and answered in slices. Pure.

use crate::domain::{
    failure::Failure,
    page::{self, Page},
};

/// Which slice of which things is asked for, as it was sent.
#[derive(Debug, Clone, Default)]
pub struct Ask<F> {
    /// Which things.
    pub filter: F,
    /// How many at once.
    pub limit: Option<usize>,
    /// Where the slice before ended.
    pub cursor: Option<String>,
}

/// A slice of a list, and the cursor for the next.
#[derive(Debug)]
pub struct Slice<T> {
    /// The slice.
    pub items: Vec<T>,
    /// The cursor, when there are more.
    pub next_cursor: Option<String>,
}

impl<F> Ask<F> {
    /// How many are to be answered.
    ///
    /// # Errors
    /// When it is more, or less, than can be.
    pub fn limit(&self) -> Result<usize, Failure> {
        let limit = self.limit.unwrap_or(page::DEFAULT_LIMIT);
        if (1..=page::MAX_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        Err(Failure::parameter(
            "limit",
            format!("must be between 1 and {}", page::MAX_LIMIT),
        ))
    }

    /// The place after which the slice begins, as `decode` reads it from the cursor.
    ///
    /// # Errors
    /// When the cursor is none of this list with these filters.
    pub fn place<P>(&self, decode: impl FnOnce(&str) -> Option<P>) -> Result<Option<P>, Failure> {
        let foreign = || {
            Failure::parameter(
                "cursor",
                "is not a cursor of this list with these filters; begin again without one",
            )
        };
        let cursor = self.cursor.as_deref();
        cursor
            .map(|cursor| decode(cursor).ok_or_else(foreign))
            .transpose()
    }
}

impl<T> Slice<T> {
    /// Of a list in which there is nothing for the one who asks.
    pub const fn empty() -> Self {
        Self {
            items: Vec::new(),
            next_cursor: None,
        }
    }

    /// Of the list that `fingerprint` describes.
    pub fn of(page: Page<T>, fingerprint: &str) -> Self {
        let Page { items, next } = page;
        Self {
            items,
            next_cursor: next.map(|position| page::encode(position, fingerprint)),
        }
    }
}
