//! Exact quantities: CPU in thousandths of a core, memory and storage in bytes. Pure.
//!
//! A strict part of the [Kubernetes notation](https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/):
//! whole cores or millicores, whole `Mi`, `Gi` or `Ti`. Every accepted text has one exact value, and a text that
//! is not accepted is an error, never a default. Arithmetic is checked and in integers.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// The digits that a quantity may have; enough for any cluster and far from overflow.
const MAX_DIGITS: usize = 9;

const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;
const TI: u64 = 1 << 40;

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Not whole cores or millicores.
    #[error(
        "'{0}' is not a CPU quantity: write whole cores such as '2', or millicores such as '500m'"
    )]
    Cpu(String),
    /// Not whole Mi, Gi or Ti.
    #[error(
        "'{0}' is not a byte quantity: write a whole number with Mi, Gi or Ti, such as '512Mi' or '10Gi'"
    )]
    Bytes(String),
}

/// The largest number that a quantity may be written with.
const MAX_NUMBER: u64 = 10_u64.pow(MAX_DIGITS as u32) - 1;

/// Whole digits without a leading zero, or `None`.
fn whole_number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty()
        && digits.len() <= MAX_DIGITS
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || digits.starts_with('0') {
        return None;
    }
    digits.parse().ok()
}

/// CPU, in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cpu {
    millicores: u64,
}

impl Cpu {
    /// The pattern of the accepted notation.
    pub const PATTERN: &'static str = "^(0|[1-9][0-9]{0,8}m?)$";
    /// No CPU.
    pub const ZERO: Self = Self { millicores: 0 };

    /// From thousandths of a core.
    pub const fn from_millicores(millicores: u64) -> Self {
        Self { millicores }
    }

    /// In thousandths of a core.
    pub const fn millicores(self) -> u64 {
        self.millicores
    }

    /// The sum, or `None` when it is too large to be written.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.millicores
            .checked_add(other.millicores)
            .and_then(Self::written)
    }

    /// `count` times this, or `None` when it is too large to be written.
    pub fn checked_mul(self, count: u64) -> Option<Self> {
        self.millicores.checked_mul(count).and_then(Self::written)
    }

    /// From thousandths of a core, or `None` when they are too many to be written.
    pub fn written(millicores: u64) -> Option<Self> {
        let cores = millicores.is_multiple_of(1000) && millicores / 1000 <= MAX_NUMBER;
        (cores || millicores <= MAX_NUMBER).then_some(Self { millicores })
    }

    /// The difference, zero where `other` is larger.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self::from_millicores(self.millicores.saturating_sub(other.millicores))
    }
}

impl FromStr for Cpu {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let (digits, factor) = text
            .strip_suffix('m')
            .map_or((text, 1000), |digits| (digits, 1));
        whole_number(digits)
            .and_then(|number| number.checked_mul(factor))
            .map(Self::from_millicores)
            .ok_or_else(|| QuantityError::Cpu(text.to_owned()))
    }
}

/// Kubernetes notation, in whole cores where that is exact.
impl fmt::Display for Cpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millicores.is_multiple_of(1000) {
            write!(formatter, "{}", self.millicores / 1000)
        } else {
            write!(formatter, "{}m", self.millicores)
        }
    }
}

/// Memory or storage, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes {
    bytes: u64,
}

impl Bytes {
    /// The pattern of the accepted notation.
    pub const PATTERN: &'static str = "^(0|[1-9][0-9]{0,8}[MGT]i)$";
    /// No bytes.
    pub const ZERO: Self = Self { bytes: 0 };

    /// From mebibytes, or `None` when they are too many to be written.
    pub fn from_mebibytes(mebibytes: u64) -> Option<Self> {
        mebibytes.checked_mul(MI).and_then(Self::written)
    }

    fn written(bytes: u64) -> Option<Self> {
        let fits = |unit: u64| bytes.is_multiple_of(unit) && bytes / unit <= MAX_NUMBER;
        [MI, GI, TI].into_iter().any(fits).then_some(Self { bytes })
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// In whole mebibytes: exact, since no other value can be written.
    pub const fn mebibytes(self) -> u64 {
        self.bytes / MI
    }

    /// The sum, or `None` when it is too large to be written.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.bytes.checked_add(other.bytes).and_then(Self::written)
    }

