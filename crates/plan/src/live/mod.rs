//! A running site as a fleet and a demand, from objects as a cluster has them.

mod demand;
mod fleet;

use serde_json::Value;

pub use demand::demand;
pub use fleet::fleet;

fn text<'a>(o: &'a Value, path: &str) -> &'a str {
    o.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn label<'a>(o: &'a Value, key: &str) -> Option<&'a str> {
    o.pointer("/metadata/labels")?.get(key)?.as_str()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |o| text(o, "/kind") == kind)
}
