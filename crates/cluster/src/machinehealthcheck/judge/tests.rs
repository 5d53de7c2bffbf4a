//! What the checks say of a Machine, as it grows old.

use serde_json::{Value, json};

use super::*;

const BORN: &str = "2026-01-01T00:00:00Z";

fn at(seconds: i64) -> Timestamp {
    BORN.parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds)
}

fn condition(type_: &str, status: &str, reason: &str, since: i64) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "",
        "lastTransitionTime": at(since).to_string()})
}

fn cluster(initialized: i64) -> Cluster {
    serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"}, "spec": {},
        "status": {"conditions": [
            condition("ControlPlaneInitialized", "True", "Initialized", initialized),
            condition("InfrastructureReady", "True", "Ready", 0)]}
    }))
    .expect("a Cluster")
}

fn machine(metadata: Value, conditions: Value) -> Machine {
    let mut machine = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": {"name": "m", "creationTimestamp": BORN},
        "spec": {"clusterName": "c", "bootstrap": {}, "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}},
        "status": {"conditions": conditions}
    });
    for (key, value) in metadata.as_object().into_iter().flatten() {
        machine["metadata"][key] = value.clone();
    }
    serde_json::from_value(machine).expect("a Machine")
}

fn node(status: &str, since: i64) -> NodeSeen {
    let ready = json!({"type": "Ready", "status": status, "reason": "KubeletNotReady",
        "lastTransitionTime": at(since).to_string()});
    let node = json!({"metadata": {"name": "n"}, "status": {"conditions": [ready]}});
    NodeSeen::Found(Arc::new(serde_json::from_value(node).expect("a Node")))
}

fn checks() -> MachineHealthCheckChecks {
    serde_json::from_value(json!({
        "unhealthyNodeConditions": [
            {"type": "Ready", "status": "False", "timeoutSeconds": 300},
            {"type": "Ready", "status": "Unknown", "timeoutSeconds": 300}],
        "unhealthyMachineConditions": [
            {"type": "BootstrapConfigReady", "status": "False", "timeoutSeconds": 60},
            {"type": "NodeReady", "status": "Unknown", "timeoutSeconds": 60}],
    }))
    .expect("checks")
}

fn plain() -> Machine {
    machine(json!({}), json!([]))
}

fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Unhealthy(reason, message) => format!("{reason}: {message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_machine_becomes_a_node_falls_ill_and_is_given_time() {
    let judged = |node: NodeSeen, now| judge(&checks(), &cluster(0), &plain(), &node, at(now));
    assert_eq!(judged(NodeSeen::None, 10), Verdict::Failing(at(600)), "the default, ten minutes");
    assert_eq!(judged(node("True", 20), 30), Verdict::Healthy);
    assert_eq!(judged(node("False", 100), 150), Verdict::Failing(at(400)));
    assert_eq!(
        judged(node("False", 100), 400),
        Verdict::Failing(at(400)),
        "for more than that, not for that long"
    );
    assert_eq!(
        said(judged(node("False", 100), 401)),
        "UnhealthyNode: Health check failed:\n  \
         * Condition Ready on Node is reporting status False with reason KubeletNotReady for more than 5m0s"
    );
    assert_eq!(judged(node("True", 402), 403), Verdict::Healthy, "it is well again");
    assert_eq!(
        said(judged(NodeSeen::Deleted("n".into()), 404)),
        "NodeDeleted: Health check failed:\n  * Node n has been deleted"
    );
}

#[test]
fn time_to_start_counts_from_the_last_milestone() {
    let ready = |since| machine(json!({}), json!([condition("InfrastructureReady", "True", "Ready", since)]));
    let due =
        |initialized, ready: &Machine| judge(&checks(), &cluster(initialized), ready, &NodeSeen::None, at(0));
    assert_eq!(due(0, &plain()), Verdict::Failing(at(600)), "it was made");
    assert_eq!(due(1000, &plain()), Verdict::Failing(at(1600)), "the control plane was initialized");
    assert_eq!(due(1000, &ready(5000)), Verdict::Failing(at(5600)), "its server was there");
    let not_any_more =
        machine(json!({}), json!([condition("InfrastructureReady", "False", "NotReady", 9000)]));
    assert_eq!(due(0, &not_any_more), Verdict::Failing(at(600)), "what has been lost is no milestone");
    let late = judge(&checks(), &cluster(0), &plain(), &NodeSeen::None, at(601));
    assert_eq!(
        said(late),
        "NodeStartupTimeout: Health check failed:\n  * Node failed to report startup in 10m0s"
    );
    let patient = MachineHealthCheckChecks { node_startup_timeout_seconds: Some(0), ..checks() };
    let never = judge(&patient, &cluster(0), &plain(), &NodeSeen::None, at(1_000_000));
    assert_eq!(never, Verdict::TooEarly, "0 is for ever");
}

