//! What an archive holds, and whether that is enough to restore. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use thiserror::Error;

use super::{
    backup::{BackupState, BaseBackup, Extent},
    history::{History, Lineage},
    segment::Segment,
};

/// What an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The base backups, oldest first.
    pub backups: Vec<BaseBackup>,
    /// The segments of write-ahead log.
    pub segments: BTreeSet<Segment>,
    /// The histories of timelines, as far as they can be read.
    pub histories: BTreeMap<u32, History>,
}

/// That a fence can be restored: every byte from the beginning of a base backup up to it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The id of the base backup.
    pub backup: String,
    /// When the base backup ended. What was committed before cannot be restored from it.
    pub ended_at: Timestamp,
    /// The first segment that is replayed.
    pub begin: Segment,
    /// The last one.
    pub fence: Segment,
}

/// Why a fence cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Missing {
    /// There is no base backup that leads to it.
    #[error("no complete base backup leads up to {0}")]
    Backup(Segment),
    /// A gap in the write-ahead log.
    #[error("the segment {0} of the write-ahead log is missing")]
    Segment(Segment),
    /// The file that tells where the fence's timeline comes from is missing or cannot be read.
    #[error("the history of timeline {0} is missing or cannot be read")]
    History(u32),
}

impl Catalogue {
    /// The newest base backup that leads up to a fence without a gap.
    ///
    /// # Errors
    /// What is missing after the newest base backup, if none does.
    pub fn restorable(&self, fence: &Segment) -> Result<Proof, Missing> {
        self.proofs(*fence, self.backups.iter().rev())
    }

    /// The oldest base backup that leads up to a fence without a gap: from its end on every instant can be restored.
    ///
    /// # Errors
    /// What is missing after the oldest base backup, if none does.
    pub fn oldest_restorable(&self, fence: &Segment) -> Result<Proof, Missing> {
        self.proofs(*fence, self.backups.iter())
    }

    /// The first proof that one of these backups gives, or why the first of them that is usable gives none.
    fn proofs<'a>(
        &self,
        fence: Segment,
        backups: impl Iterator<Item = &'a BaseBackup>,
    ) -> Result<Proof, Missing> {
        let lineage = self.lineage(fence)?;
        let mut first_gap = None;
        for backup in backups {
            let BackupState::Whole(extent) = &backup.state else {
                continue;
            };
            if !leads_to(extent, fence, &lineage) {
                continue;
            }
            match self.first_gap(extent.begin.segment, fence, &lineage) {
                None => {
                    return Ok(Proof {
                        backup: backup.id.clone(),
                        ended_at: extent.ended_at,
                        begin: extent.begin.segment,
                        fence,
                    });
                }
                Some(gap) => first_gap = first_gap.or(Some(gap)),
            }
        }
        Err(first_gap.map_or(Missing::Backup(fence), Missing::Segment))
    }

    /// The first segment between two that is not there.
    fn first_gap(&self, begin: Segment, fence: Segment, lineage: &Lineage) -> Option<Segment> {
        (begin.number()..=fence.number())
            .map(|number| lineage.segment(number).unwrap_or(fence))
            .find(|segment| !self.segments.contains(segment))
    }

    /// The timelines that lead to a fence.
    fn lineage(&self, fence: Segment) -> Result<Lineage, Missing> {
        let timeline = fence.timeline();
        let lineage = if timeline == 1 {
            Some(Lineage::first())
        } else {
            let history = self.histories.get(&timeline);
            history.and_then(|history| Lineage::of(timeline, history))
        };
        // A fence that lies before its own timeline began contradicts the history.
        lineage
            .filter(|lineage| lineage.segment(fence.number()) == Some(fence))
            .ok_or(Missing::History(timeline))
    }
}

/// Whether a backup was complete before the fence, on a timeline that leads to it.
fn leads_to(extent: &Extent, fence: Segment, lineage: &Lineage) -> bool {
    let end = extent.end;
    end.segment.number() <= fence.number() && lineage.contains(end.segment.timeline(), end.location)
}

#[cfg(test)]
mod tests;
