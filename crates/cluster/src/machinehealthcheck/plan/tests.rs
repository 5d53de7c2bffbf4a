//! What is said on Machines and made for them, and when nothing is.

use k8s_openapi::api::core::v1::Node;
use kube::api::{ApiResource, GroupVersionKind};
use scute_api::cluster::{CLONED_FROM_GROUP_KIND_ANNOTATION, MachineHealthCheck};
use serde_json::{Value, json};

use super::super::judge::NodeSeen;
use super::*;

const TIME: &str = "2026-01-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().expect("a time")
}

fn condition(type_: &str, status: &str) -> Value {
    json!({"type": type_, "status": status, "reason": "Test", "message": "", "lastTransitionTime": TIME})
}

fn cluster() -> Cluster {
    serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"}, "spec": {},
        "status": {"conditions": [condition("ControlPlaneInitialized", "True"), condition("InfrastructureReady", "True")]}
    }))
    .expect("a Cluster")
}

fn target(name: &str, ready: &str, conditions: Value) -> Target {
    let machine = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"clusterName": "c", "bootstrap": {}, "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}},
        "status": {"conditions": conditions}
    });
    let node = json!({"metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "R", "lastTransitionTime": TIME}]}});
    Target {
        machine: Arc::new(serde_json::from_value(machine).expect("a Machine")),
        node: NodeSeen::Found(Arc::new(serde_json::from_value::<Node>(node).expect("a Node"))),
        remediation: None,
    }
}

fn seen(remediation: Value, targets: Vec<Target>) -> Observed {
    let check: MachineHealthCheck = serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck", "metadata": {"name": "mhc"},
        "spec": {"clusterName": "c", "selector": {"matchLabels": {"a": "b"}}, "remediation": remediation,
            "checks": {"unhealthyNodeConditions": [{"type": "Ready", "status": "False", "timeoutSeconds": 60}]}}
    }))
    .expect("a MachineHealthCheck");
    Observed { check: Arc::new(check), cluster: None, targets, remedy: None }
}

fn remedy() -> Remedy {
    let template = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": "Metal3RemediationTemplate",
        "metadata": {"name": "t", "namespace": "ns"},
        "spec": {"template": {"metadata": {"labels": {"x": "y"}}, "spec": {"strategy": {"retryLimit": 2}}}}
    });
    let kind = GroupVersionKind::gvk("infrastructure.cluster.x-k8s.io", "v1beta2", "Metal3Remediation");
    Remedy {
        template: Ok(Arc::new(serde_json::from_value(template).expect("a template"))),
        resource: ApiResource::from_gvk(&kind),
    }
}

/// `machine: Type=Status Reason, -Type, +made, -ended`.
fn told(plan: &Plan) -> Vec<String> {
    let of = |treatment: &Treatment| {
        let said = treatment.words.said.iter();
        let said = said.map(|said| format!("{}={} {}", said.type_, said.status.as_str(), said.reason));
        let unsaid = treatment.words.unsaid.iter().map(|type_| format!("-{type_}"));
        let made = treatment.make.iter().map(|made| format!("+{}", made.name_any()));
        let ended = treatment.end.iter().map(|ended| format!("ends {}", ended.name_any()));
        let all: Vec<_> = said.chain(unsaid).chain(made).chain(ended).collect();
        format!("{}: {}", treatment.machine.name_any(), all.join(", "))
    };
    plan.treatments.iter().map(of).collect()
}

fn allowed(plan: &Plan) -> String {
    let condition = &plan.status.conditions[1];
    format!("{}={} {}", condition.type_, condition.status, condition.reason)
}

#[test]
fn the_owner_of_an_ill_machine_is_told_once() {
    let ill = target("b", "False", json!([]));
    let told_before = target("c", "False", json!([condition("OwnerRemediated", "False")]));
    let plan =
        plan(&seen(json!(null), vec![target("a", "True", json!([])), ill, told_before]), &cluster(), now());
    assert_eq!(
        told(&plan),
        [
            "a: HealthCheckSucceeded=True HealthCheckSucceeded",
            "b: HealthCheckSucceeded=False UnhealthyNode, OwnerRemediated=False WaitingForRemediation",
            "c: HealthCheckSucceeded=False UnhealthyNode",
        ]
    );
    let status = &plan.status;
    assert_eq!(
        (status.expected_machines, status.current_healthy, status.remediations_allowed),
        (Some(3), Some(1), Some(1))
    );
    assert_eq!(status.targets, ["a", "b", "c"]);
    assert_eq!(allowed(&plan), "RemediationAllowed=True RemediationAllowed");
}

