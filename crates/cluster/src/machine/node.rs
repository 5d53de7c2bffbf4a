//! What a Machine writes onto its Node: owner annotations, labels of a few domains, taints. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt;
use scute_api::cluster::{
    Machine, MachineTaint, MachineTaintPropagation, NODE_ANNOTATIONS_FROM_MACHINE_ANNOTATION,
    NODE_CLUSTER_NAME_ANNOTATION, NODE_CLUSTER_NAMESPACE_ANNOTATION, NODE_LABELS_FROM_MACHINE_ANNOTATION,
    NODE_MACHINE_ANNOTATION, NODE_OWNER_KIND_ANNOTATION, NODE_OWNER_NAME_ANNOTATION,
    NODE_TAINTS_FROM_MACHINE_ANNOTATION, OUTDATED_REVISION_TAINT, UNINITIALIZED_TAINT,
};
use scute_contract::Reported;
use scute_contract::owners::controller;
use serde_json::{Map, Value, json};

/// The merge patch that brings a Node up to its Machine; `None` when nothing has to change. `outdated`
/// says whether a rollout is going to replace the Machine. Carries the Node's resource version, so that
/// nobody else's taint is lost.
#[must_use]
pub fn node_patch(node: &Node, machine: &Machine, outdated: bool) -> Option<Value> {
    let labels: BTreeMap<_, _> =
        machine.labels().iter().filter(|(key, _)| is_synced_label(key)).map(owned).collect();
    let copied: BTreeMap<_, _> =
        machine.annotations().iter().filter(|(key, _)| is_synced_annotation(key)).map(owned).collect();
    let mut annotations = owner_annotations(machine);
    annotations.insert(NODE_LABELS_FROM_MACHINE_ANNOTATION.into(), keys(&labels));
    annotations.insert(NODE_ANNOTATIONS_FROM_MACHINE_ANNOTATION.into(), keys(&copied));
    annotations.insert(NODE_TAINTS_FROM_MACHINE_ANNOTATION.into(), kept(&machine.spec.taints));
    annotations.extend(copied.clone());

    let mut metadata = Map::new();
    let label_changes = changes(node.labels(), &labels, &listed(node, NODE_LABELS_FROM_MACHINE_ANNOTATION));
    let annotation_changes =
        changes(node.annotations(), &annotations, &listed(node, NODE_ANNOTATIONS_FROM_MACHINE_ANNOTATION));
    for (name, changes) in [("labels", label_changes), ("annotations", annotation_changes)] {
        if !changes.is_empty() {
            metadata.insert(name.to_owned(), Value::Object(changes));
        }
    }
    let mut patch = Map::new();
    let seen = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let from_machine = node.annotations().get(NODE_TAINTS_FROM_MACHINE_ANNOTATION).map(String::as_str);
    let taints = wanted_taints(&seen, &machine.spec.taints, from_machine, outdated);
    if taints != seen {
        patch.insert("spec".to_owned(), json!({ "taints": taints }));
    }
    if patch.is_empty() && metadata.is_empty() {
        return None;
    }
    metadata.insert("resourceVersion".to_owned(), json!(node.resource_version()));
    patch.insert("metadata".to_owned(), Value::Object(metadata));
    Some(Value::Object(patch))
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

fn keys(map: &BTreeMap<String, String>) -> String {
    map.keys().cloned().collect::<Vec<_>>().join(",")
}

fn listed(node: &Node, annotation: &str) -> BTreeSet<String> {
    let listed = node.annotations().get(annotation).map(String::as_str).unwrap_or_default();
    listed.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// What to set, and what of `from_machine` (keys that came from the Machine before) to remove.
fn changes(
    seen: &BTreeMap<String, String>,
    want: &BTreeMap<String, String>,
    from_machine: &BTreeSet<String>,
) -> Map<String, Value> {
    let set = want.iter().filter(|(key, value)| seen.get(*key) != Some(value));
    let gone = from_machine.iter().filter(|key| !want.contains_key(*key) && seen.contains_key(*key));
    set.map(|(key, value)| (key.clone(), json!(value)))
        .chain(gone.map(|key| (key.clone(), Value::Null)))
        .collect()
}

fn owner_annotations(machine: &Machine) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([
        (NODE_CLUSTER_NAME_ANNOTATION.to_owned(), machine.spec.cluster_name.clone()),
        (NODE_CLUSTER_NAMESPACE_ANNOTATION.to_owned(), machine.namespace().unwrap_or_default()),
        (NODE_MACHINE_ANNOTATION.to_owned(), machine.name_any()),
    ]);
    if let Some(owner) = controller(&machine.metadata) {
        annotations.insert(NODE_OWNER_KIND_ANNOTATION.to_owned(), owner.kind.clone());
        annotations.insert(NODE_OWNER_NAME_ANNOTATION.to_owned(), owner.name.clone());
    }
    annotations
}

fn domain(key: &str) -> &str {
    key.split_once('/').map_or("", |(domain, _)| domain)
}

fn is_in(domain: &str, parent: &str) -> bool {
    domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

/// Only these domains: a Node must not be able to be given labels that mean something to the scheduler
/// by who may only write Machines, and everything else on a Node belongs to others.
fn is_synced_label(key: &str) -> bool {
    let domain = domain(key);
    domain == "node-role.kubernetes.io"
        || is_in(domain, "node-restriction.kubernetes.io")
        || is_in(domain, "node.cluster.x-k8s.io")
}

fn is_synced_annotation(key: &str) -> bool {
    is_in(domain(key), "node.cluster.x-k8s.io")
}

/// `key:effect`, by which a taint is told from others.
fn id(key: &str, effect: &str) -> String {
    format!("{key}:{effect}")
}

/// The taints that are kept on the Node, and go with the Machine's, as the annotation has them.
fn kept(taints: &[MachineTaint]) -> String {
    let always = taints.iter().filter(|taint| taint.propagation == MachineTaintPropagation::Always);
    let ids: BTreeSet<_> = always.map(|taint| id(&taint.key, taint.effect.as_str())).collect();
    ids.into_iter().collect::<Vec<_>>().join(",")
}

/// `from_machine` are those that came from the Machine before; a Node that has no word of it is new.
fn wanted_taints(
    seen: &[Taint],
    of_machine: &[MachineTaint],
    from_machine: Option<&str>,
    outdated: bool,
) -> Vec<Taint> {
    let is_of_machine = |taint: &Taint| {
        of_machine.iter().any(|own| own.key == taint.key && own.effect.as_str() == taint.effect)
    };
    let before: BTreeSet<_> = from_machine.unwrap_or_default().split(',').collect();
    let stays = |taint: &&Taint| {
        taint.key != UNINITIALIZED_TAINT
            && (is_of_machine(taint) || !before.contains(id(&taint.key, &taint.effect).as_str()))
    };
    let mut taints: Vec<_> = seen.iter().filter(stays).cloned().collect();
    for own in of_machine {
        if own.propagation == MachineTaintPropagation::OnInitialization && from_machine.is_some() {
            continue;
        }
        let same = |taint: &&mut Taint| taint.key == own.key && taint.effect == own.effect.as_str();
        match taints.iter_mut().find(same) {
            Some(known) => known.value.clone_from(&own.value),
            None => taints.push(Taint {
                key: own.key.clone(),
                value: own.value.clone(),
                effect: own.effect.as_str().to_owned(),
                time_added: None,
            }),
        }
    }
    let has = taints.iter().any(|taint| taint.key == OUTDATED_REVISION_TAINT);
    if outdated && !has {
        taints.push(Taint {
            key: OUTDATED_REVISION_TAINT.to_owned(),
            effect: "PreferNoSchedule".to_owned(),
            ..Default::default()
        });
    } else if !outdated {
        taints.retain(|taint| taint.key != OUTDATED_REVISION_TAINT);
    }
    taints
}

/// Conditions of a Node that are bad when True.
const PRESSURES: [&str; 3] = ["MemoryPressure", "DiskPressure", "PIDPressure"];

/// The Node's own Ready condition.
#[must_use]
pub fn ready(node: &Node) -> Option<Reported> {
    reported(node, "Ready")
}

/// Why the Node is not healthy: not Ready, or under pressure. Empty when it is healthy; the flag says
/// whether anything is known to be bad rather than not known.
#[must_use]
pub fn ailments(node: &Node) -> (Vec<String>, bool) {
    let mut found = Vec::new();
    let mut bad = false;
    match ready(node) {
        Some(ready) if ready.status == "True" => {}
        Some(ready) => {
            bad |= ready.status == "False";
            found.push(format!("* Node.Ready: {}", ready.message));
        }
        None => found.push("* Node.Ready: Not yet reported".to_owned()),
    }
    for pressure in PRESSURES {
        match reported(node, pressure) {
            Some(condition) if condition.status == "True" => {
                bad = true;
                found.push(format!("* Node.{pressure}: {}", condition.message));
            }
            Some(condition) if condition.status != "False" => {
                found.push(format!("* Node.{pressure}: {}", condition.message));
            }
            _ => {}
        }
    }
    (found, bad)
}

fn reported(node: &Node, type_: &str) -> Option<Reported> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(Reported {
        status: condition.status.clone(),
        reason: condition.reason.clone().unwrap_or_default(),
        message: condition.message.clone().unwrap_or_default(),
    })
}

/// Whether nothing has been heard of the Node's kubelet for a while.
#[must_use]
pub fn is_unreachable(node: &Node) -> bool {
    ready(node).is_some_and(|ready| ready.status == "Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: Value) -> Node {
        serde_json::from_value(value).expect("a Node")
    }

    fn machine(labels: Value) -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": "m", "namespace": "ns", "labels": labels,
                "ownerReferences": [{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineSet",
                    "name": "ms", "uid": "1", "controller": true}]},
            "spec": {"clusterName": "c", "bootstrap": {"dataSecretName": "x"},
                "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}}
        }))
        .expect("a Machine")
    }

    #[test]
    fn a_new_node_gets_annotations_and_allowed_labels_and_loses_the_taint() {
        let seen = node(json!({"metadata": {"name": "n", "resourceVersion": "7", "labels": {"theirs": "1"}},
            "spec": {"taints": [{"key": UNINITIALIZED_TAINT, "effect": "NoSchedule"},
                {"key": "theirs", "effect": "NoExecute"}]}}));
        let machine = machine(json!({"node-role.kubernetes.io/worker": "", "team": "a",
            "rack.node-restriction.kubernetes.io/row": "1", "evil-node-restriction.kubernetes.io/x": "1"}));
        let patch = node_patch(&seen, &machine, false).expect("much to do");
        assert_eq!(
            patch["metadata"]["labels"],
            json!({"node-role.kubernetes.io/worker": "", "rack.node-restriction.kubernetes.io/row": "1"})
        );
        let annotations = &patch["metadata"]["annotations"];
        assert_eq!(annotations["cluster.x-k8s.io/machine"], "m");
        assert_eq!(annotations["cluster.x-k8s.io/owner-name"], "ms");
        assert_eq!(patch["spec"]["taints"], json!([{"key": "theirs", "effect": "NoExecute"}]));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn a_label_that_left_the_machine_leaves_the_node_and_no_other_does() {
        let seen = node(
            json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/old": "", "theirs": "1"},
            "annotations": {NODE_LABELS_FROM_MACHINE_ANNOTATION: "node-role.kubernetes.io/old"}}}),
        );
        let patch = node_patch(&seen, &machine(json!({})), false).expect("a label to remove");
        assert_eq!(patch["metadata"]["labels"], json!({"node-role.kubernetes.io/old": null}));
    }

    #[test]
    fn a_second_look_finds_nothing_to_do() {
        let machine = machine(json!({"node-role.kubernetes.io/worker": ""}));
        let mut seen = json!({"metadata": {"name": "n"}, "spec": {}});
        let patch = node_patch(&node(seen.clone()), &machine, true).expect("much to do");
        json_patch_merge(&mut seen, &patch);
        assert_eq!(node_patch(&node(seen), &machine, true), None);
    }

    #[test]
    fn outdated_nodes_are_shunned_and_forgiven() {
        let taints = wanted_taints(&[], &[], None, true);
        assert_eq!(taints[0].key, OUTDATED_REVISION_TAINT);
        assert_eq!(wanted_taints(&taints, &[], None, true), taints);
        assert!(wanted_taints(&taints, &[], None, false).is_empty());
    }

    #[test]
    fn the_story_of_a_machines_taints() {
        let taint = |key: &str, value: &str, propagation: &str| json!({"key": key, "value": value, "effect": "NoSchedule", "propagation": propagation});
        let with = |taints: Value| {
            let mut machine = machine(json!({}));
            machine.spec.taints = serde_json::from_value(taints).expect("taints");
            machine
        };
        let said = |node: &Value| -> Vec<String> {
            let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            taints
                .iter()
                .map(|taint| format!("{}={}", taint["key"], taint["value"]).replace('"', ""))
                .collect()
        };
        let mut seen = json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "theirs", "value": "x", "effect": "NoSchedule"}]}});
        let first = with(json!([taint("always", "1", "Always"), taint("once", "1", "OnInitialization")]));
        let patch = node_patch(&node(seen.clone()), &first, false).expect("a new Node");
        json_patch_merge(&mut seen, &patch);
        assert_eq!(said(&seen), ["theirs=x", "always=1", "once=1"]);
        assert_eq!(node_patch(&node(seen.clone()), &first, false), None);

        seen["spec"]["taints"] = json!([{"key": "theirs", "value": "x", "effect": "NoSchedule"}]);
        let patch = node_patch(&node(seen.clone()), &first, false).expect("one is missing");
        json_patch_merge(&mut seen, &patch);
        assert_eq!(said(&seen), ["theirs=x", "always=1"], "what was for the beginning does not come back");

        let changed = with(json!([taint("always", "2", "Always")]));
        let patch = node_patch(&node(seen.clone()), &changed, false).expect("another value");
        json_patch_merge(&mut seen, &patch);
        assert_eq!(said(&seen), ["theirs=x", "always=2"]);
        let patch = node_patch(&node(seen.clone()), &with(json!([])), false).expect("none");
        json_patch_merge(&mut seen, &patch);
        assert_eq!(said(&seen), ["theirs=x"]);
    }

    fn json_patch_merge(target: &mut Value, patch: &Value) {
        match (target, patch) {
            (Value::Object(target), Value::Object(patch)) => {
                for (key, value) in patch {
                    if value.is_null() {
                        target.remove(key);
                    } else {
                        json_patch_merge(target.entry(key.clone()).or_insert(Value::Null), value);
                    }
                }
            }
            (target, patch) if patch.is_object() => {
                *target = json!({});
                json_patch_merge(target, patch);
            }
            (target, patch) => *target = patch.clone(),
        }
    }
}
