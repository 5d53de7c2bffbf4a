//! Which BareMetalHosts a Metal3Machine may take. In: labels and expressions. Out: a [`Selector`] that is asked of a
//! host's labels, or what is wrong with an expression. Pure.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which hosts may be taken: all labels and expressions must fit.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HostSelector {
    /// Labels that the host has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// What else is true of its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub match_expressions: Vec<HostSelectorRequirement>,
}

/// Something that is true of a label.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSelectorRequirement {
    /// The label.
    pub key: String,
    /// `!`, `=`, `==`, `in`, `!=`, `notin`, `exists`, `gt` or `lt`, in any case.
    #[schemars(length(max = 16))]
    pub operator: String,
    /// What it is compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub values: Vec<String>,
}

/// An expression that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Is(bool, Vec<String>),
    Exists(bool),
    Above(i64),
    Below(i64),
}

impl Test {
    /// As Kubernetes has it: what is absent is not in any list.
    fn fits(&self, value: Option<&String>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Is(true, values) => value.is_some_and(|value| values.contains(value)),
            Self::Is(false, values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists(wanted) => value.is_some() == *wanted,
            Self::Above(bound) => number().is_some_and(|number| number > *bound),
            Self::Below(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl HostSelectorRequirement {
    fn test(&self) -> Result<Test, (&'static str, String)> {
        let values = &self.values;
        let wrong = |detail: &str| Err(("values", detail.to_owned()));
        let one = || match values.as_slice() {
            [one] => Ok(one),
            _ => Err(("values", "must be one value for this operator".to_owned())),
        };
        let number = || {
            let value = one()?;
            value.parse().map_err(|_| ("values", "must be a whole number for this operator".to_owned()))
        };
        match self.operator.to_lowercase().as_str() {
            "in" | "notin" if values.is_empty() => wrong("must be at least one value for this operator"),
            "in" => Ok(Test::Is(true, values.clone())),
            "notin" => Ok(Test::Is(false, values.clone())),
            "=" | "==" => one().map(|value| Test::Is(true, vec![value.clone()])),
            "!=" => one().map(|value| Test::Is(false, vec![value.clone()])),
            "exists" | "!" if !values.is_empty() => wrong("must be empty for this operator"),
            "exists" => Ok(Test::Exists(true)),
            "!" => Ok(Test::Exists(false)),
            "gt" => number().map(Test::Above),
            "lt" => number().map(Test::Below),
            _ => Err(("operator", "must be one of !, =, ==, in, !=, notin, exists, gt, lt".to_owned())),
        }
    }
}

/// A selector whose expressions can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: BTreeMap<String, String>,
    tests: Vec<(String, Test)>,
}

/// An expression that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadExpression {
    /// Which.
    pub index: usize,
    /// Its field.
    pub field: &'static str,
    /// What would be right.
    pub detail: String,
}

impl HostSelector {
    /// The selector that can be asked.
    ///
    /// # Errors
    /// The first expression that cannot be.
    pub fn selector(&self) -> Result<Selector, BadExpression> {
        let tests = self.match_expressions.iter().enumerate().map(|(index, expression)| {
            let test = expression.test().map_err(|(field, detail)| BadExpression { index, field, detail })?;
            Ok((expression.key.clone(), test))
        });
        Ok(Selector {
            labels: self.match_labels.clone().unwrap_or_default(),
            tests: tests.collect::<Result<_, _>>()?,
        })
    }
}

/// A part of a selector that a host does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit<'a> {
    /// Place among the expressions; `None` for a label.
    index: Option<usize>,
    key: &'a str,
    wanted: String,
    has: Option<&'a str>,
}

impl Selector {
    /// Whether a host with these labels may be taken.
    #[must_use]
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.misfits(labels).next().is_none()
    }

    /// Every part that these labels do not fit.
    pub fn misfits<'a>(&'a self, labels: &'a BTreeMap<String, String>) -> impl Iterator<Item = Misfit<'a>> {
        let has = |key: &str| labels.get(key).map(String::as_str);
        let unequal = self.labels.iter().filter(move |(key, value)| labels.get(*key) != Some(value));
        let unequal = unequal.map(move |(key, value)| Misfit {
            index: None,
            key,
            wanted: value.clone(),
            has: has(key),
        });
        let failed = self.tests.iter().enumerate();
        let failed = failed.filter(move |(_, (key, test))| !test.fits(labels.get(key)));
        unequal.chain(failed.map(move |(index, (key, test))| Misfit {
            index: Some(index),
            key,
            wanted: test.to_string(),
            has: has(key),
        }))
    }
}

