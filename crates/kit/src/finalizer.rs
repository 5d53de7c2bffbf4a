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

/// Adds the finalizer if it is missing. Not for objects that are being deleted: the API server refuses.
///
/// # Errors
/// A conflict when somebody wrote the object in between; otherwise as the API server answers.
pub async fn ensure<K>(hub: &Hub, object: &Arc<K>, finalizer: &str) -> Result<Arc<K>, Error>
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
{
    if has(object.as_ref(), finalizer) {
        return Ok(object.clone());
    }
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    finalizers.push(finalizer.to_owned());
    write(hub, object.as_ref(), finalizers).await
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
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    finalizers.retain(|known| known != finalizer);
    match write(hub, object.as_ref(), finalizers).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

async fn write<K>(hub: &Hub, object: &K, finalizers: Vec<String>) -> Result<Arc<K>, Error>
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
{
    let patch = json!({ "metadata": {
        "finalizers": finalizers,
        "uid": object.meta().uid,
        "resourceVersion": object.meta().resource_version,
    }});
    hub.patch(&Key::of(object), &patch).await
}
