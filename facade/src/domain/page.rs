//! Slices of long lists: a position after which the next slice begins. Pure.
//!
//! The order is that of creation, and by id among those of one instant, so that no entry is skipped or shown twice
//! whatever is created or removed between two slices.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::hexadecimal;

/// How many entries a slice has when nobody says.
pub const DEFAULT_LIMIT: usize = 50;
/// How many entries a slice can have.
pub const MAX_LIMIT: usize = 200;

const TIME_BYTES: usize = 8;
const ID_BYTES: usize = 16;
const FINGERPRINT_BYTES: usize = 8;

/// Where an entry stands in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// When it was created.
    pub created_at: Timestamp,
    /// Its id.
    pub id: Uuid,
}

/// A slice of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The last entry's position, when there are more.
    pub next: Option<Position>,
}

impl<T> Page<T> {
    /// The first `limit` entries after a position, of entries in any order.
    pub fn cut(
        mut entries: Vec<T>,
        position: impl Fn(&T) -> Position,
        after: Option<Position>,
        limit: usize,
    ) -> Self {
        entries.retain(|entry| after.is_none_or(|after| position(entry) > after));
        entries.sort_by_key(&position);
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().map(position).filter(|_| more);
        Self {
            items: entries,
            next,
        }
    }
}

/// The cursor for a position in the list that `filters` describe.
pub fn encode(position: Position, filters: &str) -> String {
    let mut bytes = Vec::with_capacity(TIME_BYTES + ID_BYTES);
    bytes.extend(position.created_at.as_microsecond().to_be_bytes());
    bytes.extend(position.id.as_bytes());
    seal(&bytes, filters)
}

/// The position of a cursor; `None` when it is none, or belongs to other filters.
pub fn decode(cursor: &str, filters: &str) -> Option<Position> {
    let bytes: [u8; TIME_BYTES + ID_BYTES] = unseal(cursor, filters)?;
    let (time, id) = bytes.split_at(TIME_BYTES);
    Some(Position {
        created_at: Timestamp::from_microsecond(i64::from_be_bytes(time.try_into().ok()?)).ok()?,
        id: Uuid::from_slice(id).ok()?,
    })
}

/// The cursor for an entry's number in the list that `filters` describe.
pub fn encode_number(number: i64, filters: &str) -> String {
    seal(&number.to_be_bytes(), filters)
}

/// The number of a cursor; `None` when it is none, or belongs to other filters.
pub fn decode_number(cursor: &str, filters: &str) -> Option<i64> {
    unseal(cursor, filters).map(i64::from_be_bytes)
}

fn seal(place: &[u8], filters: &str) -> String {
    hexadecimal::encode(&[place, &fingerprint(filters)].concat())
}

fn unseal<const N: usize>(cursor: &str, filters: &str) -> Option<[u8; N]> {
    let bytes = hexadecimal::decode(cursor)?;
    let place = bytes.strip_suffix(&fingerprint(filters))?;
    place.try_into().ok()
}

fn fingerprint(filters: &str) -> [u8; FINGERPRINT_BYTES] {
    let digest: [u8; 32] = Sha256::digest(filters.as_bytes()).into();
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(second: i64, id: u128) -> Position {
        Position {
            created_at: Timestamp::from_second(second).unwrap(),
            id: Uuid::from_u128(id),
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_filters() {
        let cursor = encode(position(7, 9), "tier=dev");
        assert_eq!(decode(&cursor, "tier=dev"), Some(position(7, 9)));
        assert_eq!(decode(&cursor, "tier=standard"), None);
        for bad in ["", "x", &cursor[2..], &cursor.replace('0', "g"), "ä"] {
            assert_eq!(decode(bad, "tier=dev"), None, "{bad}");
        }
    }

    #[test]
    fn a_number_belongs_to_its_filters_too() {
        let cursor = encode_number(7, "history a");
        assert_eq!(decode_number(&cursor, "history a"), Some(7));
        assert_eq!(decode_number(&cursor, "history b"), None);
        assert_eq!(decode(&cursor, "history a"), None);
    }

    /// Walking with any limit shows every entry once, in order, also when several were created in one instant.
    #[test]
    fn a_walk_shows_every_entry_once() {
        let entries: Vec<_> = (0..23_u128)
            .rev()
            .map(|id| position((id / 5) as i64, id * 7 % 23))
            .collect();
        let mut expected = entries.clone();
        expected.sort();
        for limit in 1..30 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = Page::cut(entries.clone(), |entry| *entry, after, limit);
                seen.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "limit {limit}");
        }
    }
}
