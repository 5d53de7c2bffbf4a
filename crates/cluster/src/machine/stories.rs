//! Machines that go away, as far as they get with what is known.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use scute_api::cluster::{Cluster, Machine};
use scute_contract::{Contract, External, Found, Served, Unknown};
use serde_json::{Value, json};

use super::deletion::{Progress, Removal, Stage, gives_up_node, next};
use super::observe::{ControlPlane, Nodes, Observed, Rollout};
use crate::calls::Call;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn merge(object: &mut Value, over: Value) {
    match (object, over) {
        (Value::Object(object), Value::Object(over)) => {
            for (key, value) in over {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, over) => *object = over,
    }
}

/// A Machine with a Node, whose deletion has been asked for, of a hosted control plane that answers.
fn going(over: Value) -> Observed {
    let mut machine = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": {"name": "m", "namespace": "ns", "deletionTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"clusterName": "c", "providerID": "test://m", "bootstrap": {"dataSecretName": "m"},
            "infrastructureRef": {"apiGroup": "g", "kind": "TestMachine", "name": "m"}},
        "status": {"nodeRef": {"name": "n"}, "initialization": {"infrastructureProvisioned": true}}
    });
    merge(&mut machine, over);
    let cluster = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c", "namespace": "ns"},
        "spec": {}, "status": {"initialization": {"controlPlaneInitialized": true}}
    });
    let machine: Machine = serde_json::from_value(machine).expect("a Machine");
    let cluster: Cluster = serde_json::from_value(cluster).expect("a Cluster");
    Observed {
        machine: Arc::new(machine),
        cluster: Some(Arc::new(cluster)),
        cluster_unknown: None,
        bootstrap: None,
        infrastructure: object(),
        nodes: Nodes::Unknown("the tenant is silent".into()),
        rollout: Rollout::default(),
        control_plane: ControlPlane::Usable,
        rules: Default::default(),
        call: Call::Idle,
    }
}

fn object() -> Found {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("g", "v1", "TestMachine"));
    let object = DynamicObject::new("m", &resource);
    Found::Object(External {
        served: Served { resource, contract: Contract::V1Beta2 },
        object: Arc::new(object),
    })
}

fn first(seen: &Observed) -> Stage {
    next(seen, Progress::default(), at(60))
}

fn undecided(seen: &Observed) -> String {
    match first(seen) {
        Stage::Undecided(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_is_drained_whether_or_not_it_is_seen() {
    assert_eq!(first(&going(json!({}))), Stage::Drain("n".into()));
}

#[test]
fn a_control_plane_that_cannot_be_looked_up_is_not_one_that_is_gone() {
    let unknown = ControlPlane::Unknown("TestControlPlane c cannot be looked up: forbidden".into());
    let mut seen = Observed { control_plane: unknown, ..going(json!({})) };
    assert_eq!(
        undecided(&seen),
        "whether Node n has to be drained is not known: TestControlPlane c cannot be looked up: forbidden"
    );
    seen.control_plane = ControlPlane::Gone;
    assert_eq!(first(&seen), Stage::DeleteInfrastructure(Removal::Ask), "nobody is left to ask");
}

#[test]
fn a_cluster_that_cannot_be_read_is_not_one_that_is_gone() {
    let bad = Some("Cluster ns/c cannot be read: spec.paused: invalid type".to_owned());
    let mut seen = Observed { cluster: None, cluster_unknown: bad, ..going(json!({})) };
    assert!(
        undecided(&seen).ends_with("is not known: Cluster ns/c cannot be read: spec.paused: invalid type")
    );
    seen.cluster_unknown = None;
    assert_eq!(first(&seen), Stage::DeleteInfrastructure(Removal::Ask));
}

#[test]
fn a_node_that_cannot_be_looked_up_is_not_one_that_is_not_there() {
    let nodeless = json!({"status": {"nodeRef": null}});
    let mut seen = going(nodeless.clone());
    assert_eq!(
        undecided(&seen),
        "whether a Node with spec.providerID test://m has to be drained is not known: the tenant is silent"
    );
    seen.nodes = Nodes::Known(Vec::new());
    assert_eq!(first(&seen), Stage::DeleteInfrastructure(Removal::Ask));
    let mut never_started = nodeless;
    merge(&mut never_started, json!({"spec": {"providerID": null}}));
    assert_eq!(first(&going(never_started)), Stage::DeleteInfrastructure(Removal::Ask));
}

#[test]
fn the_limit_of_a_drain_ends_what_cannot_be_decided_as_well() {
    let limited = json!({"spec": {"deletion": {"nodeDrainTimeoutSeconds": 30}},
        "status": {"deletion": {"nodeDrainStartTime": "1970-01-01T00:00:10Z"}}});
    let seen = Observed { control_plane: ControlPlane::Unknown("forbidden".into()), ..going(limited) };
    assert!(matches!(next(&seen, Progress::default(), at(39)), Stage::Undecided(_)));
    assert_eq!(next(&seen, Progress::default(), at(40)), Stage::DetachVolumes("n".into()));
}

#[test]
fn infrastructure_is_waited_for_unless_it_is_known_to_be_none() {
    let progress = Progress { drained: true, detached: true, node_gone: true };
    let stage = |found: Found, provisioned: bool| {
        let status = json!({"status": {"initialization": {"infrastructureProvisioned": provisioned}}});
        next(&Observed { infrastructure: found, ..going(status) }, progress, at(60))
    };
    let blocked = |stage| matches!(stage, Stage::DeleteInfrastructure(Removal::Blocked(_)));
    assert!(blocked(stage(Found::Unknown(Unknown::Silent), false)));
    assert!(blocked(stage(Found::NoContract("crd".into()), true)), "a provider that lost its label");
    assert_eq!(stage(Found::NoContract("crd".into()), false), Stage::Done, "a mistake");
    assert_eq!(stage(Found::Foreign("Machine other".into()), true), Stage::Done, "another's");
    assert_eq!(stage(Found::NotInstalled("crd".into()), true), Stage::Done);
    assert_eq!(stage(Found::Missing, true), Stage::Done);
}

#[test]
fn the_time_for_deleting_a_node_begins_with_the_first_try() {
    // The deletion of the Machine began at 0, and its infrastructure took an hour.
    let begun = at(3600);
    let gives_up = |seen: &Observed, seconds: i64| {
        gives_up_node(seen, begun, begun + SignedDuration::from_secs(seconds))
    };
    let seen = going(json!({}));
    assert!(!gives_up(&seen, 0) && !gives_up(&seen, 9) && gives_up(&seen, 10));
    let never = going(json!({"spec": {"deletion": {"nodeDeletionTimeoutSeconds": 0}}}));
    assert!(!gives_up(&never, 100_000));
}

#[test]
fn a_hook_before_the_infrastructure_goes_holds_without_a_node_too() {
    let hook = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup";
    let nodeless = json!({"metadata": {"annotations": {hook: ""}}, "status": {"nodeRef": null},
        "spec": {"providerID": null}});
    assert_eq!(first(&going(nodeless)), Stage::PreTerminateHook(vec![hook.to_owned()]));
}
