//! Retention periods such as `30d`, in Barman Cloud's notation. Pure.

use std::{fmt, str::FromStr};

use jiff::{Span, Timestamp, tz::TimeZone};
use thiserror::Error;

/// The pattern that Barman Cloud accepts, bounded.
pub const PATTERN: &str = "^[1-9][0-9]{0,3}[dwm]$";

/// Not a retention period.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a retention period: write days, weeks or months, such as '7d', '4w' or '3m'")]
pub struct RetentionError(String);

/// A period for which backups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    count: u16,
    unit: char,
}

impl Retention {
    /// The period in days; a month counts as 28 days, the shortest there is, so that a promise made from this is kept.
    pub fn least_days(self) -> u32 {
        let days = match self.unit {
            'w' => 7,
            'm' => 28,
            _ => 1,
        };
        u32::from(self.count) * days
    }
}

impl Retention {
    /// When the period is over that begins at `from`: after so many days of the calendar of UTC. Nothing, when the
    /// calendar does not reach so far.
    pub fn end_from(self, from: Timestamp) -> Option<Timestamp> {
        let span = match self.unit {
            'w' => Span::new().try_weeks(self.count),
            'm' => Span::new().try_months(self.count),
            _ => Span::new().try_days(self.count),
        };
        let end = from.to_zoned(TimeZone::UTC).checked_add(span.ok()?).ok()?;
        Some(end.timestamp())
    }
}

impl FromStr for Retention {
    type Err = RetentionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let unit = text.chars().last().filter(|unit| "dwm".contains(*unit))?;
            let digits = &text[..text.len() - 1];
            let plain =
                (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            let count = digits
                .parse()
                .ok()
                .filter(|_| plain && !digits.starts_with('0'))?;
            Some(Self { count, unit })
        };
        parse().ok_or_else(|| RetentionError(text.to_owned()))
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.count, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_by_the_calendar() {
        let from: Timestamp = "2027-01-31T12:00:00Z".parse().unwrap();
        let end = |text: &str| {
            let end = text.parse::<Retention>().unwrap().end_from(from);
            end.unwrap().to_string()
        };
        assert_eq!(end("1d"), "2027-02-01T12:00:00Z");
        assert_eq!(end("2w"), "2027-02-14T12:00:00Z");
        assert_eq!(end("1m"), "2027-02-28T12:00:00Z");
        assert!(
            "9999m"
                .parse::<Retention>()
                .unwrap()
                .end_from(from)
                .is_some()
        );
        assert!(
            "9999m"
                .parse::<Retention>()
                .unwrap()
                .end_from(Timestamp::MAX)
                .is_none()
        );
    }

    #[test]
    fn examples() {
        assert_eq!("30d".parse::<Retention>().unwrap().least_days(), 30);
        assert_eq!("4w".parse::<Retention>().unwrap().least_days(), 28);
        assert_eq!("3m".parse::<Retention>().unwrap().least_days(), 84);
        for bad in ["", "d", "0d", "07d", "7", "7y", "-7d", "12345d", "7ä"] {
            assert!(bad.parse::<Retention>().is_err(), "{bad}");
        }
    }
}
