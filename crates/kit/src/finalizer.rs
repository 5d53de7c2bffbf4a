//! Finalizers, written with optimistic locking.

use std::sync::Arc;

use kube::Resource;
use serde::Serialize;
use serde_json::json;

use crate::hub::Hub;
use crate::key::{Key, Kind};
use crate::write::Error;

/// Whether the object carries the finalizer.
pub fn has<K: Resource>(object: &K, finalizer: &str) -> bool {
    object.meta().finalizers.iter().flatten().any(|known| known == finalizer)
}

/// The finalizers with this one, for a patch that writes more than them; `None` where it is there.
#[must_use]
pub fn with<K: Resource>(object: &K, finalizer: &str) -> Option<Vec<String>> {
    let known = object.meta().finalizers.iter().flatten().cloned();
    (!has(object, finalizer)).then(|| known.chain([finalizer.to_owned()]).collect())
}

/// Adds the finalizer if it is missing. Not for objects that are being deleted: the API server refuses.
///
/// # Errors
/// A conflict when others write the object all the time; otherwise as the API server answers.
pub async fn ensure<K>(hub: &Hub, object: &Arc<K>, finalizer: &str) -> Result<Arc<K>, Error>
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
{
    if has(object.as_ref(), finalizer) {
        return Ok(object.clone());
    }
    write(hub, object, |finalizers| finalizers.push(finalizer.to_owned())).await
}

/// Removes the finalizer if it is there; an object that is gone is no error.
///
/// # Errors
/// As [`ensure`].
pub async fn remove<K>(hub: &Hub, object: &Arc<K>, finalizer: &str) -> Result<(), Error>
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
{
    if !has(object.as_ref(), finalizer) {
        return Ok(());
    }
    match write(hub, object, |finalizers| finalizers.retain(|known| known != finalizer)).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// How often it is tried with what somebody else has just written.
const TRIES: usize = 4;

/// A list is written as a whole, so that of two who change it at once one has to look again.
async fn write<K>(hub: &Hub, object: &Arc<K>, change: impl Fn(&mut Vec<String>)) -> Result<Arc<K>, Error>
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
{
    let (key, mut seen) = (Key::of(object.as_ref()), Arc::clone(object));
    for _ in 1..TRIES {
        match once(hub, &key, seen.as_ref(), &change).await {
            Err(error) if error.is_conflict() => {}
            done => return done,
        }
        match hub.get::<K>(&key).await? {
            Some(newer) if newer.meta().uid == object.meta().uid => seen = Arc::new(newer),
            _ => return Err(Error::Replaced { kind: K::kind(&()).into_owned(), key }),
        }
    }
    once(hub, &key, seen.as_ref(), &change).await
}

async fn once<K>(hub: &Hub, key: &Key, seen: &K, change: impl Fn(&mut Vec<String>)) -> Result<Arc<K>, Error>
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
{
    let mut finalizers = seen.meta().finalizers.clone().unwrap_or_default();
    change(&mut finalizers);
    finalizers.dedup();
    let patch = json!({ "metadata": {
        "finalizers": finalizers,
        "uid": seen.meta().uid,
        "resourceVersion": seen.meta().resource_version,
    }});
    hub.patch(key, &patch).await
}
