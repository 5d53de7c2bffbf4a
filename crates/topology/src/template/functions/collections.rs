//! Numbers, lists, maps and versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{FuncMap, Value};
use serde_json::Value as Json;

use super::{arguments, bounded, json, string, text, whole};
use crate::template::guard::add;
use crate::template::semver::{Constraint, Version};

/// What makes a number of two.
type Numbers = fn(i64, i64) -> Option<i64>;
/// An end of a list.
type End = fn(&[Value]) -> Option<&Value>;

/// All of them.
pub fn add_all(functions: &mut FuncMap) {
    numbers(functions);
    lists(functions);
    maps(functions);
    versions(functions);
}

fn list(value: &Value) -> Result<&[Value], String> {
    match value {
        Value::List(list) => Ok(list),
        Value::Nil => Ok(&[]),
        other => Err(format!("a {} is no list", other.type_name())),
    }
}

fn map(value: &Value) -> Result<&BTreeMap<Arc<str>, Value>, String> {
    match value {
        Value::Map(map) => Ok(map),
        other => Err(format!("a {} is no map", other.type_name())),
    }
}

fn numbers(functions: &mut FuncMap) {
    for name in ["int", "int64", "atoi"] {
        add(functions, name, |given| {
            let [value] = arguments(given)?;
            Ok(Value::Int(whole(value).unwrap_or_default()))
        });
    }
    let folded: [(&'static str, Numbers); 4] = [
        ("add", i64::checked_add),
        ("mul", i64::checked_mul),
        ("max", |a, b| Some(a.max(b))),
        ("min", |a, b| Some(a.min(b))),
    ];
    for (name, with) in folded {
        add(functions, name, move |given| {
            let mut numbers = given.iter().map(whole);
            let first = numbers.next().ok_or("wants numbers")??;
            numbers
                .try_fold(first, |sum, number| {
                    with(sum, number?).ok_or_else(|| "the number is too large".to_owned())
                })
                .map(Value::Int)
        });
    }
    let two: [(&'static str, Numbers); 3] =
        [("sub", i64::checked_sub), ("div", i64::checked_div), ("mod", i64::checked_rem)];
    for (name, with) in two {
        add(functions, name, move |given| {
            let [a, b] = arguments(given)?;
            with(whole(a)?, whole(b)?).map(Value::Int).ok_or_else(|| "there is no such number".to_owned())
        });
    }
    add(functions, "add1", |given| {
        let [number] = arguments(given)?;
        whole(number)?.checked_add(1).map(Value::Int).ok_or_else(|| "the number is too large".to_owned())
    });
}

fn lists(functions: &mut FuncMap) {
    for name in ["list", "tuple"] {
        add(functions, name, |given| Ok(Value::List(given.into())));
    }
    let ends: [(&'static str, End); 2] = [("first", |list| list.first()), ("last", |list| list.last())];
    for (name, end) in ends {
        add(functions, name, move |given| {
            let [of] = arguments(given)?;
            Ok(end(list(of)?).cloned().unwrap_or(Value::Nil))
        });
    }
    add(functions, "join", |given| {
        let [with, parts] = arguments(given)?;
        let parts: Vec<_> = match parts {
            Value::List(list) => list.iter().map(text).collect(),
            other => vec![text(other)],
        };
        bounded(parts.len().saturating_mul(text(with).len()))?;
        Ok(string(parts.join(&text(with))))
    });
    add(functions, "has", |given| {
        let [wanted, within] = arguments(given)?;
        let wanted = json(wanted);
        Ok(Value::Bool(list(within)?.iter().any(|item| json(item) == wanted)))
    });
    for name in ["append", "push"] {
        add(functions, name, |given| {
            let [to, item] = arguments(given)?;
            Ok(Value::List(list(to)?.iter().chain([item]).cloned().collect()))
        });
    }
    add(functions, "prepend", |given| {
        let [to, item] = arguments(given)?;
        Ok(Value::List([item].into_iter().chain(list(to)?).cloned().collect()))
    });
    add(functions, "concat", |given| {
        let all = given.iter().map(list).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::List(all.concat().into()))
    });
    add(functions, "uniq", |given| {
        let [of] = arguments(given)?;
        let mut seen: Vec<Json> = Vec::new();
        let mut kept = Vec::new();
        for item in list(of)?.iter().take(1024) {
            let value = json(item);
            if !seen.contains(&value) {
                seen.push(value);
                kept.push(item.clone());
            }
        }
        Ok(Value::List(kept.into()))
    });
    add(functions, "sortAlpha", |given| {
        let [of] = arguments(given)?;
        let mut sorted: Vec<_> = list(of)?.iter().map(text).collect();
        sorted.sort();
        Ok(Value::List(sorted.into_iter().map(string).collect()))
    });
    add(functions, "compact", |given| {
        let [of] = arguments(given)?;
        Ok(Value::List(list(of)?.iter().filter(|item| item.is_truthy()).cloned().collect()))
    });
}

fn maps(functions: &mut FuncMap) {
    add(functions, "dict", |given| {
        let pairs = given.chunks(2).map(|pair| match pair {
            [key, value] => (text(key).as_str().into(), value.clone()),
            [key, ..] => (text(key).as_str().into(), string("")),
            [] => ("".into(), Value::Nil),
        });
        Ok(Value::Map(Arc::new(pairs.collect())))
    });
    add(functions, "get", |given| {
        let [of, key] = arguments(given)?;
        Ok(map(of)?.get(text(key).as_str()).cloned().unwrap_or_else(|| string("")))
    });
    add(functions, "hasKey", |given| {
        let [of, key] = arguments(given)?;
        Ok(Value::Bool(map(of)?.contains_key(text(key).as_str())))
    });
    add(functions, "keys", |given| {
        let mut keys = Vec::new();
        for of in given {
            keys.extend(map(of)?.keys().map(string));
        }
        Ok(Value::List(keys.into()))
    });
    add(functions, "values", |given| {
        let [of] = arguments(given)?;
        Ok(Value::List(map(of)?.values().cloned().collect()))
    });
    add(functions, "dig", |given| {
        let [keys @ .., otherwise, of] = given else {
            return Err("wants keys, a default and a map".to_owned());
        };
        let mut value = of;
        for key in keys {
            match map(value)?.get(text(key).as_str()) {
                Some(inner) => value = inner,
                None => return Ok(otherwise.clone()),
            }
        }
        Ok(value.clone())
    });
}

fn versions(functions: &mut FuncMap) {
    add(functions, "semver", |given| {
        let [version] = arguments(given)?;
        let version = Version::parse(&text(version))?;
        let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let parts = [
            ("Major", number(version.major)),
            ("Minor", number(version.minor)),
            ("Patch", number(version.patch)),
            ("Prerelease", string(&version.pre)),
            ("Metadata", string(&version.build)),
        ];
        Ok(Value::Map(Arc::new(parts.into_iter().map(|(key, value)| (key.into(), value)).collect())))
    });
    add(functions, "semverCompare", |given| {
        let [constraint, version] = arguments(given)?;
        let constraint = Constraint::parse(&text(constraint))?;
        Ok(Value::Bool(constraint.allows(&Version::parse(&text(version))?)))
    });
}
