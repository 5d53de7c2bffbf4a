//! What an object has to be at the target, and where it is not. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::DynamicObject;
use kube::core::ObjectMeta;
use scute_api::metal3::STATUS_ANNOTATION;
use serde_json::{Value, json};

use crate::marks::{COPIED_FROM, MOVED_FROM};
use crate::object::Object;
use crate::plan::Item;

/// What the target has given to objects of the move.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// UIDs by the source's.
    pub uids: BTreeMap<String, String>,
    /// Versions of Secrets by the source's: a host notes that of its credentials.
    pub versions: BTreeMap<String, String>,
}

impl Given {
    /// Notes what the target has made of an object of the source.
    pub fn note(&mut self, source: &Object, target: &DynamicObject) {
        self.uids.insert(source.uid().to_owned(), target.metadata.uid.clone().unwrap_or_default());
        if source.kind() == "Secret" {
            let version = |meta: &ObjectMeta| meta.resource_version.clone().unwrap_or_default();
            self.versions.insert(version(&source.is.metadata), version(&target.metadata));
        }
    }
}

/// The object for the target, without its status. Its owners have to be there: otherwise `None`.
pub fn expected(item: &Item, given: &Given) -> Option<DynamicObject> {
    let source = &item.object.is;
    let mut owners = source.metadata.owner_references.clone();
    for owner in owners.iter_mut().flatten() {
        owner.uid.clone_from(given.uids.get(&owner.uid)?);
    }
    let mut annotations = source.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(MOVED_FROM);
    annotations.remove(COPIED_FROM);
    // The status itself is written; each side's controller keeps this copy of it for those who cannot.
    annotations.remove(STATUS_ANNOTATION);
    let origin = if item.copied { COPIED_FROM } else { MOVED_FROM };
    annotations.insert(origin.to_owned(), item.object.uid().to_owned());
    let mut data = source.data.clone();
    if let Some(fields) = data.as_object_mut() {
        fields.remove("status");
    }
    Some(DynamicObject {
        types: source.types.clone(),
        metadata: ObjectMeta {
            name: source.metadata.name.clone(),
            namespace: source.metadata.namespace.clone(),
            labels: source.metadata.labels.clone(),
            annotations: Some(annotations),
            finalizers: source.metadata.finalizers.clone(),
            owner_references: owners,
            ..ObjectMeta::default()
        },
        data,
    })
}

/// Where an object of the target is not what it has to be; its path only, for it may be a Secret.
pub fn difference(expected: &DynamicObject, actual: &DynamicObject) -> Option<String> {
    let meta = |object: &DynamicObject, with_finalizers: bool| {
        let meta = &object.metadata;
        json!({
            "labels": meta.labels, "annotations": meta.annotations, "ownerReferences": meta.owner_references,
            "finalizers": if with_finalizers { json!(meta.finalizers) } else { Value::Null },
        })
    };
    // The source's are taken off just before it goes: a kill in between is no difference.
    let with_finalizers = expected.metadata.finalizers.as_ref().is_some_and(|list| !list.is_empty());
    let (want, have) = (meta(expected, with_finalizers), meta(actual, with_finalizers));
    within(&want, &have, "metadata").or_else(|| within(&expected.data, &actual.data, ""))
}

/// The status for the target: what refers to the source's generations and versions refers to the target's.
pub fn expected_status(source: &Object, generation: i64, given: &Given) -> Option<Value> {
    let mut status = source.is.data.get("status").filter(|status| !is_empty(status))?.clone();
    // The pause of a Cluster was a change, which need not have been seen.
    let pause = i64::from(source.kind() == "Cluster");
    generations(&mut status, source.is.metadata.generation.unwrap_or_default() - pause, generation);
    if source.kind() == "BareMetalHost" {
        for credentials in ["goodCredentials", "triedCredentials"] {
            let Some(version) = status.pointer_mut(&format!("/{credentials}/credentialsVersion")) else {
                continue;
            };
            if let Some(new) = version.as_str().and_then(|old| given.versions.get(old)) {
                *version = json!(new);
            }
        }
    }
    Some(status)
}

/// Where the target's status is not what it has to be. The pause itself is told by each side's controllers in their own time.
pub fn status_difference(expected: &Value, actual: &Value) -> Option<String> {
    let bare = |status: &Value| {
        let mut status = status.clone();
        without_own(&mut status);
        status
    };
    within(&bare(expected), &bare(actual), "status")
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn generations(value: &mut Value, old: i64, new: i64) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_i64().filter(|_| name == "observedGeneration") {
                    Some(seen) if seen >= old => *value = json!(new),
                    Some(_) => *value = json!((new - 1).max(0)),
                    None => generations(value, old, new),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|value| generations(value, old, new)),
        _ => {}
    }
}

fn without_own(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Each side's own: translated when it is written, and not to be told once the Secret at the source is gone.
            fields.remove("observedGeneration");
            fields.remove("credentialsVersion");
            fields.values_mut().for_each(without_own);
        }
        Value::Array(items) => {
            items.retain(|item| item["type"] != "Paused" || item["status"].is_null());
            items.iter_mut().for_each(without_own);
        }
        _ => {}
    }
}

/// Who has a part in an object, by manager, operation and subresource: server-side apply prunes by it.
pub fn managers(object: &DynamicObject) -> BTreeSet<(String, String, String)> {
    let entries = object.metadata.managed_fields.iter().flatten();
    entries
        .map(|entry| {
            let word = |word: &Option<String>| word.clone().unwrap_or_default();
            (word(&entry.manager), word(&entry.operation), word(&entry.subresource))
        })
        .collect()
}

/// The first path at which `have` lacks something of `want`. A target that is newer may fill in more.
fn within(want: &Value, have: &Value, path: &str) -> Option<String> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => want
            .iter()
            .filter(|(_, value)| !value.is_null())
            .find_map(|(name, value)| within(value, have.get(name).unwrap_or(&Value::Null), &below(name))),
        (Value::Array(want), Value::Array(have)) if want.len() == have.len() => want
            .iter()
            .zip(have)
            .enumerate()
            .find_map(|(n, (want, have))| within(want, have, &below(&n.to_string()))),
        (want, have) => (want != have && !(is_empty(want) && is_empty(have))).then(|| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_by_its_path_and_more_is_no_difference() {
        let want = json!({"a": {"b": [1, {"c": "x"}]}, "gone": null});
        assert_eq!(within(&want, &json!({"a": {"b": [1, {"c": "x", "default": 1}]}, "more": 1}), ""), None);
        assert_eq!(within(&want, &json!({"a": {"b": [1, {"c": "y"}]}}), ""), Some("a.b.1.c".into()));
        assert_eq!(within(&want, &json!({"a": {"b": [1]}}), ""), Some("a.b".into()));
        assert_eq!(within(&want, &json!({}), ""), Some("a".into()));
    }

    #[test]
    fn generations_are_the_targets_and_what_was_stale_stays_stale() {
        let mut status =
            json!({"observedGeneration": 7, "conditions": [{"type": "A", "observedGeneration": 6}]});
        generations(&mut status, 7, 1);
        assert_eq!(
            status,
            json!({"observedGeneration": 1, "conditions": [{"type": "A", "observedGeneration": 0}]})
        );
    }

    #[test]
    fn the_condition_of_the_pause_is_not_compared_and_others_are() {
        let paused = json!({"conditions": [{"type": "Paused", "status": "True"}, {"type": "Ready", "status": "True"}]});
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let broken = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        assert_eq!(status_difference(&paused, &ready), None);
        assert_eq!(status_difference(&paused, &broken), Some("status.conditions.0.status".into()));
    }
}
