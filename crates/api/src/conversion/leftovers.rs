//! What one version says and the other has no word for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Annotation of a converted object: what its own version has no word for, by JSON pointer.
pub const LEFTOVERS: &str = "scute.dev/conversion-data";

/// All annotations of an object together may have 256 KiB.
const LARGEST: usize = 128 << 10;

/// So many are looked at one by one: each costs a conversion, and anybody can write the annotation.
const MOST: usize = 64;

/// Places of the other version: what they hold, or nothing where the rules would put something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Leftovers {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    set: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unset: Vec<String>,
}

/// Takes the leftovers from an object. What cannot be read was not written here and says nothing.
pub(super) fn take(object: &mut Value) -> Leftovers {
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else {
        return Leftovers::default();
    };
    let text = annotations.remove(LEFTOVERS);
    let empty = annotations.is_empty();
    if empty
        && text.is_some()
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("annotations");
    }
    text.and_then(|text| serde_json::from_str(text.as_str()?).ok()).unwrap_or_default()
}

/// An object with those leftovers that say nothing in the other version: with each of them it must come back the same.
pub(super) fn restored(object: Value, kept: &Leftovers, back: impl Fn(&Value) -> Value) -> Value {
    let set = kept.set.iter().map(|(place, value)| (place.as_str(), Some(value)));
    let all: Vec<_> = set.chain(kept.unset.iter().map(|place| (place.as_str(), None))).collect();
    if all.is_empty() {
        return object;
    }
    let meant = back(&object);
    let with = |object: &Value, some: &[(&str, Option<&Value>)]| {
        let mut candidate = object.clone();
        some.iter().try_for_each(|(place, value)| change(&mut candidate, place, *value))?;
        (back(&candidate) == meant).then_some(candidate)
    };
    // An object that nobody has edited takes all of them.
    with(&object, &all).unwrap_or_else(|| {
        all.iter().take(MOST).fold(object, |object, one| with(&object, &[*one]).unwrap_or(object))
    })
}

/// Sets or removes what is at a place whose holder is there. Only spec and status are the rules' business.
fn change(object: &mut Value, place: &str, value: Option<&Value>) -> Option<()> {
    let (holder, name) = place.rsplit_once('/')?;
    if !place.starts_with("/spec") && !place.starts_with("/status") {
        return None;
    }
    let name = name.replace("~1", "/").replace("~0", "~");
    let holder = object.pointer_mut(holder)?;
    match (holder, value) {
        (Value::Object(fields), Some(value)) => {
            fields.insert(name, value.clone());
        }
        (Value::Object(fields), None) => {
            fields.remove(&name);
        }
        (Value::Array(items), Some(value)) => *items.get_mut(name.parse::<usize>().ok()?)? = value.clone(),
        _ => return None,
    }
    Some(())
}

/// What `meant` says otherwise than `said`, at the highest place where one of them says nothing, or which counts as a
/// whole.
pub(super) fn lost(said: &Value, meant: &Value, wholes: &[String]) -> Leftovers {
    let mut found = Leftovers::default();
    for part in ["spec", "status"] {
        differences(&format!("/{part}"), said.get(part), meant.get(part), wholes, &mut found);
    }
    found
}

/// Whether a place is at a path with `[]` behind its lists.
fn is_at(place: &str, path: &str) -> bool {
    let mut steps = place.split('/').skip(1);
    let same = path.split('.').all(|step| {
        let name = step.trim_end_matches("[]");
        steps.next() == Some(name)
            && (name == step || steps.next().is_some_and(|index| index.parse::<usize>().is_ok()))
    });
    same && steps.next().is_none()
}

fn differences(
    place: &str,
    said: Option<&Value>,
    meant: Option<&Value>,
    wholes: &[String],
    found: &mut Leftovers,
) {
    let below = |name: &str| format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
    match (said, meant) {
        (said, meant) if said == meant => {}
        (Some(Value::Object(said)), Some(Value::Object(meant)))
            if !wholes.iter().any(|path| is_at(place, path)) =>
        {
            let mut names: Vec<_> = said.keys().chain(meant.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                differences(&below(name), said.get(name), meant.get(name), wholes, found);
            }
        }
        (Some(Value::Array(said)), Some(Value::Array(meant))) if said.len() == meant.len() => {
            for (index, (said, meant)) in said.iter().zip(meant).enumerate() {
                differences(&below(&index.to_string()), Some(said), Some(meant), wholes, found);
            }
        }
        (_, Some(meant)) => {
            found.set.insert(place.to_owned(), meant.clone());
        }
        (_, None) => found.unset.push(place.to_owned()),
    }
}

/// An object with leftovers in its annotation.
pub(super) fn put(mut object: Value, leftovers: &Leftovers) -> Value {
    let text = serde_json::to_string(leftovers).unwrap_or_default();
    if *leftovers == Leftovers::default() || text.len() > LARGEST {
        return object;
    }
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        let annotations = metadata.entry("annotations").or_insert(Value::Null);
        if annotations.is_null() {
            *annotations = Value::Object(Map::new());
        }
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(LEFTOVERS.to_owned(), text.into());
        }
    }
    object
}
