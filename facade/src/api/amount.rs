//! Amounts of what a quota limits, as plain numbers of the contract. Pure; written and read in decimal, never rounded.
//!
//! Every amount has at most fifteen digits, or is a multiple of a power of two, so that also a client that reads numbers
//! as doubles has it exactly.

use std::borrow::Cow;

use daap_crds::{
    cost::Resource,
    quantity::{Bytes, Cpu},
};
use poem_openapi::{
    Enum,
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde_json::{Number, Value};

use crate::domain::decimal::{self, PER_CORE, PER_GIBIBYTE};

/// The most cores that a limit may have.
const MOST_CORES: f64 = 999_999.0;
/// The most gibibytes that a limit may have: 953 tebibytes, which is the most that can be told apart by mebibytes.
const MOST_GIBIBYTES: f64 = 976_562.0;

/// What a quota limits, with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum QuotaResource {
    /// The number of databases.
    MaxDatabases,
    /// CPU in cores.
    CpuCores,
    /// Memory in GiB.
    MemoryGib,
    /// Storage in GiB.
    StorageGib,
}

impl From<Resource> for QuotaResource {
    fn from(resource: Resource) -> Self {
        match resource {
            Resource::Databases => Self::MaxDatabases,
            Resource::Cpu => Self::CpuCores,
            Resource::Memory => Self::MemoryGib,
            Resource::Storage => Self::StorageGib,
        }
    }
}

/// A decimal number, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal(pub String);

/// CPU in cores, in steps of a thousandth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores(pub Cpu);

/// Bytes in GiB, in steps of a MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gibibytes(pub Bytes);

/// What is a number in JSON.
macro_rules! number {
    ($type:ident, $name:literal, $maximum:expr, $step:expr) => {
        impl Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(MetaSchema {
                    minimum: Some(0.0),
                    maximum: $maximum,
                    multiple_of: $step,
                    ..MetaSchema::new("number")
                }))
            }

            fn as_raw_value(&self) -> Option<&Self::RawValueType> {
                Some(self)
            }

            fn raw_element_iter<'a>(
                &'a self,
            ) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
                Box::new(self.as_raw_value().into_iter())
            }
        }
    };
}

number!(Decimal, "number_decimal", None, None);
number!(Cores, "number_cores", Some(MOST_CORES), Some(0.001));
number!(
    Gibibytes,
    "number_gibibytes",
    Some(MOST_GIBIBYTES),
    Some(0.000_976_562_5)
);

impl ToJSON for Decimal {
    fn to_json(&self) -> Option<Value> {
        self.0.parse::<Number>().ok().map(Value::Number)
    }
}

impl ToJSON for Cores {
    fn to_json(&self) -> Option<Value> {
        Decimal(decimal::to_text(self.0.millicores(), PER_CORE)).to_json()
    }
}

impl ToJSON for Gibibytes {
    fn to_json(&self) -> Option<Value> {
        Decimal(decimal::to_text(self.0.mebibytes(), PER_GIBIBYTE)).to_json()
    }
}

impl ParseFromJSON for Decimal {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value.unwrap_or_default() {
            Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(ParseError::expected_type(other)),
        }
    }
}

impl ParseFromJSON for Cores {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let cpu = parts(value, PER_CORE)?.and_then(Cpu::written);
        cpu.map(Self)
            .ok_or_else(|| ParseError::custom("must be a number of cores in steps of 0.001"))
    }
}

impl ParseFromJSON for Gibibytes {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let bytes = parts(value, PER_GIBIBYTE)?.and_then(Bytes::from_mebibytes);
        bytes
            .map(Self)
            .ok_or_else(|| ParseError::custom("must be a number of GiB in steps of 1/1024 (1 MiB)"))
    }
}

fn parts<T: Type>(value: Option<Value>, unit: u64) -> Result<Option<u64>, ParseError<T>> {
    match value.unwrap_or_default() {
        Value::Number(number) => Ok(decimal::from_text(&number.to_string(), unit)),
        other => Err(ParseError::expected_type(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::contract::Contract;

    /// The contract and the reader agree on what a limit is: whatever fits the schema is read, exactly.
    #[test]
    fn the_contract_takes_what_need_not_be_rounded() {
        let contract = Contract::generate().unwrap();
        let rules = contract.body_rules("QuotaLimits").unwrap();
        for (cores, millicores) in [
            (json!(0), Some(0)),
            (json!(0.1), Some(100)),
            (json!(0.3), Some(300)),
            (json!(1.005), Some(1005)),
            (json!(4.35), Some(4350)),
            (json!(2.0), Some(2000)),
            (json!(999_998.999), Some(999_998_999)),
            (json!(0.0001), None),
            (json!(1.0005), None),
            (json!(0.30000000000000004), None),
            (json!(-1), None),
            (json!(1_000_000), None),
        ] {
            let body = json!({"cpu_cores": cores});
            assert_eq!(rules.is_valid(&body), millicores.is_some(), "{body}");
            let read = Cores::parse_from_json(Some(cores));
            if let Some(millicores) = millicores {
                assert_eq!(
                    read.map(|cores| cores.0.millicores()).ok(),
                    Some(millicores)
                );
            }
        }
        for (gibibytes, mebibytes) in [
            (json!(0.5), Some(512)),
            (json!(0.0009765625), Some(1)),
            (json!(12.001953125), Some(12_290)),
            (json!(0.1), None),
            (json!(0.0005), None),
        ] {
            let body = json!({"memory_gib": gibibytes});
            assert_eq!(rules.is_valid(&body), mebibytes.is_some(), "{body}");
            let read = Gibibytes::parse_from_json(Some(gibibytes));
            assert_eq!(
                read.map(|gibibytes| gibibytes.0.mebibytes()).ok(),
                mebibytes
            );
        }
    }
}
