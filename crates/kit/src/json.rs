//! Comparing and differencing JSON values the way the API server merges them.

use serde_json::{Map, Value};

/// Whether `seen` already says everything that `want` says. Objects may have more keys; lists must
/// agree item by item; `null` wants nothing.
#[must_use]
pub fn covers(seen: &Value, want: &Value) -> bool {
    match (seen, want) {
        (_, Value::Null) => true,
        (Value::Object(seen), Value::Object(want)) => want.iter().all(|(key, want)| match seen.get(key) {
            Some(seen) => covers(seen, want),
            None => is_empty(want),
        }),
        (Value::Array(seen), Value::Array(want)) => {
            seen.len() == want.len() && seen.iter().zip(want).all(|(seen, want)| covers(seen, want))
        }
        _ => seen == want,
    }
}

/// The API server drops empty lists and maps, so wanting one is wanting nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// The JSON merge patch (RFC 7386) that turns `from` into `to`; `None` when they are equal.
#[must_use]
pub fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            let mut patch = Map::new();
            for (key, to) in to.iter().filter(|(_, to)| !to.is_null()) {
                match from.get(key) {
                    Some(from) => {
                        if let Some(change) = merge_patch(from, to) {
                            patch.insert(key.clone(), change);
                        }
                    }
                    None => {
                        patch.insert(key.clone(), to.clone());
                    }
                }
            }
            for key in from.keys().filter(|key| to.get(*key).is_none_or(Value::is_null)) {
                patch.insert(key.clone(), Value::Null);
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ => (from != to).then(|| to.clone()),
    }
}

/// What was sent with what was filled in: members that `filled` does not know stay.
#[must_use]
pub fn overlay(sent: Value, filled: Value) -> Value {
    match (sent, filled) {
        (Value::Object(mut sent), Value::Object(filled)) => {
            for (key, value) in filled {
                let before = sent.remove(&key).unwrap_or(Value::Null);
                sent.insert(key, overlay(before, value));
            }
            Value::Object(sent)
        }
        (_, filled) => filled,
    }
}

/// `value` without the members that are null.
#[must_use]
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn more_than_wanted_is_enough_but_lists_are_exact() {
        let seen = json!({"a": 1, "b": {"c": [1, {"d": 2, "e": 3}]}});
        assert!(covers(&seen, &json!({"b": {"c": [1, {"d": 2}]}})));
        assert!(!covers(&seen, &json!({"b": {"c": [1]}})));
        assert!(!covers(&seen, &json!({"a": 2})));
        assert!(covers(&seen, &json!({"labels": {}, "list": [], "none": null})));
    }

    #[test]
    fn a_merge_patch_leads_from_one_value_to_the_other() {
        let from = json!({"keep": 1, "drop": 2, "change": {"x": 1, "y": 2}});
        let to = json!({"keep": 1, "change": {"x": 1, "y": 3}, "new": [1]});
        let patch = merge_patch(&from, &to).expect("they differ");
        assert_eq!(patch, json!({"drop": null, "change": {"y": 3}, "new": [1]}));
        let mut applied = from.clone();
        json_patch::merge(&mut applied, &patch);
        assert_eq!(applied, to);
        assert_eq!(merge_patch(&to, &to), None);
    }
}
