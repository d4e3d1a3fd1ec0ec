//! The patterns of values in requests, and what they say in words. Pure.

/// Names of databases, teams and tiers: [`daap_crds::name::PATTERN`].
pub const NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";

/// Text: tabs and ends of lines, and no other control characters.
pub const TEXT: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]*$";

/// Ids of requests that are kept as they are: letters, digits and '-', '_', '.'.
pub const REQUEST_ID: &str = "^[-_.A-Za-z0-9]+$";

/// A pattern in words.
pub fn in_words(pattern: &str) -> String {
    if pattern == NAME {
        daap_crds::name::NameError::Characters.to_string()
    } else if pattern == TEXT {
        "must not contain control characters other than tabs and ends of lines".to_owned()
    } else {
        format!("must match {pattern}")
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