#[test]
fn a_silent_tenant_makes_nobody_ill() {
    let silence = NodeSeen::Unknown("The tenant cluster has not answered for more than 5 min".into());
    let mirrored = |reason| machine(json!({}), json!([condition("NodeReady", "Unknown", reason, 0)]));
    let judged =
        |machine: &Machine, node: &NodeSeen| judge(&checks(), &cluster(0), machine, node, at(100_000));
    assert!(matches!(judged(&plain(), &silence), Verdict::Unknown(_)));
    assert!(matches!(judged(&mirrored("ConnectionDown"), &silence), Verdict::Unknown(_)));
    assert_eq!(
        judged(&mirrored("ConnectionDown"), &node("True", 0)),
        Verdict::Healthy,
        "the tenant is heard again, and the Machine's own condition is a moment behind"
    );
    assert!(matches!(
        judged(&mirrored("NodeReadyUnknown"), &node("True", 0)),
        Verdict::Unhealthy("UnhealthyMachine", _)
    ));
}

#[test]
fn what_is_wrong_with_the_machine_is_said_first_and_with_all_the_rest() {
    let broken = machine(json!({}), json!([condition("BootstrapConfigReady", "False", "Broken", 0)]));
    assert_eq!(
        said(judge(&checks(), &cluster(0), &broken, &node("Unknown", 0), at(1000))),
        "UnhealthyMachine: Health check failed:\n  \
         * Condition BootstrapConfigReady on Machine is reporting status False with reason Broken for more than 1m0s\n  \
         * Condition Ready on Node is reporting status Unknown with reason KubeletNotReady for more than 5m0s"
    );
}

#[test]
fn a_person_can_say_so() {
    let marked = machine(json!({"annotations": {REMEDIATE_MACHINE_ANNOTATION: ""}}), json!([]));
    let judged = judge(&checks(), &Cluster::default(), &marked, &node("True", 0), at(1));
    assert_eq!(
        said(judged),
        "HasRemediateAnnotation: Health check failed: marked for remediation via \
         cluster.x-k8s.io/remediate-machine annotation"
    );
}

#[test]
fn nobody_is_judged_before_the_cluster_is_there_but_the_first_of_its_control_plane() {
    let mut young = cluster(0);
    young.status.as_mut().expect("a status").conditions.remove(0);
    assert_eq!(judge(&checks(), &young, &plain(), &NodeSeen::None, at(10_000)), Verdict::TooEarly);
    let first = machine(json!({"labels": {CONTROL_PLANE_LABEL: ""}}), json!([]));
    assert!(matches!(
        judge(&checks(), &young, &first, &NodeSeen::None, at(10_000)),
        Verdict::Unhealthy("NodeStartupTimeout", _)
    ));
}

#[test]
fn who_goes_away_is_neither_healthy_nor_ill() {
    let going = machine(json!({"deletionTimestamp": BORN}), json!([]));
    assert_eq!(judge(&checks(), &cluster(0), &going, &node("True", 0), at(1)), Verdict::TooEarly);
    let gone = NodeSeen::Deleted("n".into());
    assert_eq!(
        judge(&checks(), &cluster(0), &going, &gone, at(1)),
        Verdict::TooEarly,
        "its Node goes with it"
    );
}

#[test]
fn times_read_as_upstream_writes_them() {
    let words = [30, 600, 3600, 3725].map(|seconds| in_words(Duration::from_secs(seconds)));
    assert_eq!(words, ["30s", "10m0s", "1h0m0s", "1h2m5s"]);
}
