//! Metal3's objects, as anyone has recorded them: which hosts there are for whom, and which pools have addresses for how
//! many Nodes. What is not needed for an answer is not read: a field that is new to Scute spoils none.

pub mod hosts;
pub mod pools;

use serde_json::Value;

/// A text by path; empty when there is none.
pub(crate) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// Objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |o| text(o, "/kind") == kind)
}

/// The object of this kind and name in the namespace of another.
pub(crate) fn beside<'a>(objects: &'a [Value], from: &Value, kind: &str, name: &str) -> Option<&'a Value> {
    let space = text(from, "/metadata/namespace");
    let same = |o: &&Value| {
        text(o, "/kind") == kind
            && text(o, "/metadata/name") == name
            && text(o, "/metadata/namespace") == space
    };
    objects.iter().find(same)
}

/// A number, which a file may have as text.
pub(crate) fn number(object: &Value, path: &str) -> Option<i64> {
    let value = object.pointer(path)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The name of an owner of a kind.
pub(crate) fn owner<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|o| text(o, "/kind") == kind).map(|o| text(o, "/name"))
}
