//! Pause: `Cluster.spec.paused`, or the annotation on the object itself.

use kube::{Resource, ResourceExt};
use scute_api::cluster::Cluster;
use scute_api::meta::PAUSED_ANNOTATION;

/// Whether nothing of the object may be written.
#[must_use]
pub fn is_paused<K: Resource>(cluster: Option<&Cluster>, object: &K) -> bool {
    cluster.is_some_and(|cluster| cluster.spec.paused == Some(true))
        || object.annotations().contains_key(PAUSED_ANNOTATION)
}
