//! The patterns of values in requests, and what they say in words. Pure.

/// Names of databases, teams and tiers: [`daap_crds::name::PATTERN`].
pub const NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";

/// Text: tabs and ends of lines, and no other control characters.
pub const TEXT: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]*$";

/// Ids of requests that are kept as they are: letters, digits and '-', '_', '.'.
pub const REQUEST_ID: &str = "^[-_.A-Za-z0-9]+$";

/// A pattern in words.
pub fn in_words(pattern: &str) -> String {
    use daap_crds::{name::NameError, quantity, retention, schedule};
    match pattern {
        NAME => NameError::Characters.to_string(),
        TEXT => "must not contain control characters other than tabs and ends of lines".to_owned(),
        quantity::Cpu::PATTERN => {
            "must be whole cores such as '2', or thousandths such as '500m'".to_owned()
        }
        quantity::Bytes::PATTERN => {
            "must be a whole number with Mi, Gi or Ti, such as '512Mi' or '10Gi'".to_owned()
        }
        retention::PATTERN => {
            "must be days, weeks or months, such as '7d', '4w' or '3m'".to_owned()
        }
        schedule::PATTERN => {
            "must be cron with five fields such as '0 3 * * *', or six with seconds first"
                .to_owned()
        }
        _ => format!("must match {pattern}"),
    }
}

#[cfg(test)]
mod tests {
    /// The attribute macros of poem-openapi take literals only, so the pattern is written a second time.
    #[test]
    fn is_the_pattern_of_the_resources() {
        assert_eq!(super::NAME, daap_crds::name::PATTERN);
    }
}
