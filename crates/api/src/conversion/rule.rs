//! One difference between two versions.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::path::{each, put, split, take};

/// One difference between an old and a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A field is elsewhere: its place in the old version and in the new one.
    Moved(&'static str, &'static str),
    /// A map in the old version is a list in the new one, in which a field of the items is the map's key. The map has the
    /// rest of the item as its value, or what one field of it has.
    Listed {
        /// Its place.
        path: &'static str,
        /// The field that is the map's key.
        key: &'static str,
        /// The field that is the map's value; the rest of the item if there is none.
        value: Option<&'static str>,
    },
    /// A flag of the old version that is the opposite of one that both have.
    Opposite {
        /// Place of the old one.
        old: &'static str,
        /// Place of the one that both have.
        both: &'static str,
    },
    /// A duration is text in the old version and seconds in the new one: both places.
    Seconds(&'static str, &'static str),
    /// A whole reference in the old version has name and namespace only in the new one.
    Reference(&'static str),
    /// A text that the new version has not.
    OldOnly(&'static str),
    /// A field that the old version has not.
    NewOnly(&'static str),
    /// What holds only moved fields, and one version has not: it goes when it is empty. Stands behind the rules that empty
    /// it: last for one of the old version, first for one of the new.
    Emptied(&'static str),
}

/// What a whole reference has more than name and namespace.
pub(super) const REFERENCE: [&str; 5] = ["apiVersion", "fieldPath", "kind", "resourceVersion", "uid"];

impl Rule {
    pub(super) fn forward(&self, object: &mut Value) {
        match *self {
            Self::Moved(old, new) => relocate(object, old, new, Some),
            Self::Listed { path, key, value } => {
                let list = |map: Value| Some(Value::Array(listed(map, key, value)));
                replace(object, path, list);
            }
            Self::Opposite { old, both } => {
                let flag = take(object, old).and_then(|flag| flag.as_bool());
                let known = object.pointer(&pointer(both)).is_some();
                if let Some(flag) = flag.filter(|_| !known) {
                    put(object, both, json!(!flag));
                }
            }
            Self::Seconds(old, new) => {
                relocate(object, old, new, |text| seconds(text.as_str()?).map(Value::from))
            }
            Self::Reference(path) => each(object, path, &mut |fields| {
                fields.retain(|name, _| !REFERENCE.contains(&name.as_str()));
            }),
            Self::OldOnly(path) => {
                take(object, path);
            }
            Self::NewOnly(_) => {}
            Self::Emptied(path) => emptied(object, path),
        }
    }

    pub(super) fn backward(&self, object: &mut Value) {
        match *self {
            Self::Moved(old, new) => relocate(object, new, old, Some),
            Self::Listed { path, key, value } => {
                replace(object, path, |list| Some(Value::Object(mapped(list, key, value))));
            }
            Self::Opposite { old, both } => {
                if let Some(flag) = object.pointer(&pointer(both)).and_then(Value::as_bool) {
                    put(object, old, json!(!flag));
                }
            }
            Self::Seconds(old, new) => {
                relocate(object, new, old, |number| Some(duration(number.as_u64()?).into()))
            }
            Self::NewOnly(path) => {
                take(object, path);
            }
            Self::Reference(_) | Self::OldOnly(_) => {}
            Self::Emptied(path) => emptied(object, path),
        }
    }

    /// Sorts what is a map in the old version.
    pub(super) fn sort(&self, object: &mut Value) {
        let Self::Listed { path, key, .. } = *self else { return };
        replace(object, path, |mut list| {
            if let Some(items) = list.as_array_mut() {
                items
                    .sort_by_key(|item| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned());
            }
            Some(list)
        });
    }
}

fn emptied(object: &mut Value, path: &str) {
    let (holder, name) = split(path);
    each(object, holder, &mut |fields| {
        if fields.get(name).and_then(Value::as_object).is_some_and(Map::is_empty) {
            fields.remove(name);
        }
    });
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

fn relocate(object: &mut Value, from: &str, to: &str, change: impl FnOnce(Value) -> Option<Value>) {
    if let Some(changed) = take(object, from).and_then(change) {
        put(object, to, changed);
    }
}

fn replace(object: &mut Value, path: &str, change: impl Fn(Value) -> Option<Value>) {
    let (holder, name) = split(path);
    each(object, holder, &mut |fields| {
        if let Some(changed) = fields.remove(name).and_then(&change) {
            fields.insert(name.to_owned(), changed);
        }
    });
}

fn listed(map: Value, key: &str, value: Option<&str>) -> Vec<Value> {
    let Value::Object(map) = map else { return Vec::new() };
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    let item = |(name, rest): (String, Value)| {
        let mut item = match (value, rest) {
            (Some(value), rest) => Map::from_iter([(value.to_owned(), rest)]),
            (None, Value::Object(fields)) => fields,
            (None, _) => Map::new(),
        };
        item.insert(key.to_owned(), name.into());
        Value::Object(item)
    };
    entries.into_iter().map(item).collect()
}

fn mapped(list: Value, key: &str, value: Option<&str>) -> Map<String, Value> {
    let Value::Array(items) = list else { return Map::new() };
    let entry = |item: Value| {
        let Value::Object(mut fields) = item else { return None };
        let name = fields.remove(key)?.as_str()?.to_owned();
        let rest = match value {
            Some(value) => fields.remove(value).unwrap_or(Value::Null),
            None => Value::Object(fields),
        };
        Some((name, rest))
    };
    items.into_iter().filter_map(entry).collect()
}

/// Whole seconds of a duration such as `1h5m0s`.
fn seconds(text: &str) -> Option<u64> {
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
