//! The chain that makes every later change of the audit log show, and the one way of checking it. Pure.
//!
//! Each sealed row has a digest of its content, and a digest over that, its place, and the digest before it. The last
//! of them, the head, is kept outside the database as the [`Anchor`]; so changing, adding, removing or exchanging rows
//! breaks the chain at a row that can be named, and so does removing the last ones.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::audit::Entry;

/// A SHA-256.
pub type Sum = [u8; 32];

/// A place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number, from 1, without gaps. 0 is the place before the first.
    pub sequence: i64,
    /// The row that stands there.
    pub entry_id: i64,
    /// The digest over everything up to here.
    pub digest: Sum,
}

/// A sealed row as the database tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Its place.
    pub link: Link,
    /// When the row was written.
    pub at: Timestamp,
    /// The digest of the row's content.
    pub row_digest: Sum,
}

/// Where the chain begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The last place that is not there any more.
    pub link: Link,
    /// Rows from before this instant may be gone. Absent: none was ever removed.
    pub expired_before: Option<Timestamp>,
}

/// What is kept of the chain outside the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Where the chain begins.
    pub start: Start,
    /// Where it ended.
    pub head: Link,
}

/// Why the chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// The row is gone.
    Missing,
    /// The row is not what it was.
    Changed,
    /// The row was added later.
    Added,
    /// The seal of the row is gone, changed or out of place.
    Unsealed,
    /// The chain up to the row holds, and is not the one that was anchored.
    Replaced,
    /// The row, and all after it up to the anchored one, are gone.
    CutOff,
}

/// The first row at which the chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its place.
    pub sequence: i64,
    /// Its id, as far as it is known.
    pub entry_id: Option<i64>,
    /// Why.
    pub breach: Breach,
}

/// The seal of a row that follows a place.
pub fn seal(before: &Link, entry: &Entry) -> Seal {
    let row_digest = digest_of(entry);
    let sequence = before.sequence + 1;
    Seal {
        link: Link {
            sequence,
            entry_id: entry.id,
            digest: chained(&before.digest, sequence, entry.id, entry.at, &row_digest),
        },
        at: entry.at,
        row_digest,
    }
}

/// The digest of a row's content: of the JSON array of its columns, so that others can compute it too.
fn digest_of(entry: &Entry) -> Sum {
    let mut columns = vec![
        json!(entry.id),
        json!(entry.at.as_microsecond()),
        json!(entry.stage),
        json!(entry.intent),
        json!(entry.request_id),
        json!(entry.key_id),
        json!(entry.team),
        json!(entry.role),
        json!(entry.action),
        json!(entry.resource_kind),
        json!(entry.resource_id),
        json!(entry.outcome),
        json!(entry.status),
        json!(entry.source),
        json!(entry.changed_fields),
        json!(entry.calls),
    ];
    // Rows from before there was this column have the digest that they had.
    columns.extend(entry.receipt_sha256.iter().map(|digest| json!(digest)));
    Sha256::digest(Value::Array(columns).to_string().as_bytes()).into()
}

fn chained(before: &Sum, sequence: i64, entry_id: i64, at: Timestamp, row: &Sum) -> Sum {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(sequence.to_be_bytes());
    hash.update(entry_id.to_be_bytes());
    hash.update(at.as_microsecond().to_be_bytes());
    hash.update(row);
    hash.finalize().into()
}

/// Walks along the chain and stops at the first row that breaks it.
#[derive(Debug)]
pub struct Verifier {
    anchor: Option<Anchor>,
    expired_before: Option<Timestamp>,
    last: Link,
    checked: u64,
    broken: Option<Broken>,
}

impl Verifier {
    /// Begins where the database says that the chain begins. What the anchor says counts more.
    pub fn new(start: Start, anchor: Option<Anchor>) -> Self {
        let trusted = anchor.map_or(start, |anchor| anchor.start);
        let mut verifier = Self {
            anchor,
            expired_before: trusted.expired_before,
            last: start.link,
            checked: 0,
            broken: None,
        };
        let (given, kept) = (start.link, trusted.link);
        if given.sequence > kept.sequence {
            verifier.fail(kept.sequence + 1, None, Breach::Missing);
        } else if given.sequence == kept.sequence && given.digest != kept.digest {
            verifier.fail(kept.sequence + 1, None, Breach::Replaced);
        }
        verifier
    }

