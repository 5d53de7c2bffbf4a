//! Quantities: CPU in millicores, memory in MiB, read and written the Kubernetes way.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Mul, Sub};

use serde::Serialize;

/// CPU in thousandths of a core (of a hardware thread where threads are on).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Cpu(pub i64);

/// Memory or disk in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Mem(pub i64);

impl Cpu {
    /// Whole cores.
    pub const fn cores(n: i64) -> Cpu {
        Cpu(n * 1000)
    }

    /// `500m`, `2`, `1.5`.
    pub fn parse(text: &str) -> Result<Cpu, String> {
        let (number, scale) = match text.strip_suffix('m') {
            Some(n) => (n, 1.0),
            None => (text, 1000.0),
        };
        let value: f64 =
            number.parse().map_err(|_| format!("{text:?} is no CPU quantity such as 500m or 2"))?;
        whole(value * scale, text).map(Cpu)
    }
}

impl Mem {
    /// Whole GiB.
    pub const fn gib(n: i64) -> Mem {
        Mem(n * 1024)
    }

    /// `512Mi`, `4Gi`, `2T`, plain bytes; rounded up to a MiB.
    pub fn parse(text: &str) -> Result<Mem, String> {
        const UNITS: [(&str, f64); 11] = [
            ("Ki", 1024.0),
            ("Mi", 1_048_576.0),
            ("Gi", 1_073_741_824.0),
            ("Ti", 1_099_511_627_776.0),
            ("Pi", 1_125_899_906_842_624.0),
            ("k", 1e3),
            ("M", 1e6),
            ("G", 1e9),
            ("T", 1e12),
            ("P", 1e15),
            ("", 1.0),
        ];
        let wrong = || format!("{text:?} is no quantity such as 512Mi or 4Gi");
        let (number, scale) = UNITS
            .iter()
            .find_map(|(suffix, scale)| text.strip_suffix(suffix).map(|n| (n, *scale)))
            .ok_or_else(wrong)?;
        let value: f64 = number.trim().parse().map_err(|_| wrong())?;
        whole((value * scale / 1_048_576.0).ceil(), text).map(Mem)
    }

    /// In GiB, for people.
    pub fn in_gib(self) -> f64 {
        self.0 as f64 / 1024.0
    }
}

fn whole(value: f64, text: &str) -> Result<i64, String> {
    if value.is_finite() && (0.0..1e15).contains(&value) {
        Ok(value.round() as i64)
    } else {
        Err(format!("{text:?} is negative or out of range"))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1000 == 0 { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl fmt::Display for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1024 == 0 { write!(f, "{}Gi", self.0 / 1024) } else { write!(f, "{}Mi", self.0) }
    }
}

macro_rules! arithmetic {
    ($($unit:ident),*) => {$(
        impl Add for $unit {
            type Output = $unit;
            fn add(self, other: $unit) -> $unit {
                $unit(self.0 + other.0)
            }
        }
        impl Sub for $unit {
            type Output = $unit;
            fn sub(self, other: $unit) -> $unit {
                $unit(self.0 - other.0)
            }
        }
        impl Mul<i64> for $unit {
            type Output = $unit;
            fn mul(self, by: i64) -> $unit {
                $unit(self.0 * by)
            }
        }
        impl Sum for $unit {
            fn sum<I: Iterator<Item = $unit>>(all: I) -> $unit {
                all.fold($unit(0), |a, b| a + b)
            }
        }
    )*};
}
arithmetic!(Cpu, Mem);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_and_write() {
        assert_eq!(Cpu::parse("500m"), Ok(Cpu(500)));
        assert_eq!(Cpu::parse("1.5"), Ok(Cpu(1500)));
        assert_eq!(Mem::parse("4Gi"), Ok(Mem(4096)));
        assert_eq!(Mem::parse("1G"), Ok(Mem(954)));
        assert_eq!(Mem::parse("1048577"), Ok(Mem(2)));
        for bad in ["", "x", "-1Gi", "1Zi", "nan"] {
            assert!(Mem::parse(bad).is_err(), "{bad}");
            assert!(Cpu::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Mem(4096).to_string(), "4Gi");
        assert_eq!(Cpu(250).to_string(), "250m");
    }
}
