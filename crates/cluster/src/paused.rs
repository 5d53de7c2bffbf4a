//! Pause: `Cluster.spec.paused`, or the annotation on the object itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use scute_api::cluster::Cluster;
use scute_api::meta::PAUSED_ANNOTATION;
use scute_kit::conditions::{Conditions, Status};

/// Why an object is paused; `None` when it is not.
#[must_use]
pub fn paused<K: Resource>(cluster: Option<&Cluster>, object: &K) -> Option<String> {
    let cluster = cluster.filter(|cluster| cluster.spec.paused == Some(true));
    let annotated = object
        .meta()
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(PAUSED_ANNOTATION));
    let mut why = Vec::new();
    if cluster.is_some() {
        why.push("Cluster.spec.paused is true".to_owned());
    }
    if annotated {
        why.push(format!("the annotation {PAUSED_ANNOTATION} is set"));
    }
    (!why.is_empty()).then(|| why.join(", "))
}

/// Puts the Paused condition.
#[must_use]
pub fn put<'a>(conditions: Conditions<'a>, why: Option<&str>) -> Conditions<'a> {
    match why {
        Some(why) => conditions.put("Paused", Status::True, "Paused", why),
        None => conditions.put("Paused", Status::False, "NotPaused", ""),
    }
}

/// The conditions of an object that is paused: all as they were, but for Paused itself.
#[must_use]
pub fn only_paused(
    existing: &[Condition],
    generation: Option<i64>,
    now: jiff::Timestamp,
    why: &str,
) -> Vec<Condition> {
    let paused = put(Conditions::new(existing, generation, now), Some(why)).finish();
    let mut conditions: Vec<_> =
        existing.iter().filter(|condition| condition.type_ != "Paused").cloned().chain(paused).collect();
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}
