//! Hearing only of changes that matter.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::Resource;
use scute_kit::Key;

/// Calls `map` only when `facts` of an object differ from those heard before. Keeps statuses that change
/// with every Machine from waking all Machines again.
pub fn when_changed<K, F>(
    facts: impl Fn(&K) -> F + Send + Sync + 'static,
    map: impl Fn(&K) -> Vec<Key> + Send + Sync + 'static,
) -> impl Fn(&K) -> Vec<Key> + Send + Sync + 'static
where
    K: Resource,
    F: PartialEq + Send + 'static,
{
    let heard: Mutex<HashMap<String, F>> = Mutex::default();
    move |object| {
        let uid = object.meta().uid.clone().unwrap_or_default();
        let facts = facts(object);
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.get(&uid) == Some(&facts) {
            return Vec::new();
        }
        heard.insert(uid, facts);
        drop(heard);
        map(object)
    }
}
