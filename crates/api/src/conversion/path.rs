//! Places in a JSON object: names with dots between them, `[]` behind a list for each of its items.

use serde_json::{Map, Value};

/// The place of what holds the last name, and that name.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// A path below another one.
pub(super) fn joined(above: &str, path: &str) -> String {
    match (above, path) {
        ("", path) => path.to_owned(),
        (above, "") => above.to_owned(),
        _ => format!("{above}.{path}"),
    }
}

/// Calls for everything at a place.
pub(super) fn each_value(value: &mut Value, path: &str, f: &mut dyn FnMut(&mut Value)) {
    if path.is_empty() {
        return f(value);
    }
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    match step.strip_suffix("[]") {
        Some(name) => {
            let items = value.get_mut(name).and_then(Value::as_array_mut);
            items.into_iter().flatten().for_each(|item| each_value(item, rest, f));
        }
        None => value.get_mut(step).into_iter().for_each(|inner| each_value(inner, rest, f)),
    }
}

/// Calls for every object at a place.
pub(super) fn each(value: &mut Value, path: &str, f: &mut dyn FnMut(&mut Map<String, Value>)) {
    each_value(value, path, &mut |value| value.as_object_mut().into_iter().for_each(&mut *f));
}

/// Everything at a place, with the path of each behind `above`: `files[2].name`.
pub(super) fn all<'a>(value: &'a Value, path: &str, above: &str) -> Vec<(String, &'a Value)> {
    if path.is_empty() {
        return vec![(above.to_owned(), value)];
    }
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
    let Some(inner) = value.get(name) else { return Vec::new() };
    let above = joined(above, name);
    match (list, inner) {
        (false, inner) => all(inner, rest, &above),
        (true, Value::Array(items)) => {
            let item = |(index, item)| all(item, rest, &format!("{above}[{index}]"));
            items.iter().enumerate().flat_map(item).collect()
        }
        _ => Vec::new(),
    }
}

/// Takes what is at a place, and what held nothing else. What is empty already says so, and stays.
pub(super) fn take(value: &mut Value, path: &str) -> Option<Value> {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let fields = value.as_object_mut()?;
    if rest.is_empty() {
        return fields.remove(step);
    }
    let inner = fields.get_mut(step)?;
    let taken = take(inner, rest);
    if taken.is_some() && inner.as_object().is_some_and(Map::is_empty) {
        fields.remove(step);
    }
    taken
}

/// Puts something at a place, with what has to hold it.
pub(super) fn put(value: &mut Value, path: &str, what: Value) {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(fields) = value.as_object_mut() else { return };
    if rest.is_empty() {
        fields.insert(step.to_owned(), what);
    } else {
        put(fields.entry(step).or_insert(Value::Null), rest, what);
    }
}
