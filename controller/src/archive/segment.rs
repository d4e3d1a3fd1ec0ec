//! The names of segments of write-ahead log. Pure.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// The size of a segment. PostgreSQL lets it be chosen when a Cluster is made; DAAP does not choose.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// How many segments share the middle part of their names.
const SEGMENTS_PER_LOG: u64 = 0x1_0000_0000 / SEGMENT_BYTES;
/// The extensions that Barman gives to files it compresses.
const COMPRESSIONS: [&str; 7] = ["gz", "bz2", "xz", "lz4", "zst", "snappy", "zlib"];

/// A segment of write-ahead log: 16 MiB of one timeline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    timeline: u32,
    number: u64,
}

/// Why a text names no segment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' does not name a segment of write-ahead log")]
pub struct SegmentError(String);

impl Segment {
    /// The segment of a timeline that has this number, counted from the beginning of the Cluster.
    pub fn new(timeline: u32, number: u64) -> Option<Self> {
        let is_valid = timeline > 0 && number / SEGMENTS_PER_LOG <= u64::from(u32::MAX);
        is_valid.then_some(Self { timeline, number })
    }

    /// The segment that a stored file holds, if it holds a whole one.
    pub fn of_file(name: &str) -> Option<Self> {
        uncompressed(name).parse().ok()
    }

    /// Its timeline.
    pub const fn timeline(self) -> u32 {
        self.timeline
    }

    /// Its number, counted from the beginning of the Cluster whatever the timeline.
    pub const fn number(self) -> u64 {
        self.number
    }

    /// The next segment of the timeline; nothing after the last one that can be named.
    pub fn next(self) -> Option<Self> {
        Self::new(self.timeline, self.number.checked_add(1)?)
    }

    /// The directory it is stored in: its timeline and log.
    pub fn directory(self) -> String {
        let log = self.number / SEGMENTS_PER_LOG;
        format!("{:08X}{log:08X}", self.timeline)
    }
}

/// The number of the segment that a location in the write-ahead log is in.
pub const fn number_at(location: u64) -> u64 {
    location / SEGMENT_BYTES
}

/// A location in the write-ahead log as PostgreSQL writes it: `16/B374D848`.
pub fn parse_location(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |text: &str| {
        let is_hexadecimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hexadecimal
            .then(|| u32::from_str_radix(text, 16).ok())
            .flatten()
    };
    Some(u64::from(part(high)?) << 32 | u64::from(part(low)?))
}

/// The name of a file before it was compressed.
pub fn uncompressed(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((before, extension)) if COMPRESSIONS.contains(&extension) => before,
        _ => name,
    }
}

impl FromStr for Segment {
    type Err = SegmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = text.len() == 24
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
        let parsed = is_name.then(|| {
            let part = |range| u32::from_str_radix(text.get(range)?, 16).ok();
            let (timeline, log, segment) = (part(0..8)?, part(8..16)?, part(16..24)?);
            let number = u64::from(log) * SEGMENTS_PER_LOG + u64::from(segment);
            (u64::from(segment) < SEGMENTS_PER_LOG).then(|| Self::new(timeline, number))?
        });
        parsed
            .flatten()
            .ok_or_else(|| SegmentError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = self.number % SEGMENTS_PER_LOG;
        write!(formatter, "{}{segment:08X}", self.directory())
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        let segment: Segment = "0000000200000001000000FF".parse().unwrap();
        assert_eq!((segment.timeline(), segment.number()), (2, 511));
        assert_eq!(segment.directory(), "0000000200000001");
        assert_eq!(
            segment.next().unwrap().to_string(),
            "000000020000000200000000"
        );
        let last: Segment = "00000001FFFFFFFF000000FF".parse().unwrap();
        assert_eq!(last.next(), None);
        let wrong = [
            "",
            "00000002000000010000000",
            "0000000200000001000000FFF",
            "000000020000000100000100",
            "000000000000000100000001",
            "00000002000000010000000g",
            "0000000200000001000000ff",
            "+00000020000000100000001",
            "00000002.history",
        ];
        for name in wrong {
            assert!(name.parse::<Segment>().is_err(), "{name}");
        }
    }

    #[test]
    fn files() {
        let name = "000000010000000000000003";
        let segment = name.parse().ok();
        for file in [name, &format!("{name}.gz"), &format!("{name}.lz4")] {
            assert_eq!(Segment::of_file(file), segment, "{file}");
        }
        // A part of a segment, the label of a backup, an upload that has another name until it is complete.
        for extension in [
            "partial",
            "partial.gz",
            "00000028.backup",
            "00000028.backup.gz",
            "gz.tmp",
        ] {
            assert_eq!(Segment::of_file(&format!("{name}.{extension}")), None);
        }
    }

    #[test]
    fn locations() {
        assert_eq!(parse_location("16/B374D848"), Some(0x16_B374_D848));
        assert_eq!(number_at(0x1_0000_0000), 256);
        for wrong in ["", "/", "1/", "/1", "1/100000000", "1/+1", "x/1"] {
            assert_eq!(parse_location(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn names_round_trip_and_keep_the_order(timeline in 1..=u32::MAX, number in 0..(1_u64 << 40) - 1) {
            let segment = Segment::new(timeline, number).unwrap();
            let next = segment.next().unwrap();
            prop_assert_eq!(segment.to_string().parse::<Segment>().unwrap(), segment);
            prop_assert!(segment < next && segment.to_string() < next.to_string());
        }
    }
}
