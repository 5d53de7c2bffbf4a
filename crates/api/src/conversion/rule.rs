//! One difference between two versions.

use serde_json::{Map, Value, json};

use super::duration::{duration, seconds};
use super::path::{all, each, each_value, joined, put, split, take};
use super::{About, Direction, reference};

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
    /// A reference with `apiVersion` and namespace in the old version has `apiGroup` alone in the new one.
    ContractReference(&'static str),
    /// A reference with `apiVersion` in both versions, and a namespace and more in the old one.
    TemplateReference(&'static str),
    /// A flag of the old version: whether a number that both have is above zero.
    Positive(&'static str, &'static str),
    /// A text that every object of the old version has at a place, and the new version has not.
    Fixed(&'static str, &'static str),
    /// A field that the new version has not, and its type.
    OldOnly(&'static str, &'static str),
    /// A field that the old version has not.
    NewOnly(&'static str),
    /// What holds only moved fields, and one version has not: it goes when it is empty. Stands behind the rules that empty
    /// it: last for one of the old version, first for one of the new.
    Emptied(&'static str),
    /// What the old version has where it is left out of what holds it.
    Default(&'static str, &'static str),
    /// Rules for everything at a place, whose own places are below it.
    Within(&'static str, &'static [Rule]),
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
            Self::ContractReference(path) => each(object, path, &mut reference::forward),
            Self::TemplateReference(path) => each(object, path, &mut reference::bare),
            Self::OldOnly(path, _) | Self::Fixed(path, _) | Self::Positive(path, _) => {
                take(object, path);
            }
            Self::NewOnly(_) | Self::Default(..) => {}
            Self::Emptied(path) => emptied(object, path),
            Self::Within(path, rules) => each_value(object, path, &mut |inner| {
                rules.iter().for_each(|rule| rule.forward(inner));
            }),
        }
    }

    pub(super) fn backward(&self, object: &mut Value, about: &About) {
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
            Self::ContractReference(path) => {
                each(object, path, &mut |fields| reference::backward(fields, about));
            }
            Self::TemplateReference(path) => {
                each(object, path, &mut |fields| reference::settle(fields, about));
            }
            Self::Positive(old, both) => {
                if let Some(number) = object.pointer(&pointer(both)).and_then(Value::as_i64) {
                    put(object, old, json!(number > 0));
                }
            }
            Self::Fixed(path, text) => {
                let (holder, name) = split(path);
                each(object, holder, &mut |fields| {
                    fields.insert(name.to_owned(), text.into());
                });
            }
            Self::Reference(_) | Self::OldOnly(..) | Self::Default(..) => {}
            Self::Emptied(path) => emptied(object, path),
            Self::Within(path, rules) => each_value(object, path, &mut |inner| {
                rules.iter().rev().for_each(|rule| rule.backward(inner, about));
            }),
        }
    }

    /// Says what an object says in the one way that comes back: a list that is a map in the old version in the order of
    /// its keys, a reference of the old version with its namespace.
    pub(super) fn settle(&self, object: &mut Value, direction: Direction, about: &About) {
        match (*self, direction) {
            (Self::Listed { path, key, .. }, Direction::ToOld) => replace(object, path, |mut list| {
                let text =
                    |item: &Value| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                list.as_array_mut().into_iter().for_each(|items| items.sort_by_key(text));
                Some(list)
            }),
            (Self::ContractReference(path) | Self::TemplateReference(path), Direction::ToNew) => {
                each(object, path, &mut |fields| reference::settle(fields, about));
            }
            (Self::Within(path, rules), _) => each_value(object, path, &mut |inner| {
                rules.iter().for_each(|rule| rule.settle(inner, direction, about));
            }),
            _ => {}
        }
    }

    /// The first reference to another namespace: the path of the namespace, and the namespace.
    pub(super) fn elsewhere(&self, above: &str, object: &Value, about: &About) -> Option<(String, String)> {
        let path = match *self {
            Self::ContractReference(path) | Self::TemplateReference(path) | Self::Within(path, _) => path,
            _ => return None,
        };
        all(object, path, above).into_iter().find_map(|(place, value)| match *self {
            Self::Within(_, rules) => rules.iter().find_map(|rule| rule.elsewhere(&place, value, about)),
            _ => {
                let namespace = reference::elsewhere(value.as_object()?, about)?;
                Some((joined(&place, "namespace"), namespace.to_owned()))
            }
        })
    }

    /// Places below `above` whose values count as a whole, with `[]` behind a list.
    pub(super) fn wholes(&self, above: &str) -> Vec<String> {
        match *self {
            Self::ContractReference(path) | Self::TemplateReference(path) => vec![joined(above, path)],
            Self::Within(path, rules) => {
                let above = joined(above, path);
                rules.iter().flat_map(|rule| rule.wholes(&above)).collect()
            }
            _ => Vec::new(),
        }
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
