use proptest::prelude::*;

use super::*;
use crate::archive::{
    backup::Position,
    segment::{SEGMENT_BYTES, number_at},
};

/// A Cluster's past: where each timeline after the first began, and which base backups there are.
#[derive(Debug, Clone)]
struct Past {
    switches: Vec<u64>,
    backups: Vec<(u64, u64)>,
    lost: BTreeSet<u64>,
    fence: u64,
}

impl Past {
    /// The timeline that wrote the last version of a segment.
    fn timeline(&self, number: u64) -> u32 {
        let later = self.switches.iter().filter(|&&at| number_at(at) <= number);
        1 + u32::try_from(later.count()).unwrap()
    }

    fn segment(&self, number: u64) -> Segment {
        Segment::new(self.timeline(number), number).unwrap()
    }

    fn fence(&self) -> Segment {
        self.segment(self.fence)
    }

    fn catalogue(&self) -> Catalogue {
        let histories = (2..).zip(1..=self.switches.len()).map(|(timeline, count)| {
            let lines = (1..).zip(&self.switches[..count]).map(|(parent, at)| {
                format!(
                    "{parent}\t{:X}/{:X}\tpromoted\n",
                    at >> 32,
                    at & 0xFFFF_FFFF
                )
            });
            let text: String = lines.collect();
            (timeline, History::parse(&text).unwrap())
        });
        Catalogue {
            backups: self
                .backups
                .iter()
                .map(|&(begin, end)| self.backup(begin, end))
                .collect(),
            segments: (0..=self.fence + 3)
                .filter(|number| !self.lost.contains(number))
                .map(|number| self.segment(number))
                .collect(),
            histories: histories.collect(),
        }
    }

    /// A backup taken on the timeline of its first segment; `end` is cut to where that timeline was left.
    fn backup(&self, begin: u64, end: u64) -> BaseBackup {
        let timeline = self.timeline(begin);
        let left = self.switches.get(usize::try_from(timeline).unwrap() - 1);
        let end = left.map_or(end, |&left| end.min(number_at(left)).max(begin));
        let position = |number: u64, offset| Position {
            segment: Segment::new(timeline, number).unwrap(),
            location: number * SEGMENT_BYTES + offset,
        };
        let time = |number: u64| Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
        BaseBackup {
            id: format!("{begin:08}"),
            bytes: 1,
            state: BackupState::Whole(Extent {
                begin: position(begin, 0x28),
                end: position(end, 0x40),
                began_at: time(begin),
                ended_at: time(end),
                system_id: None,
            }),
        }
    }
}

