//! A running site as a fleet and a demand, from objects as a cluster has them.

mod demand;
mod fleet;
mod servers;

use serde_json::Value;

use crate::metal::{of_kind, text};

pub use demand::demand;
pub use fleet::fleet;

fn label<'a>(o: &'a Value, key: &str) -> Option<&'a str> {
    o.pointer("/metadata/labels")?.get(key)?.as_str()
}
