//! The plan alone: no server, no client.

use std::collections::BTreeSet;
use std::sync::Arc;

use scute_movement::{MOVE, MOVED_FROM, Object, Observed, Plan, Scope, kinds, plan};
use serde_json::{Value, json};

/// An object whose UID is its kind and name.
fn object(kind: &str, name: &str, owner: Option<&Object>, more: Value) -> Object {
    let of = kinds().into_iter().find(|known| known.resource.kind == kind).expect("a kind");
    let owners: Vec<Value> = owner
        .iter()
        .map(|owner| {
            let key = owner.key();
            json!({"apiVersion": "any/v1", "kind": key.kind, "name": key.name, "uid": owner.is.metadata.uid})
        })
        .collect();
    let mut is = json!({"apiVersion": of.resource.api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "ns", "uid": format!("{kind}/{name}"), "ownerReferences": owners}});
    for (field, value) in more.as_object().into_iter().flatten() {
        match field.as_str() {
            "annotations" | "labels" => is["metadata"][field] = value.clone(),
            _ => is[field] = value.clone(),
        }
    }
    Object { of: Arc::new(of), is: serde_json::from_value(is).expect("an object") }
}

fn cluster(name: &str) -> Object {
    let settled = json!({"infrastructureProvisioned": true, "controlPlaneInitialized": true});
    object("Cluster", name, None, json!({"status": {"initialization": settled}}))
}

fn planned(source: Vec<Object>, target: Vec<Object>, clusters: &[&str]) -> Plan {
    let seen = Observed { namespace: "ns".to_owned(), source, target, unserved: BTreeSet::new() };
    let clusters: BTreeSet<String> = clusters.iter().map(|name| (*name).to_owned()).collect();
    let scope = Scope { clusters: (!clusters.is_empty()).then_some(clusters), hosts: false };
    plan(&seen, &scope, "new")
}

fn names(plan: &Plan) -> Vec<String> {
    plan.items.iter().map(|item| format!("{} {}", item.level, item.object.key())).collect()
}

#[test]
fn one_cluster_of_two_takes_what_is_its_own_and_what_it_names() {
    let (a, b) = (cluster("a"), cluster("b"));
    let config =
        json!({"spec": {"files": [{"path": "/x", "contentFrom": {"secret": {"name": "file", "key": "x"}}}]}});
    let set = object("MachineDeployment", "a", Some(&a), json!({}));
    let template = object("KubeadmConfigTemplate", "a", Some(&a), config);
    let all = vec![
        object("Secret", "a-ca", None, json!({})),
        object("Secret", "a-else", None, json!({})),
        object("Secret", "b-ca", None, json!({})),
        object("Secret", "file", None, json!({})),
        object("MachineSet", "a", Some(&set), json!({})),
        object("MachineSet", "b", Some(&b), json!({})),
        set,
        template,
        a,
        b,
    ];
    let plan = planned(all, vec![], &["a"]);
    assert_eq!(plan.refusals, [""; 0]);
    assert_eq!(
        names(&plan),
        [
            "0 Secret a-ca",
            "0 Secret file",
            "0 Cluster a",
            "1 KubeadmConfigTemplate a",
            "1 MachineDeployment a",
            "2 MachineSet a"
        ]
    );
}

#[test]
fn a_class_of_two_clusters_does_not_leave_with_one() {
    let of_class = |name: &str| {
        let mut cluster = cluster(name);
        cluster.is.data["spec"] = json!({"topology": {"classRef": {"name": "k"}}});
        cluster
    };
    let all = || vec![of_class("a"), of_class("b"), object("ClusterClass", "k", None, json!({}))];
    let one = planned(all(), vec![], &["a"]);
    assert_eq!(one.refusals, ["ClusterClass k: objects that do not move use it, too"]);
    assert_eq!(planned(all(), vec![], &[]).refusals, [""; 0]);
}

#[test]
fn what_is_under_way_and_what_cannot_leave_is_all_said_at_once() {
    let a = object("Cluster", "a", None, json!({"spec": {"paused": true}}));
    let all = vec![
        object("KubevirtMachine", "v", Some(&a), json!({})),
        object(
            "MachineDeployment",
            "d",
            Some(&a),
            json!({"spec": {"replicas": 3}, "status": {"replicas": 2}}),
        ),
        object(
            "Machine",
            "m",
            Some(&object("MachineSet", "gone", None, json!({}))),
            json!({
            "labels": {"cluster.x-k8s.io/cluster-name": "a"}, "status": {"phase": "Running", "nodeRef": {"name": "n"}}}),
        ),
        a,
    ];
    assert_eq!(
        planned(all, vec![], &[]).refusals,
        [
            "Cluster a: is paused already",
            "Cluster a: its control plane is not initialized",
            "Cluster a: its infrastructure is not provisioned",
            "KubevirtMachine v: a virtual machine runs as a Pod of its management cluster and cannot leave it",
            "Machine m: its owner, MachineSet gone, does not move",
            "MachineDeployment d: has 2 of 3 replicas",
        ]
    );
}

#[test]
fn an_unfinished_move_keeps_its_id_and_leaves_nothing_behind() {
    let marked = |name: &str, more: Value| {
        let mut cluster = cluster(name);
        cluster.is.metadata.annotations = Some(serde_json::from_value(more).expect("annotations"));
        cluster
    };
    let there = || marked("a", json!({MOVE: "old", MOVED_FROM: "Cluster/a"}));
    let resumed = planned(vec![marked("a", json!({MOVE: "old"}))], vec![there()], &[]);
    assert_eq!((resumed.id.as_str(), resumed.resumed, resumed.refusals.len()), ("old", true, 0));
    assert!(resumed.has_reached_target());
    // All that was at the source is gone: what is left is to wake the target.
    let last = planned(vec![], vec![there()], &["a"]);
    assert_eq!((last.items.len(), last.paused_at_target.len(), last.refusals.len()), (0, 1, 0));
    let other = planned(vec![marked("a", json!({MOVE: "old"})), cluster("b")], vec![], &["b"]);
    assert_eq!(other.refusals, ["Cluster a: move old is not finished and has it: name it, too"]);
    let stranger = planned(vec![cluster("a")], vec![marked("a", json!({MOVED_FROM: "another"}))], &[]);
    assert_eq!(stranger.refusals, ["Cluster a: the target has another of this name"]);
    assert_eq!(planned(vec![], vec![], &[]).refusals, ["namespace ns has nothing to move"]);
}
