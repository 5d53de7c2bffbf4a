//! A Kubernetes quantity: kept as it was written, read as a number of bytes or thousandths.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// A quantity such as `4Gi`, `500m` or `2`, exactly as it was written.
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[serde(transparent)]
pub struct Quantity(pub String);

/// A text that is not a quantity, or one too large to count with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity such as 512Mi, 4Gi, 2 or 500m")]
pub struct QuantityError(pub String);

impl Quantity {
    /// The value in whole units (bytes for memory), a fraction rounded up as Kubernetes does.
    pub fn units(&self) -> Result<u64, QuantityError> {
        Ok(self.thousandths()?.div_ceil(1000) as u64)
    }

    /// The value in thousandths of a unit (millicores for CPU), a fraction rounded up.
    pub fn thousandths(&self) -> Result<u128, QuantityError> {
        let wrong = || QuantityError(self.0.clone());
        let text = self.0.strip_prefix('+').unwrap_or(&self.0);
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') || fraction.len() > 12 {
            return Err(wrong());
        }
        let mantissa: u128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
        let factor = thousandths_per(suffix).ok_or_else(wrong)?;
        let value =
            mantissa.checked_mul(factor).ok_or_else(wrong)?.div_ceil(10_u128.pow(fraction.len() as u32));
        if value / 1000 > u128::from(i64::MAX.unsigned_abs()) { Err(wrong()) } else { Ok(value) }
    }
}

/// Thousandths in one unit of a suffix.
fn thousandths_per(suffix: &str) -> Option<u128> {
    let binary = |power: u32| Some(1000 * 1024_u128.pow(power));
    match suffix {
        "m" => Some(1),
        "" => Some(1000),
        "k" => Some(1_000_000),
        "M" => Some(1_000_000_000),
        "G" => Some(1_000_000_000_000),
        "T" => Some(1_000_000_000_000_000),
        "P" => Some(1_000_000_000_000_000_000),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        _ => exponent(suffix),
    }
}

/// `e3` and `E3`.
fn exponent(suffix: &str) -> Option<u128> {
    let power: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    if power > 18 { None } else { Some(1000 * 10_u128.pow(power)) }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Number(serde_json::Number),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Text(text) => Self(text),
            Written::Number(number) => Self(number.to_string()),
        })
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
            "x-kubernetes-int-or-string": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_reads() {
        for (text, units) in [
            ("0", 0),
            ("2", 2),
            ("4Gi", 4 << 30),
            ("1.5Gi", 3 << 29),
            ("512Mi", 512 << 20),
            ("1G", 1_000_000_000),
            ("1e3", 1000),
            ("100m", 1),
            ("+7k", 7000),
            (".5Ki", 512),
        ] {
            assert_eq!(Quantity::from(text).units(), Ok(units), "{text}");
        }
        assert_eq!(Quantity::from("250m").thousandths(), Ok(250));
        assert_eq!(Quantity::from("0.1").thousandths(), Ok(100));
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in ["", "Gi", "-1", "1.2.3", "4GiB", "1e99", "99999999999Pi", "four", "1 Gi"] {
            assert_eq!(Quantity::from(text).units(), Err(QuantityError(text.into())), "{text}");
        }
    }

    #[test]
    fn takes_numbers_and_texts() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json).map(|quantity| quantity.0).ok();
        assert_eq!(read("2"), Some("2".into()));
        assert_eq!(read("\"4Gi\""), Some("4Gi".into()));
        assert_eq!(read("true"), None);
    }
}
