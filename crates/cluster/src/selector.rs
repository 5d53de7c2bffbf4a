//! Label selectors: matching, and their text for the scale subresource. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether labels satisfy a selector. An empty selector selects nothing here: a set that owns every
/// Machine of its namespace is never meant.
#[must_use]
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    if exact.clone().next().is_none() && expressions.clone().next().is_none() {
        return false;
    }
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
}
