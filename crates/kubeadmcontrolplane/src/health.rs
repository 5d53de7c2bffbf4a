//! How the control plane on each Machine fares, from the Pods and members that were seen. Pure.

use k8s_openapi::api::core::v1::Pod;
use scute_api::cluster::Machine;
use scute_kit::conditions::{Draft, Status};

use crate::inspect::{Inside, Tenant};
use crate::machines::{
    API_SERVER, CONTROLLER_MANAGER, ETCD_MEMBER, ETCD_POD, SCHEDULER, health_conditions, node,
};
use crate::members;

const PODS: [(&str, &str); 4] = [
    (API_SERVER, "kube-apiserver"),
    (CONTROLLER_MANAGER, "kube-controller-manager"),
    (SCHEDULER, "kube-scheduler"),
    (ETCD_POD, "etcd"),
];

/// The conditions of a Machine about what runs on it. `initialized` tells whether anything can be expected yet.
#[must_use]
pub fn of_machine(machine: &Machine, tenant: &Tenant, stacked: bool, initialized: bool) -> Vec<Draft> {
    let all = |reason: &str, message: &str| {
        let unknown = |type_: &&'static str| Draft::new(type_, Status::Unknown, reason, message);
        health_conditions(stacked).iter().map(unknown).collect()
    };
    match tenant {
        _ if !initialized => all("InspectionFailed", "Waiting for the control plane to be initialized"),
        Tenant::NotAsked(why) => all("InspectionFailed", why),
        Tenant::Down(why) => all("ConnectionDown", &format!("Remote connection not established: {why}")),
        Tenant::Seen(inside) => {
            let pods = PODS.iter().filter(|(type_, _)| stacked || *type_ != ETCD_POD);
            let mut drafts: Vec<_> =
                pods.map(|(type_, component)| pod(type_, component, machine, inside)).collect();
            if stacked {
                drafts.push(members::condition(machine, &inside.etcd));
            }
            debug_assert!(!stacked || drafts.iter().any(|draft| draft.type_ == ETCD_MEMBER));
            drafts
        }
    }
}

fn pod(type_: &str, component: &str, machine: &Machine, inside: &Inside) -> Draft {
    let unknown = |message: String| Draft::new(type_, Status::Unknown, "InspectionFailed", message);
    let Some(node) = node(machine) else { return unknown("Waiting for the Node of the Machine".to_owned()) };
    match inside.nodes.get(node) {
        None => return unknown(format!("Node {node} does not exist, or is not of the control plane")),
        Some(seen) if !seen.heard => return unknown(format!("Node {node} is unreachable")),
        Some(_) => {}
    }
    let name = format!("{component}-{node}");
    match inside.pods.get(&name) {
        None => Draft::new(type_, Status::False, "DoesNotExist", "Pod does not exist"),
        Some(pod) => {
            let (status, reason, message) = state(pod);
            Draft::new(type_, status, reason, message)
        }
    }
}

/// How a static Pod fares.
fn state(pod: &Pod) -> (Status, &'static str, String) {
    if pod.metadata.deletion_timestamp.is_some() {
        return (Status::False, "Deleting", "Pod is terminating".to_owned());
    }
    let status = pod.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    match status.phase.as_deref() {
        Some("Running") if ready => (Status::True, "Running", String::new()),
        Some("Running" | "Pending") => {
            let containers = status.container_statuses.unwrap_or_default();
            let waiting = containers.iter().find_map(|container| {
                let reason = container.state.as_ref()?.waiting.as_ref()?.reason.clone()?;
                // These two are on the way of every start.
                (!matches!(reason.as_str(), "ContainerCreating" | "PodInitializing")).then_some(reason)
            });
            let ended = containers
                .iter()
                .find_map(|container| Some(container.state.as_ref()?.terminated.as_ref()?.exit_code));
            match (waiting, ended) {
                (Some(reason), _) => (Status::False, "Failed", format!("Container is waiting: {reason}")),
                (None, Some(code)) => {
                    (Status::False, "Failed", format!("Container has exited with code {code}"))
                }
                (None, None) => (Status::False, "Provisioning", "Waiting to be ready".to_owned()),
            }
        }
        Some("Succeeded" | "Failed") => {
            (Status::False, "Failed", "All the containers have been terminated".to_owned())
        }
        _ => (Status::Unknown, "InspectionFailed", "The Pod's status is unknown".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(status: Value) -> String {
        let pod = json!({"metadata": {"name": "kube-apiserver-n"}, "status": status});
        let (status, reason, message) = state(&serde_json::from_value(pod).expect("a Pod"));
        format!("{} {reason} {message}", status.as_str())
    }

    #[test]
    fn a_static_pod_says_how_it_fares() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        assert_eq!(said(json!({"phase": "Running", "conditions": ready})), "True Running ");
        assert_eq!(said(json!({"phase": "Running"})), "False Provisioning Waiting to be ready");
        let crashing = json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
        assert_eq!(
            said(json!({"phase": "Running", "containerStatuses": crashing})),
            "False Failed Container is waiting: CrashLoopBackOff"
        );
        assert!(said(json!({"phase": "Failed"})).starts_with("False Failed"));
        assert!(said(json!({"phase": "Unknown"})).starts_with("Unknown InspectionFailed"));
    }

    #[test]
    fn what_cannot_be_seen_is_unknown() {
        let machine: Machine = serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "metadata": {"name": "m"},
            "spec": {"clusterName": "c", "bootstrap": {"dataSecretName": "x"},
                "infrastructureRef": {"apiGroup": "infra.io", "kind": "TestMachine", "name": "m"}},
            "status": {"nodeRef": {"name": "n"}}
        }))
        .expect("a Machine");
        let reasons = |tenant: &Tenant, stacked, initialized| -> Vec<_> {
            of_machine(&machine, tenant, stacked, initialized)
                .into_iter()
                .map(|draft| format!("{}={} {}", draft.type_, draft.status.as_str(), draft.reason))
                .collect()
        };
        let down = reasons(&Tenant::Down("refused".into()), true, true);
        assert_eq!((down.len(), down[0].as_str()), (5, "APIServerPodHealthy=Unknown ConnectionDown"));
        assert_eq!(reasons(&Tenant::Seen(Box::default()), false, true).len(), 3, "etcd is somebody else's");
        assert!(reasons(&Tenant::Seen(Box::default()), true, true)[0].contains("Unknown InspectionFailed"));
    }
}
