//! Pause: `Cluster.spec.paused`, or an annotation on the object itself, whatever its value. An object that `clusterctl move`
//! deletes is paused, too: what it stands for goes on elsewhere.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use scute_api::cluster::Cluster;
use scute_api::meta::{DELETE_FOR_MOVE_ANNOTATION, PAUSED_ANNOTATION};
use scute_kit::conditions::{Conditions, Status, find};
use scute_kit::{Hub, Kind, Next, Why};
use serde::{Deserialize, Serialize};
use serde_json::json;

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
        .chain([&DELETE_FOR_MOVE_ANNOTATION])
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

/// The conditions of an object that is paused: all as they were, but for Paused itself, and for Deleting when a deletion
/// has been asked for that waits for the end of the pause.
#[must_use]
pub fn only_paused(
    existing: &[Condition],
    object: &ObjectMeta,
    now: jiff::Timestamp,
    why: &str,
) -> Vec<Condition> {
    let mut conditions = put(Conditions::new(existing, object.generation, now), Some(why));
    let waits = object.deletion_timestamp.is_some() && find(existing, "Deleting").is_some();
    if waits {
        let message = format!("The deletion waits until the pause ends: {why}");
        conditions = conditions.put("Deleting", Status::True, "Paused", message);
    }
    let said = conditions.finish();
    let kept = existing.iter().filter(|old| find(&said, &old.type_).is_none()).cloned();
    let mut conditions: Vec<_> = kept.chain(said.iter().cloned()).collect();
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}

/// Says on an object that it is paused, and nothing else.
pub async fn pause<K>(hub: &Hub, object: &K, why: String) -> Next
where
    K: Kind + Serialize + Resource<DynamicType = ()> + HasStatus<Status: Clone + Default + Serialize>,
{
    let mut status = json!(object.status().cloned().unwrap_or_default());
    let existing = Vec::deserialize(&status["conditions"]).unwrap_or_default();
    status["conditions"] = json!(only_paused(&existing, object.meta(), hub.now(), &why));
    hub.report(object, status, Next::OnChange(Why::new("Paused", why))).await
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::Value;

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
        assert!(paused(Some(&runs), &object(DELETE_FOR_MOVE_ANNOTATION)).is_some());
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

    #[test]
    fn a_deletion_that_waits_for_the_end_of_a_pause_says_so() {
        let before = Conditions::new(&[], None, jiff::Timestamp::UNIX_EPOCH)
            .put("Deleting", Status::False, "NotDeleting", "")
            .put("Ready", Status::Unknown, "Asked", "")
            .finish();
        let said = |meta: &ObjectMeta| {
            let all = only_paused(&before, meta, jiff::Timestamp::UNIX_EPOCH, "because");
            let line = |condition: &Condition| {
                format!("{}={} {}", condition.type_, condition.status, condition.reason)
            };
            all.iter().map(line).collect::<Vec<_>>()
        };
        let mut meta = ObjectMeta::default();
        assert_eq!(said(&meta), ["Deleting=False NotDeleting", "Paused=True Paused", "Ready=Unknown Asked"]);
        meta.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(said(&meta), ["Deleting=True Paused", "Paused=True Paused", "Ready=Unknown Asked"]);
    }
}
