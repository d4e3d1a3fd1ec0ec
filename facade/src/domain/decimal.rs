//! Cores and gibibytes as people write them, without any rounding. Pure; no floating point.
//!
//! A thousandth of a core has three decimals, a mebibyte in gibibytes has ten: both are decimal numbers that end.

/// Thousandths of a core in a core.
pub const PER_CORE: u64 = 1000;
/// Mebibytes in a gibibyte.
pub const PER_GIBIBYTE: u64 = 1024;

/// The longest fraction that is read: more than any value has.
const MAX_FRACTION: usize = 15;

/// `parts / unit` as a decimal number. Exact for units whose only prime factors are 2 and 5.
pub fn to_text(parts: u64, unit: u64) -> String {
    let mut text = (parts / unit).to_string();
    let mut rest = u128::from(parts % unit);
    if rest > 0 {
        text.push('.');
    }
    while rest > 0 {
        rest *= 10;
        text.push_str(&(rest / u128::from(unit)).to_string());
        rest %= u128::from(unit);
    }
    text
}

/// How many `1 / unit` a decimal number is; `None` when it is not a whole number of them, or too large.
pub fn from_text(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > MAX_FRACTION
        || fraction.len() > MAX_FRACTION
        || !digits(whole)
        || !digits(fraction)
    {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let number: u128 = format!("{whole}{fraction}").parse().ok()?;
    let parts = number.checked_mul(unit.into())?;
    (parts % scale == 0).then(|| u64::try_from(parts / scale).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples() {
        assert_eq!(to_text(1500, PER_CORE), "1.5");
        assert_eq!(to_text(4000, PER_CORE), "4");
        assert_eq!(to_text(1, PER_GIBIBYTE), "0.0009765625");
        assert_eq!(to_text(384, PER_GIBIBYTE), "0.375");
        assert_eq!(from_text("0.1", PER_CORE), Some(100));
        assert_eq!(from_text("2.0", PER_CORE), Some(2000));
        assert_eq!(from_text("0.5", PER_GIBIBYTE), Some(512));
    }

    #[test]
    fn what_would_have_to_be_rounded_is_no_number() {
        for bad in [
            "0.0001",
            "1.5005",
            "",
            ".",
            "-1",
            "1e3",
            "1e-3",
            "1.2.3",
            "+1",
            "9999999999999999",
        ] {
            assert_eq!(from_text(bad, PER_CORE), None, "{bad}");
        }
        assert_eq!(from_text("0.1", PER_GIBIBYTE), None);
        assert_eq!(from_text("0.30000000000000004", PER_GIBIBYTE), None);
    }

    proptest! {
        /// What goes out as a JSON number comes back as the same amount, through the double that most clients read it as.
        #[test]
        fn every_amount_survives_json(amount in 0u64..=999_999_999) {
            for unit in [PER_CORE, PER_GIBIBYTE] {
                let number: serde_json::Number = to_text(amount, unit).parse().unwrap();
                prop_assert_eq!(from_text(&number.to_string(), unit), Some(amount), "{}", number);
            }
        }

        /// A text is taken exactly when it is a whole number of steps, calculated here in units of its last decimal.
        #[test]
        fn nothing_is_rounded(number in 0u64..1_000_000_000_000, decimals in 0u32..12) {
            let scale = 10_u64.pow(decimals);
            let (whole, rest) = (number / scale, number % scale);
            let text = match decimals {
                0 => whole.to_string(),
                _ => format!("{whole}.{rest:0width$}", width = decimals as usize),
            };
            for unit in [PER_CORE, PER_GIBIBYTE] {
                let steps = u128::from(number) * u128::from(unit);
                let scale = u128::from(scale);
                let exact = steps.is_multiple_of(scale).then(|| u64::try_from(steps / scale).unwrap());
                prop_assert_eq!(from_text(&text, unit), exact, "{} in steps of 1/{}", text, unit);
            }
        }
    }
}
