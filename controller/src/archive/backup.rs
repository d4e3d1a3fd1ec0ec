//! A base backup as its description tells of it. Pure: the text of `backup.info` in, [`BackupState`] out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::segment::{SEGMENT_BYTES, Segment, parse_location};

/// A base backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseBackup {
    /// Its id: the time at which it began, as Barman writes it.
    pub id: String,
    /// The size of its objects, without the description.
    pub bytes: u64,
    /// Whether it can be restored from.
    pub state: BackupState,
}

/// Whether a base backup can be restored from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupState {
    /// It is whole.
    Whole(Extent),
    /// It is under way, was given up, or cannot be understood: why, in words.
    Unusable(String),
}

/// What a base backup spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Where replay begins.
    pub begin: Position,
    /// From where on the data are consistent.
    pub end: Position,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended. Before that nothing can be restored from it.
    pub ended_at: Timestamp,
    /// The identity of the PostgreSQL cluster it is a copy of.
    pub system_id: Option<String>,
}

/// A place in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The segment.
    pub segment: Segment,
    /// The location.
    pub location: u64,
}

impl BackupState {
    /// What a description says.
    pub fn parse(description: &str) -> Self {
        let fields: BTreeMap<_, _> = description
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(_, value)| *value != "None")
            .collect();
        match fields.get("status") {
            Some(&"DONE") => {}
            Some(status) => return Self::Unusable(format!("its status is {}", shown(status))),
            None => return Self::Unusable("it has no status".to_owned()),
        }
        let size = fields.get("xlog_segment_size");
        if size.is_some_and(|size| size.parse() != Ok(SEGMENT_BYTES)) {
            return Self::Unusable("its segments are not of 16 MiB".to_owned());
        }
        match extent(&fields) {
            Ok(extent) => Self::Whole(extent),
            Err(field) => Self::Unusable(format!("its {field} cannot be understood")),
        }
    }
}

/// What a whole backup spans, or the name of the field that does not tell.
fn extent(fields: &BTreeMap<&str, &str>) -> Result<Extent, &'static str> {
    let segment = |name: &'static str| {
        fields
            .get(name)
            .and_then(|text| text.parse().ok())
            .ok_or(name)
    };
    let location = |name: &'static str| {
        fields
            .get(name)
            .and_then(|text| parse_location(text))
            .ok_or(name)
    };
    let time = |name: &'static str| {
        fields
            .get(name)
            .and_then(|text| text.parse().ok())
            .ok_or(name)
    };
    let position = |wal, xlog| {
        Ok::<_, &'static str>(Position {
            segment: segment(wal)?,
            location: location(xlog)?,
        })
    };
    let extent = Extent {
        begin: position("begin_wal", "begin_xlog")?,
        end: position("end_wal", "end_xlog")?,
        began_at: time("begin_time")?,
        ended_at: time("end_time")?,
        system_id: fields.get("systemid").map(|&id| id.to_owned()),
    };
    let (begin, end) = (extent.begin.segment, extent.end.segment);
    if begin.timeline() != end.timeline() || begin > end {
        return Err("end_wal");
    }
    Ok(extent)
}

/// A word of someone else, made short.
fn shown(word: &str) -> String {
    word.chars()
        .filter(|character| character.is_ascii_alphanumeric() || *character == '_')
        .take(32)
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What Barman 3.19 writes, shortened.
    pub const DESCRIPTION: &str = "\
backup_label=None
begin_offset=40
begin_time=2026-11-20 02:14:00.123456+00:00
begin_wal=000000010000000000000003
begin_xlog=0/3000028
compression=gzip
end_offset=288
end_time=2026-11-20 02:15:30.654321+00:00
end_wal=000000010000000000000003
end_xlog=0/3000120
error=None
mode=concurrent
server_name=cloud
status=DONE
systemid=7311234567890123456
timeline=1
version=170006
xlog_segment_size=16777216
";

    #[test]
    fn a_whole_backup() {
        let BackupState::Whole(extent) = BackupState::parse(DESCRIPTION) else {
            panic!("it is whole")
        };
        assert_eq!(extent.begin.segment.to_string(), "000000010000000000000003");
        assert_eq!(extent.end.location, 0x300_0120);
        assert_eq!(extent.ended_at.to_string(), "2026-11-20T02:15:30.654321Z");
        assert_eq!(extent.system_id.as_deref(), Some("7311234567890123456"));
    }

    #[test]
    fn backups_that_cannot_be_used() {
        let cases = [
            ("status=DONE", "status=STARTED", "its status is STARTED"),
            ("status=DONE", "status=FAILED", "its status is FAILED"),
            ("status=DONE\n", "", "it has no status"),
            ("16777216", "67108864", "its segments are not of 16 MiB"),
            (
                "end_wal=000000010000000000000003",
                "end_wal=None",
                "its end_wal cannot be understood",
            ),
            (
                "end_wal=000000010000000000000003",
                "end_wal=000000010000000000000002",
                "its end_wal cannot be understood",
            ),
            (
                "end_wal=000000010000000000000003",
                "end_wal=000000020000000000000003",
                "its end_wal cannot be understood",
            ),
            (
                "0/3000028",
                "3000028",
                "its begin_xlog cannot be understood",
            ),
            (
                "2026-11-20 02:15",
                "Friday 02:15",
                "its end_time cannot be understood",
            ),
        ];
        for (from, to, why) in cases {
            assert!(DESCRIPTION.contains(from), "{from}");
            let state = BackupState::parse(&DESCRIPTION.replace(from, to));
            assert_eq!(state, BackupState::Unusable(why.to_owned()), "{to}");
        }
        assert!(matches!(
            BackupState::parse("\u{0}\u{1}"),
            BackupState::Unusable(_)
        ));
    }
}