    /// The last place that holds.
    pub fn last(&self) -> Link {
        self.last
    }

    /// How many rows hold.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// Whether something does not hold, so that there is nothing more to check.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Checks the next seals against the rows with ids after the last place and up to the last of these seals.
    pub fn check(&mut self, seals: &[Seal], entries: &[Entry]) {
        let mut entries = entries.iter().peekable();
        for seal in seals {
            if self.is_broken() {
                return;
            }
            let (expected, id) = (self.last.sequence + 1, seal.link.entry_id);
            if seal.link.sequence != expected || id <= self.last.entry_id {
                return self.fail(expected, None, Breach::Unsealed);
            }
            if let Some(added) = entries.next_if(|entry| entry.id < id) {
                return self.fail(expected, Some(added.id), Breach::Added);
            }
            match entries.next_if(|entry| entry.id == id) {
                Some(entry) if digest_of(entry) == seal.row_digest => {}
                Some(_) => return self.fail(expected, Some(id), Breach::Changed),
                None if self.expired_before.is_some_and(|end| seal.at < end) => {}
                None => return self.fail(expected, Some(id), Breach::Missing),
            }
            if chained(&self.last.digest, expected, id, seal.at, &seal.row_digest)
                != seal.link.digest
            {
                return self.fail(expected, Some(id), Breach::Unsealed);
            }
            let replaced = |anchor: Anchor| {
                anchor.head.sequence == expected && anchor.head.digest != seal.link.digest
            };
            if self.anchor.is_some_and(replaced) {
                return self.fail(expected, Some(id), Breach::Replaced);
            }
            self.last = seal.link;
            self.checked += 1;
        }
    }

    /// The first row that breaks the chain, after all seals were checked.
    pub fn finish(mut self) -> Option<Broken> {
        if let Some(anchor) = self.anchor
            && !self.is_broken()
            && anchor.head.sequence > self.last.sequence
        {
            let next = self.last.sequence + 1;
            let id = (anchor.head.sequence == next).then_some(anchor.head.entry_id);
            self.fail(next, id, Breach::CutOff);
        }
        self.broken
    }

