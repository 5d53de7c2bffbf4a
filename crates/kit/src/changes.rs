//! Hearing only of changes that matter.

use std::hash::Hash;

use kube::Resource;

use crate::key::Key;
use crate::memory::{Memory, hash};

/// Calls `map` only when `facts` of an object differ from those heard before. Keeps statuses that change
/// with every Machine from waking all Machines again.
pub fn when_changed<K, F>(
    facts: impl Fn(&K) -> F + Send + Sync + 'static,
    map: impl Fn(&K) -> Vec<Key> + Send + Sync + 'static,
) -> impl Fn(&K) -> Vec<Key> + Send + Sync + 'static
where
    K: Resource,
    F: Hash,
{
    let heard = Memory::default();
    move |object| {
        let facts = hash(facts(object));
        let before = heard.say(object.meta().uid.as_deref().unwrap_or_default(), facts);
        if before == Some(facts) { Vec::new() } else { map(object) }
    }
}