impl fmt::Display for Misfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, key, wanted, has } = self;
        match index {
            None => write!(f, "matchLabels.{key}: {wanted} is wanted")?,
            Some(index) => write!(f, "matchExpressions[{index}]: {key} {wanted} is wanted")?,
        }
        match has {
            Some(has) => write!(f, ", it has {has}"),
            None => f.write_str(", it has no such label"),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(true, values) => write!(f, "in {}", values.join(", ")),
            Self::Is(false, values) => write!(f, "not in {}", values.join(", ")),
            Self::Exists(true) => f.write_str("with any value"),
            Self::Exists(false) => f.write_str("absent"),
            Self::Above(bound) => write!(f, "above {bound}"),
            Self::Below(bound) => write!(f, "below {bound}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(operator: &str, values: &[&str]) -> Result<Selector, BadExpression> {
        let values = values.iter().map(ToString::to_string).collect();
        let expression = HostSelectorRequirement { key: "rack".into(), operator: operator.into(), values };
        HostSelector { match_labels: None, match_expressions: vec![expression] }.selector()
    }

    fn labels(rack: Option<&str>) -> BTreeMap<String, String> {
        rack.map(|rack| ("rack".to_owned(), rack.to_owned())).into_iter().collect()
    }

    #[test]
    fn every_operator_in_any_case() {
        // Operator, values, and whether racks 1, 2 and none fit.
        for (operator, values, fits) in [
            ("In", &["1", "3"][..], [true, false, false]),
            ("NotIn", &["1"], [false, true, true]),
            ("=", &["1"], [true, false, false]),
            ("==", &["2"], [false, true, false]),
            ("!=", &["1"], [false, true, true]),
            ("EXISTS", &[], [true, true, false]),
            ("!", &[], [false, false, true]),
            ("Gt", &["1"], [false, true, false]),
            ("lt", &["2"], [true, false, false]),
        ] {
            let selector = selector(operator, values).unwrap();
            let seen = [Some("1"), Some("2"), None].map(|rack| selector.fits(&labels(rack)));
            assert_eq!(seen, fits, "{operator} {values:?}");
        }
    }

    #[test]
    fn an_expression_that_cannot_be_asked_is_named() {
        for (operator, values, field) in [
            ("like", &["1"][..], "operator"),
            ("", &[], "operator"),
            ("in", &[], "values"),
            ("=", &["1", "2"], "values"),
            ("exists", &["1"], "values"),
            ("gt", &["high"], "values"),
        ] {
            assert_eq!(selector(operator, values).unwrap_err().field, field, "{operator}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let said = |operator: &str, values: &[&str], rack: Option<&str>| -> Vec<String> {
            let selector = selector(operator, values).unwrap();
            selector.misfits(&labels(rack)).map(|misfit| misfit.to_string()).collect()
        };
        assert_eq!(
            said("In", &["1", "3"], Some("2")),
            ["matchExpressions[0]: rack in 1, 3 is wanted, it has 2"]
        );
        assert_eq!(
            said("exists", &[], None),
            ["matchExpressions[0]: rack with any value is wanted, it has no such label"]
        );
        assert_eq!(said("lt", &["2"], Some("5")), ["matchExpressions[0]: rack below 2 is wanted, it has 5"]);
        assert!(said("notin", &["1"], Some("2")).is_empty());
        let wanted = HostSelector { match_labels: Some(labels(Some("1"))), match_expressions: Vec::new() };
        let selector = wanted.selector().unwrap();
        let have = labels(Some("2"));
        let said: Vec<String> = selector.misfits(&have).map(|misfit| misfit.to_string()).collect();
        assert_eq!(said, ["matchLabels.rack: 1 is wanted, it has 2"]);
    }

    #[test]
    fn labels_must_fit_too_and_nothing_fits_all() {
        let wanted = HostSelector { match_labels: Some(labels(Some("1"))), match_expressions: Vec::new() };
        assert!(wanted.selector().unwrap().fits(&labels(Some("1"))));
        assert!(!wanted.selector().unwrap().fits(&labels(Some("2"))));
        assert!(Selector::default().fits(&labels(None)));
    }
}
