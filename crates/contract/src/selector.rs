//! Label selectors: matching, their text for the scale subresource, and what is wrong with one. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use scute_kit::FieldError;

/// Whether labels satisfy a selector. An empty selector selects nothing here: a set that owns every
/// Machine of its namespace is never meant.
#[must_use]
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    !is_empty(selector) && fits(selector, labels)
}

/// Whether a selector says nothing.
#[must_use]
pub fn is_empty(selector: &LabelSelector) -> bool {
    let labels = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty);
    labels && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Whether labels satisfy a selector, of which an empty one selects everything.
#[must_use]
pub fn fits(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    exact.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.into_iter().all(|expression| {
            let value = labels.get(&expression.key);
            let listed =
                value.is_some_and(|value| expression.values.iter().flatten().any(|known| known == value));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// The selector as `kubectl -l` takes it.
#[must_use]
pub fn text(selector: &LabelSelector) -> String {
    let exact = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|expression| {
        let values = expression.values.clone().unwrap_or_default().join(",");
        match expression.operator.as_str() {
            "In" => format!("{} in ({values})", expression.key),
            "NotIn" => format!("{} notin ({values})", expression.key),
            "DoesNotExist" => format!("!{}", expression.key),
            _ => expression.key.clone(),
        }
    });
    exact.chain(expressions).collect::<Vec<_>>().join(",")
}

/// What is wrong with the expressions of a selector that stands at `path`: the schema takes any operator and any values.
#[must_use]
pub fn faults(selector: &LabelSelector, path: &str) -> Vec<FieldError> {
    let expressions = selector.match_expressions.iter().flatten().enumerate();
    let wrong = expressions.filter_map(|(index, expression)| {
        let valued = expression.values.as_ref().is_some_and(|values| !values.is_empty());
        let (field, value, detail) = match expression.operator.as_str() {
            "In" | "NotIn" if valued => return None,
            "Exists" | "DoesNotExist" if !valued => return None,
            "In" | "NotIn" => ("values", String::new(), "must have at least one value for this operator"),
            "Exists" | "DoesNotExist" => {
                let values = expression.values.clone().unwrap_or_default();
                ("values", values.join(","), "must be empty for this operator")
            }
            other => ("operator", other.to_owned(), "must be one of In, NotIn, Exists, DoesNotExist"),
        };
        Some(FieldError::new(format!("{path}.matchExpressions[{index}].{field}"), value, detail))
    });
    wrong.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_operator() {
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"a": "1"},
            "matchExpressions": [
                {"key": "b", "operator": "In", "values": ["x", "y"]},
                {"key": "c", "operator": "DoesNotExist"}]}))
        .expect("a selector");
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert!(matches(&selector, &labels(&[("a", "1"), ("b", "y")])));
        assert!(!matches(&selector, &labels(&[("a", "1"), ("b", "z")])));
        assert!(!matches(&selector, &labels(&[("a", "1"), ("b", "y"), ("c", "")])));
        assert!(!matches(&LabelSelector::default(), &labels(&[("a", "1")])));
        assert_eq!(text(&selector), "a=1,b in (x,y),!c");
    }

    #[test]
    fn an_expression_that_cannot_be_meant_is_named() {
        let selector: LabelSelector = serde_json::from_value(json!({"matchExpressions": [
            {"key": "a", "operator": "In", "values": ["x"]},
            {"key": "b", "operator": "In"},
            {"key": "c", "operator": "Exists", "values": ["x", "y"]},
            {"key": "d", "operator": "Has"}]}))
        .expect("a selector");
        let faults: Vec<_> = faults(&selector, "spec.selector").iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "spec.selector.matchExpressions[1].values: Invalid value: \"\": must have at least one value for this operator",
                "spec.selector.matchExpressions[2].values: Invalid value: \"x,y\": must be empty for this operator",
                "spec.selector.matchExpressions[3].operator: Invalid value: \"Has\": must be one of In, NotIn, Exists, DoesNotExist",
            ]
        );
    }

    #[test]
    fn an_empty_selector_fits_everything_and_matches_nothing() {
        let (empty, labels) = (LabelSelector::default(), BTreeMap::new());
        assert!(is_empty(&empty) && fits(&empty, &labels) && !matches(&empty, &labels));
    }
}
