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
        let (number, suffix) = self.parts();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') || fraction.len() > 12 {
            return Err(wrong());
        }
        let mantissa: u128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
        let factor = billionths_per(suffix).ok_or_else(wrong)?;
        let billionths = mantissa.checked_mul(factor).ok_or_else(wrong)?;
        let value = billionths.div_ceil(1_000_000 * 10_u128.pow(fraction.len() as u32));
        if value / 1000 > u128::from(i64::MAX.unsigned_abs()) { Err(wrong()) } else { Ok(value) }
    }

    /// The value as the API server writes it in the resources of a container: `0.05` is `50m`, `2000m` is `2` and
    /// `262144Ki` is `256Mi`.
    pub fn canonical(&self) -> Result<Self, QuantityError> {
        let value = self.thousandths()?;
        if self.is_kept() {
            return Ok(self.clone());
        }
        let (_, suffix) = self.parts();
        let is_binary = suffix.ends_with('i') && value % 1000 == 0 && value >= 1024 * 1000;
        Ok(Self(match (value, is_binary) {
            (0, _) => "0".to_owned(),
            (value, true) => binary(value / 1000),
            (value, false) => decimal(value, exponent(suffix).is_some()),
        }))
    }

    /// Whether Kubernetes takes the text itself for canonical: a decimal that starts with no zero, does not end in three,
    /// and has its point where a suffix could stand.
    fn is_kept(&self) -> bool {
        let (number, suffix) = self.parts();
        let Some(power) = power(suffix) else { return false };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{}{fraction}", whole.trim_start_matches('0'));
        let scale = power - i32::try_from(fraction.len()).unwrap_or(i32::MAX);
        let starts_with_zero = whole.trim_start_matches('0').is_empty();
        scale >= -3 && scale % 3 == 0 && digits.len() <= 18 && !starts_with_zero && !digits.ends_with("000")
    }

    fn parts(&self) -> (&str, &str) {
        let text = self.0.strip_prefix('+').unwrap_or(&self.0);
        text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
    }
}

fn binary(mut units: u128) -> String {
    let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter();
    let mut suffix = suffixes.next();
    while units.is_multiple_of(1024)
        && let Some(next) = suffixes.next()
    {
        units /= 1024;
        suffix = Some(next);
    }
    format!("{units}{}", suffix.unwrap_or_default())
}

fn decimal(mut mantissa: u128, with_exponent: bool) -> String {
    let mut power: i32 = -3;
    while mantissa.is_multiple_of(1000) {
        mantissa /= 1000;
        power += 3;
    }
    let suffix = match power {
        _ if with_exponent && power != 0 => return format!("{mantissa}e{power}"),
        -3 => "m",
        0 => "",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        _ => "E",
    };
    format!("{mantissa}{suffix}")
}

/// Billionths in one unit of a suffix.
fn billionths_per(suffix: &str) -> Option<u128> {
    let binary = |power: u32| Some(1_000_000_000 * 1024_u128.pow(power));
    match suffix {
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => match power(suffix)? {
            power @ -9..=18 => Some(10_u128.pow(u32::try_from(power + 9).ok()?)),
            _ => None,
        },
    }
}

/// The power of ten that a decimal suffix stands for.
fn power(suffix: &str) -> Option<i32> {
    Some(match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => return exponent(suffix),
    })
}

/// `e3`, `E3` and `e-3`.
fn exponent(suffix: &str) -> Option<i32> {
    suffix.strip_prefix(['e', 'E'])?.parse().ok()
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

    /// Spellings, and what the API server makes of each in the resources of a container.
    const SPELLINGS: [(&str, &str); 28] = [
        ("0", "0"),
        ("0Mi", "0"),
        ("0.05", "50m"),
        (".5", "500m"),
        ("2000m", "2"),
        ("1500m", "1500m"),
        ("+2", "+2"),
        ("1.500", "1.500"),
        ("1.5", "1500m"),
        ("0.0001", "1m"),
        ("100u", "1m"),
        ("1n", "1m"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("1k", "1k"),
        ("0.5k", "500"),
        ("12345678", "12345678"),
        ("1e3", "1e3"),
        ("64e6", "64e6"),
        ("5E2", "500"),
        ("1.5e-2", "1.5e-2"),
        ("1.50e-2", "15e-3"),
        ("262144Ki", "256Mi"),
        ("1073741824", "1073741824"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1.0001Ki", "1024103m"),
        ("3Mi", "3Mi"),
    ];

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
            ("1E", 1_000_000_000_000_000_000),
            ("1Ei", 1 << 60),
            ("5e-1", 1),
            ("1u", 1),
        ] {
            assert_eq!(Quantity::from(text).units(), Ok(units), "{text}");
        }
        assert_eq!(Quantity::from("250m").thousandths(), Ok(250));
        assert_eq!(Quantity::from("0.1").thousandths(), Ok(100));
    }

    #[test]
    fn is_written_as_the_api_server_writes_it() {
        for (text, canonical) in SPELLINGS {
            let written = Quantity::from(text).canonical().expect("a quantity");
            assert_eq!(written.0, canonical, "{text}");
            assert_eq!(written.canonical().as_ref(), Ok(&written), "{text}: twice is once");
        }
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
