//! Pause: `Cluster.spec.paused`, or an annotation on the object itself, whatever its value.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt};
use scute_api::cluster::Cluster;
use scute_api::meta::PAUSED_ANNOTATION;
use scute_kit::conditions::{Conditions, Status};

/// Why an object is paused; `None` when it is not.
#[must_use]
pub fn paused<K: Resource>(cluster: Option<&Cluster>, object: &K) -> Option<String> {
    paused_by(cluster, object, &[PAUSED_ANNOTATION])
}

/// As [`paused`], by any of several annotations: a provider may have one of its own beside Cluster API's.
#[must_use]
pub fn paused_by<K: Resource>(cluster: Option<&Cluster>, object: &K, annotations: &[&str]) -> Option<String> {
    let of_cluster = cluster.is_some_and(|cluster| cluster.spec.paused == Some(true));
    let of_cluster = of_cluster.then(|| "Cluster.spec.paused is true".to_owned());
    let own = annotations
        .iter()
        .filter(|annotation| object.annotations().contains_key(**annotation))
        .map(|annotation| format!("the annotation {annotation} is set"));
    let why: Vec<_> = of_cluster.into_iter().chain(own).collect();
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster(paused: Value, annotations: Value) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": "c", "annotations": annotations}, "spec": {"paused": paused}
        }))
        .expect("a Cluster")
    }

    #[test]
    fn the_annotation_counts_whatever_its_value_and_others_when_they_are_named() {
        let (runs, stops) = (cluster(json!(null), json!({})), cluster(json!(true), json!({})));
        let object = |annotation: &str| cluster(json!(null), json!({ annotation: "false" }));
        assert_eq!(paused(Some(&runs), &object("other")), None);
        assert_eq!(
            paused(None, &object(PAUSED_ANNOTATION)),
            Some(format!("the annotation {PAUSED_ANNOTATION} is set"))
        );
        assert_eq!(
            paused_by(None, &object("other"), &[PAUSED_ANNOTATION, "other"]),
            Some("the annotation other is set".into())
        );
        assert_eq!(
            paused(Some(&stops), &object(PAUSED_ANNOTATION)),
            Some(format!("Cluster.spec.paused is true, the annotation {PAUSED_ANNOTATION} is set"))
        );
    }
}
