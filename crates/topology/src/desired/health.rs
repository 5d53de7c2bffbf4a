//! MachineHealthChecks, by the topology or, where that says nothing, by the class.

use kube::ResourceExt;
use scute_api::cluster::topology::{TOPOLOGY_DEPLOYMENT_LABEL, TOPOLOGY_OWNED_LABEL};
use scute_api::meta::{CLUSTER_NAME_LABEL, CONTROL_PLANE_LABEL};
use scute_contract::owners::owner;
use serde_json::{Value, json};

use super::object::Made;
use super::{DesiredWorkers, Question};

/// Every health check that the Cluster has.
pub fn checks(question: Question<'_>, control_plane: &Made, workers: &[DesiredWorkers]) -> Vec<Value> {
    let Question { topology, blueprint, .. } = question;
    let mut all = Vec::new();
    if blueprint.machines.is_some() {
        let own = topology.control_plane.as_ref().and_then(|part| part.health_check.as_ref());
        let class = blueprint.class.spec.control_plane.health_check.as_ref();
        let enabled = own.and_then(|check| check.enabled);
        if let Some(check) = choose(enabled, own.map(|check| json!(check)), class.map(|check| json!(check))) {
            let selector = json!({ CONTROL_PLANE_LABEL: "" });
            all.push(made(question, &control_plane.object.name_any(), &selector, &check));
        }
    }
    for workers in workers {
        let own = topology.machine_deployments().iter().find(|part| part.name == workers.topology);
        let Some(own) = own else { continue };
        let class = blueprint.worker_class(&own.class).and_then(|class| class.health_check.as_ref());
        let enabled = own.health_check.as_ref().and_then(|check| check.enabled);
        let own_check = own.health_check.as_ref().map(|check| json!(check));
        if let Some(check) = choose(enabled, own_check, class.map(|check| json!(check))) {
            let selector = json!({TOPOLOGY_OWNED_LABEL: "", TOPOLOGY_DEPLOYMENT_LABEL: own.name});
            all.push(made(question, &workers.object.name_any(), &selector, &check));
        }
    }
    all
}

/// The topology's, if it says what is unhealthy or what is done; else the class's. `enabled` may forbid both.
fn choose(enabled: Option<bool>, own: Option<Value>, class: Option<Value>) -> Option<Value> {
    let says = |check: &Value| !check["checks"].is_null() || !check["remediation"].is_null();
    own.filter(says).or(class.filter(says)).filter(|_| enabled != Some(false))
}

fn made(question: Question<'_>, name: &str, selector: &Value, check: &Value) -> Value {
    let cluster = question.cluster;
    let mut spec = json!({"clusterName": cluster.name_any(), "selector": {"matchLabels": selector}});
    if !check["checks"].is_null() {
        spec["checks"] = check["checks"].clone();
    }
    if let Some(remediation) = check["remediation"].as_object() {
        let mut remediation = remediation.clone();
        // The MachineDeployment limits itself.
        remediation.remove("maxInFlight");
        if !remediation.is_empty() {
            spec["remediation"] = remediation.into();
        }
    }
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck",
        "metadata": {"name": name, "namespace": cluster.namespace(),
            "labels": {CLUSTER_NAME_LABEL: cluster.name_any(), TOPOLOGY_OWNED_LABEL: ""},
            "ownerReferences": [owner(cluster, false)]},
        "spec": spec,
    })
}