fn past() -> impl Strategy<Value = Past> {
    let switches = proptest::collection::btree_set(1_u64..40, 0..3);
    let backups = proptest::collection::btree_map(0_u64..40, 0_u64..3, 0..4);
    let lost = proptest::collection::btree_set(0_u64..45, 0..4);
    (switches, backups, lost, 0_u64..45, 0..SEGMENT_BYTES).prop_map(
        |(switches, backups, lost, fence, offset)| Past {
            // At the edge of a segment too.
            switches: switches
                .into_iter()
                .map(|number| {
                    number * SEGMENT_BYTES
                        + if offset % 3 == 0 {
                            0
                        } else {
                            0x100 + offset / 2
                        }
                })
                .collect(),
            backups: backups
                .into_iter()
                .map(|(begin, length)| (begin, begin + length))
                .collect(),
            lost,
            fence,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Against a walk that knows the past and not the files.
    #[test]
    fn what_is_proved_is_there(past in past()) {
        let fence = past.fence();
        let catalogue = past.catalogue();
        let whole = |backup: &&BaseBackup| {
            let BackupState::Whole(extent) = &backup.state else { return false };
            let begin = extent.begin.segment.number();
            let end = extent.end.segment;
            // A backup that ended after its timeline was left belongs to no lineage but its own.
            let left = past.switches.get(usize::try_from(end.timeline()).unwrap() - 1);
            let belongs = end.timeline() == fence.timeline()
                || left.is_some_and(|&left| extent.end.location <= left);
            belongs
                && end.number() <= fence.number()
                && (begin..=fence.number()).all(|number| !past.lost.contains(&number))
        };
        let newest = catalogue.backups.iter().rev().find(whole).map(|backup| &backup.id);
        let proof = catalogue.restorable(&fence);
        prop_assert_eq!(proof.as_ref().ok().map(|proof| &proof.backup), newest);
        let oldest = catalogue.backups.iter().find(whole).map(|backup| &backup.id);
        let first = catalogue.oldest_restorable(&fence);
        prop_assert_eq!(first.as_ref().ok().map(|proof| &proof.backup), oldest);
    }

    /// A segment that is told to be missing is: it was lost, and putting it back is progress.
    #[test]
    fn what_is_missing_is_not_there(past in past()) {
        if let Err(Missing::Segment(segment)) = past.catalogue().restorable(&past.fence()) {
            prop_assert!(past.lost.contains(&segment.number()));
            let mut found = past.clone();
            found.lost.remove(&segment.number());
            let next = found.catalogue().restorable(&past.fence());
            prop_assert_ne!(next, Err(Missing::Segment(segment)));
        }
    }

    /// Segments of timelines that lead elsewhere prove nothing.
    #[test]
    fn other_timelines_prove_nothing(past in past(), stray in proptest::collection::vec((5_u32..9, 0_u64..45), 0..9)) {
        let mut catalogue = past.catalogue();
        let before = catalogue.restorable(&past.fence());
        let strays = stray.into_iter().filter_map(|(timeline, number)| Segment::new(timeline, number));
        catalogue.segments.extend(strays);
        prop_assert_eq!(catalogue.restorable(&past.fence()), before);
    }
}

fn plain() -> Past {
    Past {
        switches: vec![],
        backups: vec![(2, 2), (6, 7)],
        lost: BTreeSet::new(),
        fence: 9,
    }
}

fn segment(name: &str) -> Segment {
    name.parse().unwrap()
}

#[test]
fn the_newest_whole_backup_is_taken() {
    let past = plain();
    let proof = past.catalogue().restorable(&past.fence()).unwrap();
    assert_eq!(
        (proof.backup.as_str(), proof.begin.number()),
        ("00000006", 6)
    );
    let proof = past.catalogue().oldest_restorable(&past.fence()).unwrap();
    assert_eq!(proof.backup, "00000002");
}

#[test]
fn a_backup_that_is_not_done_is_none() {
    let mut catalogue = plain().catalogue();
    catalogue.backups[1].state = BackupState::Unusable("its status is FAILED".to_owned());
    let proof = catalogue.restorable(&plain().fence()).unwrap();
    assert_eq!(proof.backup, "00000002");
    catalogue.backups.clear();
    let fence = plain().fence();
    assert_eq!(catalogue.restorable(&fence), Err(Missing::Backup(fence)));
}

#[test]
fn a_backup_that_ends_after_the_fence_is_none() {
    let catalogue = plain().catalogue();
    let fence = segment("000000010000000000000006");
    assert_eq!(catalogue.restorable(&fence).unwrap().backup, "00000002");
}

#[test]
fn the_first_gap_is_named() {
    let past = Past {
        lost: BTreeSet::from([8, 9]),
        ..plain()
    };
    let gap = past.catalogue().restorable(&past.fence()).unwrap_err();
    assert_eq!(
        gap.to_string(),
        "the segment 000000010000000000000008 of the write-ahead log is missing"
    );
}

#[test]
fn the_segment_in_which_a_timeline_was_left_is_needed_of_the_new_one() {
    let past = Past {
        switches: vec![8 * SEGMENT_BYTES + 0x60],
        ..plain()
    };
    let mut catalogue = past.catalogue();
    assert!(catalogue.restorable(&past.fence()).is_ok());
    let copied = segment("000000020000000000000008");
    assert!(catalogue.segments.remove(&copied));
    catalogue
        .segments
        .insert(segment("000000010000000000000008"));
    assert_eq!(
        catalogue.restorable(&past.fence()),
        Err(Missing::Segment(copied))
    );
}

#[test]
fn without_its_history_a_timeline_leads_nowhere() {
    let past = Past {
        switches: vec![8 * SEGMENT_BYTES],
        ..plain()
    };
    let mut catalogue = past.catalogue();
    catalogue.histories.clear();
    assert_eq!(
        catalogue.restorable(&past.fence()),
        Err(Missing::History(2))
    );
    // Nor does a fence before its timeline began.
    let catalogue = past.catalogue();
    let fence = segment("000000020000000000000007");
    assert_eq!(catalogue.restorable(&fence), Err(Missing::History(2)));
}

#[test]
fn a_backup_of_an_abandoned_end_leads_nowhere() {
    // It ended on timeline 1 after timeline 2 had left that.
    let mut catalogue = Past {
        switches: vec![6 * SEGMENT_BYTES + 0x20],
        backups: vec![],
        ..plain()
    }
    .catalogue();
    catalogue.backups = plain().catalogue().backups;
    let fence = segment("000000020000000000000009");
    assert_eq!(catalogue.restorable(&fence).unwrap().backup, "00000002");
}
