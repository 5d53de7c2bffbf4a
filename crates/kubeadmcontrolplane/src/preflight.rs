//! Whether it is a good time to make or delete a Machine. Pure.

use kube::ResourceExt;
use scute_api::cluster::topology::UPGRADE_STEP_ANNOTATION;
use scute_api::cluster::{Cluster, Machine};
use scute_contract::summary::listed;
use scute_kit::conditions::find;
use scute_kubeadm::Version;

use crate::machines::{conditions, health_conditions, is_leaving, node};

/// A version that the Cluster's topology asks for and that has not come to the control plane yet: a Machine of the old one
/// would be replaced at once.
#[must_use]
pub fn held(cluster: &Cluster, version: &str) -> Option<String> {
    let topology = cluster.spec.topology.as_ref()?;
    let step = cluster.annotations().get(UPGRADE_STEP_ANNOTATION);
    let wanted = step.unwrap_or(&topology.version);
    let newer = match (wanted.parse::<Version>(), version.parse::<Version>()) {
        (Ok(wanted), Ok(has)) => wanted.release() > has.release(),
        _ => false,
    };
    newer.then(|| {
        format!("waiting for a version upgrade to {wanted} to be propagated from Cluster.spec.topology")
    })
}

/// Machines that a message names.
const NAMED: usize = 3;

/// Why no Machine should be made or deleted now; empty when it is a good time. `except` is the Machine that is to go: how
/// it fares does not matter.
#[must_use]
pub fn check(machines: &[&Machine], except: Option<&Machine>, stacked: bool) -> Vec<String> {
    let leaving: Vec<_> = machines.iter().filter(|machine| is_leaving(machine)).collect();
    if !leaving.is_empty() {
        let names = leaving.iter().map(|machine| machine.name_any());
        return vec![format!("waiting for control plane {} to be deleted", listed("Machine", names, NAMED))];
    }
    let except = except.map(ResourceExt::name_any);
    let others = machines.iter().filter(|machine| Some(machine.name_any()) != except);
    others.filter_map(|machine| ailment(machine, stacked)).collect()
}

fn ailment(machine: &Machine, stacked: bool) -> Option<String> {
    let name = machine.name_any();
    if node(machine).is_none() {
        return Some(format!("Machine {name} has no Node yet"));
    }
    health_conditions(stacked).iter().find_map(|type_| match find(conditions(machine), type_) {
        None => Some(format!("Machine {name}: {type_} is not reported yet")),
        Some(condition) if condition.status == "True" => None,
        Some(condition) => {
            let said = if condition.message.is_empty() { &condition.reason } else { &condition.message };
            Some(format!("Machine {name}: {type_} is {}: {}", condition.status, said.replace('\n', " ")))
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn machine(name: &str, patch: Value) -> Machine {
        let healthy: Vec<_> = health_conditions(true)
            .iter()
            .map(|type_| {
                json!({"type": type_, "status": "True", "reason": "R", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        let mut object = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "metadata": {"name": name},
            "spec": {"clusterName": "c", "bootstrap": {"dataSecretName": "x"},
                "infrastructureRef": {"apiGroup": "infra.io", "kind": "TestMachine", "name": "m"}},
            "status": {"nodeRef": {"name": name}, "conditions": healthy}
        });
        for (part, fields) in patch.as_object().into_iter().flatten() {
            for (field, value) in fields.as_object().into_iter().flatten() {
                object[part][field] = value.clone();
            }
        }
        serde_json::from_value(object).expect("a Machine")
    }

    #[test]
    fn a_good_time_is_when_all_are_well_but_the_one_that_goes() {
        let (a, b) = (machine("a", json!({})), machine("b", json!({"status": {"nodeRef": null}})));
        assert!(check(&[&a], None, true).is_empty());
        assert_eq!(check(&[&a, &b], None, true), ["Machine b has no Node yet"]);
        assert!(check(&[&a, &b], Some(&b), true).is_empty(), "it goes because it is not well");
        let leaving = machine("c", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        assert_eq!(
            check(&[&a, &b, &leaving], None, true),
            ["waiting for control plane Machine c to be deleted"],
            "one thing after the other"
        );
        let silent = machine("d", json!({"status": {"conditions": []}}));
        assert_eq!(check(&[&silent], None, true), ["Machine d: APIServerPodHealthy is not reported yet"]);
    }

    #[test]
    fn a_version_that_is_on_its_way_is_waited_for() {
        let cluster = |annotations: Value| -> Cluster {
            serde_json::from_value(json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
                "metadata": {"name": "c", "annotations": annotations},
                "spec": {"topology": {"classRef": {"name": "k"}, "version": "v1.36.0"}}}))
            .expect("a Cluster")
        };
        let plain = cluster(json!({}));
        assert!(held(&plain, "v1.35.4").is_some_and(|why| why.contains("upgrade to v1.36.0")));
        assert_eq!(held(&plain, "v1.36.0"), None);
        let step = cluster(json!({ UPGRADE_STEP_ANNOTATION: "v1.35.4" }));
        assert_eq!(held(&step, "v1.35.4"), None, "a step on the way");
    }
}