    fn fail(&mut self, sequence: i64, entry_id: Option<i64>, breach: Breach) {
        self.broken = Some(Broken {
            sequence,
            entry_id,
            breach,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place before the first.
    const ORIGIN: Link = Link {
        sequence: 0,
        entry_id: 0,
        digest: [0; 32],
    };

    fn entry(id: i64) -> Entry {
        Entry {
            id,
            at: Timestamp::from_second(id).unwrap(),
            stage: "outcome".to_owned(),
            intent: None,
            request_id: Some(format!("r{id}")),
            key_id: None,
            team: Some("shop".to_owned()),
            role: None,
            action: "listTiers".to_owned(),
            resource_kind: "tier".to_owned(),
            resource_id: None,
            outcome: Some("succeeded".to_owned()),
            status: Some(200),
            source: "::1".to_owned(),
            changed_fields: Vec::new(),
            calls: 1,
            receipt_sha256: None,
        }
    }

    /// A log with gaps between its ids, sealed and anchored.
    struct Log {
        start: Start,
        entries: Vec<Entry>,
        seals: Vec<Seal>,
        anchor: Anchor,
    }

    impl Log {
        fn new() -> Self {
            let entries: Vec<_> = [2, 3, 7, 8, 9].map(entry).into();
            let mut head = ORIGIN;
            let seals = entries
                .iter()
                .map(|entry| {
                    let sealed = seal(&head, entry);
                    head = sealed.link;
                    sealed
                })
                .collect();
            let start = Start {
                link: ORIGIN,
                expired_before: None,
            };
            let anchor = Anchor { start, head };
            Self {
                start,
                entries,
                seals,
                anchor,
            }
        }

        /// Seals everything anew, as somebody would who wants to hide something.
        fn reseal(&mut self) {
            let mut head = ORIGIN;
            for (sealed, entry) in self.seals.iter_mut().zip(&self.entries) {
                *sealed = seal(&head, entry);
                head = sealed.link;
            }
        }

        fn verify(&self) -> Option<(i64, Option<i64>, Breach)> {
            let mut verifier = Verifier::new(self.start, Some(self.anchor));
            for seals in self.seals.chunks(2) {
                let (from, to) = (verifier.last().entry_id, seals[seals.len() - 1].link);
                let page: Vec<_> = self
                    .entries
                    .iter()
                    .filter(|entry| entry.id > from && entry.id <= to.entry_id)
                    .cloned()
                    .collect();
                verifier.check(seals, &page);
            }
            let broken = verifier.finish()?;
            Some((broken.sequence, broken.entry_id, broken.breach))
        }
    }

    #[test]
    fn an_untouched_log_holds() {
        assert_eq!(Log::new().verify(), None);
    }

    #[test]
    fn every_change_of_any_row_is_found_and_named() {
        for index in 0..5 {
            let (place, id) = (index as i64 + 1, Log::new().entries[index].id);
            let found = |change: &dyn Fn(&mut Log)| {
                let mut log = Log::new();
                change(&mut log);
                log.verify()
            };
            let changed =
                |change: &dyn Fn(&mut Entry)| found(&|log| change(&mut log.entries[index]));
            let is_changed = Some((place, Some(id), Breach::Changed));
            assert_eq!(changed(&|row| row.status = Some(500)), is_changed);
            assert_eq!(changed(&|row| row.team = None), is_changed);
            assert_eq!(changed(&|row| row.at = Timestamp::UNIX_EPOCH), is_changed);
            assert_eq!(
                changed(&|row| row.changed_fields = vec!["x".to_owned()]),
                is_changed
            );

            let deleted = found(&|log| {
                log.entries.remove(index);
            });
            assert_eq!(deleted, Some((place, Some(id), Breach::Missing)));
            let unsealed = found(&|log| {
                log.seals.remove(index);
            })
            .unwrap();
            assert_eq!(unsealed.0, place, "{unsealed:?}");
            let gone = found(&|log| {
                log.seals.remove(index);
                log.entries.remove(index);
            });
            assert_eq!(gone.unwrap().0, place);
            let resealed = found(&|log| {
                log.entries[index].status = Some(500);
                log.seals[index].row_digest = digest_of(&log.entries[index]);
            });
            assert_eq!(resealed, Some((place, Some(id), Breach::Unsealed)));
        }
    }

    #[test]
    fn rows_that_change_places_are_found() {
        let mut log = Log::new();
        (log.entries[1].id, log.entries[2].id) = (7, 3);
        log.entries.swap(1, 2);
        assert_eq!(log.verify(), Some((2, Some(3), Breach::Changed)));
        let mut log = Log::new();
        log.seals.swap(1, 2);
        log.seals[1].link.sequence = 2;
        log.seals[2].link.sequence = 3;
        assert!(log.verify().is_some_and(|broken| broken.0 == 2));
    }

    #[test]
    fn rows_that_are_added_are_found() {
        for id in [1, 5] {
            let mut log = Log::new();
            log.entries.push(entry(id));
            log.entries.sort_by_key(|entry| entry.id);
            let broken = log.verify().unwrap();
            assert_eq!((broken.1, broken.2), (Some(id), Breach::Added));
        }
    }

    #[test]
    fn a_tail_that_is_cut_off_is_found() {
        let mut log = Log::new();
        log.entries.pop();
        log.seals.pop();
        assert_eq!(log.verify(), Some((5, Some(9), Breach::CutOff)));
        log.entries.pop();
        log.seals.pop();
        assert_eq!(log.verify(), Some((4, None, Breach::CutOff)));
    }

    #[test]
    fn a_chain_that_was_made_anew_is_not_the_anchored_one() {
        let mut log = Log::new();
        log.entries[0].status = Some(500);
        log.reseal();
        assert_eq!(log.verify(), Some((5, Some(9), Breach::Replaced)));
    }

    #[test]
    fn a_beginning_is_gone_only_when_the_anchor_says_so() {
        let mut log = Log::new();
        log.start.link = log.seals[1].link;
        log.seals.drain(..2);
        log.entries.drain(..2);
        assert_eq!(log.verify(), Some((1, None, Breach::Missing)));
        log.anchor.start.link = log.start.link;
        assert_eq!(log.verify(), None);
        // A straggler of a month that is gone keeps its seal.
        log.entries.remove(0);
        assert_eq!(log.verify(), Some((3, Some(7), Breach::Missing)));
        log.anchor.start.expired_before = Some(Timestamp::from_second(8).unwrap());
        assert_eq!(log.verify(), None);
    }
}
