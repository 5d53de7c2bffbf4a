//! Durations as Go writes them, and whole seconds.

use std::fmt::Write as _;

/// Whole seconds of a duration such as `1h5m0s`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let size = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * size;
        rest = tail;
    }
    // What an i32 holds; a longer wait is none.
    (!text.is_empty() && total <= f64::from(i32::MAX)).then_some(total as u64)
}

/// Seconds as Go writes a duration.
pub(super) fn duration(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{}s", seconds % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, number) in [("0s", 0), ("59s", 59), ("5m0s", 300), ("1h0m1s", 3601), ("100h0m0s", 360_000)]
        {
            assert_eq!(seconds(text), Some(number));
            assert_eq!(duration(number), text);
        }
        for (text, number) in [
            ("5m", Some(300)),
            ("1.5m", Some(90)),
            ("1500ms", Some(1)),
            ("", None),
            ("5", None),
            ("soon", None),
            ("5d", None),
            ("9999999h", None),
        ] {
            assert_eq!(seconds(text), number, "{text}");
        }
    }
}