#[test]
fn too_many_are_said_to_be_ill_and_left_alone() {
    let limit = json!({"triggerIf": {"unhealthyLessThanOrEqualTo": "40%"}});
    let plan = plan(
        &seen(limit, vec![target("a", "False", json!([])), target("b", "False", json!([]))]),
        &cluster(),
        now(),
    );
    assert_eq!(
        told(&plan),
        ["a: HealthCheckSucceeded=False UnhealthyNode", "b: HealthCheckSucceeded=False UnhealthyNode"]
    );
    assert_eq!(allowed(&plan), "RemediationAllowed=False TooManyUnhealthy");
    assert!(plan.restricted.is_some());
}

#[test]
fn who_is_well_again_is_given_up_no_more() {
    let was_ill = json!([condition("HealthCheckSucceeded", "False"), condition("OwnerRemediated", "False")]);
    let again = plan(&seen(json!(null), vec![target("a", "True", was_ill)]), &cluster(), now());
    assert_eq!(told(&again), ["a: HealthCheckSucceeded=True HealthCheckSucceeded, -OwnerRemediated"]);
}

#[test]
fn an_outage_of_the_tenant_changes_nothing_and_is_said() {
    let mut unheard = target("a", "True", json!([condition("HealthCheckSucceeded", "True")]));
    unheard.node = NodeSeen::Unknown("The tenant cluster has not answered for more than 5 min".into());
    let limit = json!({"triggerIf": {"unhealthyLessThanOrEqualTo": 0}});
    let plan = plan(&seen(limit, vec![unheard]), &cluster(), now());
    assert!(told(&plan).is_empty());
    assert_eq!(plan.status.current_healthy, Some(1), "it counts as what it was");
    assert_eq!(allowed(&plan), "RemediationAllowed=Unknown ConnectionDown");
    assert_eq!(
        plan.status.conditions[1].message,
        "The tenant cluster has not answered for more than 5 min: what is said of Machine a stays, and nothing more is \
         done for them"
    );
}

#[test]
fn a_remediation_is_made_once_and_ended_when_its_machine_is_well() {
    let with = |target: Target| Observed { remedy: Some(remedy()), ..seen(json!(null), vec![target]) };
    let ill = plan(&with(target("a", "False", json!([]))), &cluster(), now());
    assert_eq!(
        told(&ill),
        ["a: HealthCheckSucceeded=False UnhealthyNode, ExternallyRemediated=False WaitingForRemediation, +a"]
    );
    let made = ill.treatments[0].make.clone().expect("a remediation");
    assert_eq!(made.data, json!({"spec": {"strategy": {"retryLimit": 2}}}));
    assert_eq!(made.labels()["x"], "y");
    assert_eq!(
        (made.owner_references()[0].kind.as_str(), made.owner_references()[0].controller),
        ("Machine", None)
    );
    assert_eq!(
        made.annotations()[CLONED_FROM_GROUP_KIND_ANNOTATION],
        "Metal3RemediationTemplate.infrastructure.cluster.x-k8s.io"
    );

    let treated =
        json!([condition("HealthCheckSucceeded", "False"), condition("ExternallyRemediated", "False")]);
    let mut patient = target("a", "False", treated.clone());
    patient.remediation = Some(Arc::new(made.clone()));
    assert_eq!(
        told(&plan(&with(patient), &cluster(), now())),
        ["a: HealthCheckSucceeded=False UnhealthyNode"]
    );

    let mut well = target("a", "True", treated.clone());
    well.remediation = Some(Arc::new(made.clone()));
    assert_eq!(
        told(&plan(&with(well), &cluster(), now())),
        ["a: HealthCheckSucceeded=True HealthCheckSucceeded, -ExternallyRemediated, ends a"]
    );
    let mut by_hand = target("a", "True", treated);
    let mut object = made;
    object.metadata.annotations = None;
    by_hand.remediation = Some(Arc::new(object));
    assert_eq!(
        told(&plan(&with(by_hand), &cluster(), now())),
        ["a: HealthCheckSucceeded=True HealthCheckSucceeded, -ExternallyRemediated"],
        "what a person has made is hers"
    );
}

#[test]
fn a_template_that_is_not_there_is_named_on_the_machine() {
    let mut remedy = remedy();
    remedy.template = Err("Metal3RemediationTemplate t does not exist".into());
    let seen = Observed { remedy: Some(remedy), ..seen(json!(null), vec![target("a", "False", json!([]))]) };
    let plan = plan(&seen, &cluster(), now());
    assert_eq!(
        told(&plan),
        [
            "a: HealthCheckSucceeded=False UnhealthyNode, ExternallyRemediated=False RemediationTemplateNotFound"
        ]
    );
    assert_eq!(plan.treatments[0].words.said[1].message, "Metal3RemediationTemplate t does not exist");
}
