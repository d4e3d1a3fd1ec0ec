//! The patterns of values in requests, and what they say in words. Pure.

/// Names of databases, teams and tiers: [`daap_crds::name::PATTERN`].
pub const NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";

/// A pattern in words.
pub fn in_words(pattern: &str) -> String {
    if pattern == NAME {
        daap_crds::name::NameError::Characters.to_string()
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
