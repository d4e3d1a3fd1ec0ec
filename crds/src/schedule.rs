//! Cron schedules of backups. Pure.
//!
//! CloudNativePG wants six fields, seconds first; people write five. Five-field schedules get second `0`.

use std::str::FromStr;

use croner::{
    Cron,
    parser::{CronParser, Seconds},
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use thiserror::Error;

/// Five or six fields of the characters that a cron field may have.
pub const PATTERN: &str = r"^([0-9A-Za-z*/,?-]+ ){4,5}[0-9A-Za-z*/,?-]+$";

/// Not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{text}' is not a cron schedule ({cause}): write five fields such as '0 3 * * *', or six with seconds first"
)]
pub struct ScheduleError {
    text: String,
    cause: String,
}

/// A schedule in UTC.
#[derive(Debug, Clone)]
pub struct Schedule {
    six_fields: String,
    cron: Cron,
}

impl Schedule {
    /// The six fields that CloudNativePG wants.
    pub fn six_fields(&self) -> &str {
        &self.six_fields
    }

    /// The longest pause between two of the next runs after `from`, over at most `runs` runs; `None` when the
    /// schedule does not run twice.
    pub fn longest_interval(&self, from: Timestamp, runs: usize) -> Option<SignedDuration> {
        let times: Vec<_> = self
            .cron
            .iter_from(from.to_zoned(TimeZone::UTC), croner::Direction::Forward)
            .take(runs)
            .collect();
        times
            .windows(2)
            .map(|pair| pair[1].timestamp().duration_since(pair[0].timestamp()))
            .max()
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |cause: String| ScheduleError {
            text: text.to_owned(),
            cause,
        };
        let fields: Vec<_> = text.split_ascii_whitespace().collect();
        let six_fields = match fields.len() {
            5 => format!("0 {}", fields.join(" ")),
            6 => fields.join(" "),
            count => return Err(error(format!("{count} fields"))),
        };
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .build()
            .parse(&six_fields)
            .map_err(|cause| error(cause.to_string()))?;
        Ok(Self { six_fields, cron })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_get_seconds() {
        assert_eq!(
            "0 3 * * *".parse::<Schedule>().unwrap().six_fields(),
            "0 0 3 * * *"
        );
        assert_eq!(
            "5 0 3 * * 1".parse::<Schedule>().unwrap().six_fields(),
            "5 0 3 * * 1"
        );
    }

    #[test]
    fn rejects_what_never_was_a_schedule() {
        for bad in [
            "",
            "* * *",
            "61 * * * *",
            "0 25 * * *",
            "@daily",
            "a b c d e",
            "0 0 0 0 0 0 0",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn knows_its_longest_interval() {
        let start = Timestamp::from_second(1_700_000_000).unwrap();
        let interval = |text: &str| {
            text.parse::<Schedule>()
                .unwrap()
                .longest_interval(start, 60)
        };
        assert_eq!(interval("0 3 * * *"), Some(SignedDuration::from_hours(24)));
        assert_eq!(
            interval("0 3 * * 1,3"),
            Some(SignedDuration::from_hours(5 * 24))
        );
    }
}
