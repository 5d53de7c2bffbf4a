//! A figure of a benchmark: one line of output.

use serde_json::json;

/// Bytes of the unit that memory is given in.
pub const MIB: f64 = 1024.0 * 1024.0;

/// A figure: what it is, what came out, what could not be beaten and what we want.
pub struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
    floor: Option<f64>,
    goal: Option<f64>,
}

impl Figure {
    /// A figure of this name, in this unit, without a value.
    #[must_use]
    pub fn of(name: &str, unit: &'static str) -> Self {
        Self { name: name.to_owned(), unit, value: f64::NAN, floor: None, goal: None }
    }

    /// What came out.
    #[must_use]
    pub fn value(self, value: f64) -> Self {
        Self { value, ..self }
    }

    /// What could not be beaten, measured in the same run.
    #[must_use]
    pub fn floor(self, floor: f64) -> Self {
        Self { floor: Some(floor), ..self }
    }

    /// What we want.
    #[must_use]
    pub fn at_most(self, goal: f64) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Prints it as one JSON object. Without a goal it is only reported, and `ok` is null.
    pub fn print(self) {
        let Self { name, unit, value, floor, goal } = self;
        let round = |value: f64| (value * 100.0).round() / 100.0;
        let line = json!({
            "figure": name,
            "value": round(value),
            "unit": unit,
            "floor": floor.map(round),
            "goal": goal.map(round),
            "ok": goal.map(|goal| value <= goal),
        });
        println!("{line}");
    }
}
