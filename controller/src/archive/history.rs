//! The history of a timeline: which timelines it grew out of, and where. Pure: the text of a `.history` file in.

use super::segment::{Segment, number_at, parse_location};

/// Where a timeline comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History(Vec<Ancestor>);

/// A timeline that another one grew out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ancestor {
    timeline: u32,
    /// The location at which it was left.
    end: u64,
}

impl History {
    /// The history that a text tells, oldest timeline first; nothing, when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        let ancestors: Option<Vec<_>> = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let mut words = line.split_whitespace();
                Some(Ancestor {
                    timeline: words.next()?.parse().ok()?,
                    end: parse_location(words.next()?)?,
                })
            })
            .collect();
        let ancestors = ancestors?;
        let in_order = ancestors
            .windows(2)
            .all(|pair| pair[0].timeline < pair[1].timeline && pair[0].end <= pair[1].end);
        (in_order && !ancestors.is_empty()).then_some(Self(ancestors))
    }
}

/// The timelines that lead to one, the newest last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage(Vec<Stretch>);

/// The part of a timeline that belongs to a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    timeline: u32,
    begin: u64,
    end: u64,
}

impl Lineage {
    /// The lineage of the first timeline of a Cluster, which has no history.
    pub fn first() -> Self {
        Self(vec![Stretch {
            timeline: 1,
            begin: 0,
            end: u64::MAX,
        }])
    }

    /// The lineage of a timeline with a history; nothing, when the history is not that timeline's.
    pub fn of(timeline: u32, history: &History) -> Option<Self> {
        let mut begin = 0;
        let mut stretches = Vec::new();
        for ancestor in &history.0 {
            stretches.push(Stretch {
                timeline: ancestor.timeline,
                begin,
                end: ancestor.end,
            });
            begin = ancestor.end;
        }
        let is_newest = history
            .0
            .iter()
            .all(|ancestor| ancestor.timeline < timeline);
        stretches.push(Stretch {
            timeline,
            begin,
            end: u64::MAX,
        });
        is_newest.then_some(Self(stretches))
    }

    /// Whether what happened on a timeline up to a location is part of the lineage.
    pub fn contains(&self, timeline: u32, location: u64) -> bool {
        self.0
            .iter()
            .any(|stretch| stretch.timeline == timeline && location <= stretch.end)
    }

    /// The segment of this number that PostgreSQL replays.
    ///
    /// It is of the newest timeline that reaches into it: a new timeline begins with a copy of the segment in which the
    /// old one was left, up to there.
    pub fn segment(&self, number: u64) -> Option<Segment> {
        let reaching = |stretch: &&Stretch| number_at(stretch.begin) <= number;
        let newest = self.0.iter().rev().find(reaching)?;
        Segment::new(newest.timeline, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories() {
        let text = "1\t0/5000060\tno recovery target specified\n\n2\t0/9000000\tbefore # 2\n";
        let history = History::parse(text).unwrap();
        let lineage = Lineage::of(3, &history).unwrap();
        let timelines =
            [0, 4, 5, 8, 9, 100].map(|number| lineage.segment(number).unwrap().timeline());
        assert_eq!(timelines, [1, 1, 2, 2, 3, 3]);
        assert!(lineage.contains(1, 0x500_0060) && !lineage.contains(1, 0x500_0061));
        assert!(lineage.contains(3, u64::MAX) && !lineage.contains(4, 0));
        assert_eq!(
            Lineage::of(2, &history),
            None,
            "the history of a newer timeline"
        );
    }

    #[test]
    fn texts_that_are_none() {
        for text in [
            "",
            "# nothing",
            "one\t0/1\tx",
            "1",
            "1\tx",
            "2\t0/1\tx\n1\t0/2\tx",
            "1\t0/2\tx\n2\t0/1\tx",
        ] {
            assert_eq!(History::parse(text), None, "{text:?}");
        }
    }
}