    /// `count` times this, or `None` when it is too large to be written.
    pub fn checked_mul(self, count: u64) -> Option<Self> {
        self.bytes.checked_mul(count).and_then(Self::written)
    }

    /// The difference, zero where `other` is larger.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let units = [("Mi", MI), ("Gi", GI), ("Ti", TI)];
        units
            .iter()
            .find_map(|(unit, size)| text.strip_suffix(unit).map(|digits| (digits, *size)))
            .and_then(|(digits, size)| whole_number(digits)?.checked_mul(size))
            .map(|bytes| Self { bytes })
            .ok_or_else(|| QuantityError::Bytes(text.to_owned()))
    }
}

/// Kubernetes notation, in the largest unit that is exact.
impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            0 => formatter.write_str("0"),
            bytes if bytes.is_multiple_of(TI) => write!(formatter, "{}Ti", bytes / TI),
            bytes if bytes.is_multiple_of(GI) => write!(formatter, "{}Gi", bytes / GI),
            bytes => write!(formatter, "{}Mi", bytes / MI),
        }
    }
}

macro_rules! as_text {
    ($type:ident, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $description,
                    "pattern": Self::PATTERN,
                    "maxLength": MAX_DIGITS + 2,
                })
            }
        }
    };
}

as_text!(
    Cpu,
    "CPU: whole cores such as '2', or millicores such as '500m'."
);
as_text!(
    Bytes,
    "Bytes: a whole number with Mi, Gi or Ti, such as '512Mi' or '10Gi'."
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cpu_examples() {
        assert_eq!("2".parse(), Ok(Cpu::from_millicores(2000)));
        assert_eq!("500m".parse(), Ok(Cpu::from_millicores(500)));
        assert_eq!("0".parse(), Ok(Cpu::ZERO));
        for bad in [
            "",
            "m",
            "0m",
            "01",
            "1.5",
            "-1",
            "1 ",
            "1k",
            "1000000000",
            "²",
        ] {
            assert!(bad.parse::<Cpu>().is_err(), "{bad}");
        }
    }

    #[test]
    fn byte_examples() {
        assert_eq!("512Mi".parse::<Bytes>().unwrap().bytes(), 512 << 20);
        assert_eq!("1024Mi".parse::<Bytes>().unwrap().to_string(), "1Gi");
        for bad in [
            "", "Mi", "0Mi", "1", "1G", "1Ki", "1.5Gi", "-1Gi", "01Gi", "1gi",
        ] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn cpu_round_trips(millicores in 0u64..=999_999_999) {
            let cpu = Cpu::from_millicores(millicores);
            prop_assert_eq!(cpu.to_string().parse::<Cpu>(), Ok(cpu));
        }

        #[test]
        fn bytes_round_trip(mebibytes in 0u64..=999_999_999) {
            let bytes = Bytes::from_mebibytes(mebibytes).unwrap();
            prop_assert_eq!(bytes.to_string().parse::<Bytes>(), Ok(bytes));
        }

        /// Whatever is calculated can be written, and is read back as the same.
        #[test]
        fn sums_and_products_can_be_written(one in any::<u32>(), other in any::<u64>(), count in 0u64..100) {
            let sums = [Cpu::from_millicores(one.into()).checked_add(Cpu::from_millicores(other)), Cpu::from_millicores(other).checked_mul(count)];
            for sum in sums.into_iter().flatten() {
                prop_assert_eq!(sum.to_string().parse::<Cpu>(), Ok(sum));
            }
            if let (Some(one), Some(other)) = (Bytes::from_mebibytes(one.into()), Bytes::from_mebibytes(other >> 30)) {
                for sum in [one.checked_add(other), other.checked_mul(count)].into_iter().flatten() {
                    prop_assert_eq!(sum.to_string().parse::<Bytes>(), Ok(sum));
                }
            }
        }

        #[test]
        fn any_text_parses_or_errs(text in ".{0,12}") {
            let _ = text.parse::<Cpu>();
            let _ = text.parse::<Bytes>();
        }
    }
}
