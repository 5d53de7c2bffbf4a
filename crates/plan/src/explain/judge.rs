//! Whether an object is ready by its own words, and what would mend it.

use scute_api::metal3::{
    DETACHED_ANNOTATION, Hindrance, PAUSED_ANNOTATION, ProvisioningState as State, UNHEALTHY_ANNOTATION,
};
use serde_json::Value;

use super::{Link, id, str_at};
use crate::metal::hosts;

/// What an object says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Fine, or says nothing.
    Ready,
    /// Not, and why.
    Blocked(Link),
}

/// Conditions that say an object is ready, best first.
const GOOD: [&str; 6] =
    ["Available", "Ready", "ControlPlaneReady", "InfrastructureReady", "Succeeded", "VMProvisioned"];
/// Conditions that are bad when true.
const BAD_WHEN_TRUE: [&str; 5] = ["Stalled", "Failure", "ReplicaFailure", "Paused", "Deleting"];
/// Causes before effects: conditions of these types say why others are false.
const SUMMARY: [&str; 2] = ["Available", "Ready"];

/// Judges an object by conditions, then by the fields that older contracts use.
pub fn judge(object: &Value) -> Verdict {
    // A host that is free is not Ready: its conditions say how far it is, not what is wrong with it.
    if str_at(object, "/kind") == "BareMetalHost" {
        return fields(object).map_or(Verdict::Ready, Verdict::Blocked);
    }
    let conditions = conditions(object);
    let bad = |c: &&&Value| {
        let (kind, status) = (str_at(c, "/type"), str_at(c, "/status"));
        if BAD_WHEN_TRUE.contains(&kind) { status == "True" } else { good(kind) && status != "True" }
    };
    let failing: Vec<&&Value> = conditions.iter().filter(bad).collect();
    let summary = conditions.iter().find(|c| SUMMARY.contains(&str_at(c, "/type")));
    // A summary that is true outweighs details of an older contract.
    let fine = summary.is_some_and(|c| str_at(c, "/status") == "True")
        && !failing.iter().any(|c| str_at(c, "/type") == "Paused");
    if let (Some(first), false) = (cause(&failing), fine) {
        return Verdict::Blocked(link(object, first));
    }
    // So it does fields of the first contract, which default to false.
    if fine {
        return Verdict::Ready;
    }
    fields(object).map_or(Verdict::Ready, Verdict::Blocked)
}

/// The condition that names a cause: not the summary, and with a reason that says more than "waiting for others".
fn cause<'a>(failing: &[&'a &'a Value]) -> Option<&'a Value> {
    let rank = |c: &&&Value| {
        let summary = SUMMARY.contains(&str_at(c, "/type"));
        let severe = str_at(c, "/severity") == "Error";
        let silent = str_at(c, "/message").is_empty();
        (silent, !severe, summary, str_at(c, "/lastTransitionTime").to_owned())
    };
    failing.iter().min_by_key(|c| rank(c)).map(|c| **c)
}

fn good(kind: &str) -> bool {
    GOOD.contains(&kind)
        || kind.ends_with("Ready")
        || kind.ends_with("Available")
        || kind.ends_with("Healthy")
        || kind.ends_with("Initialized")
        || matches!(
            kind,
            "PodScheduled" | "ContainersReady" | "AgentConnected" | "BootstrapExecSucceeded" | "Progressing"
        )
}

/// Conditions of either contract.
fn conditions(object: &Value) -> Vec<&Value> {
    let at = ["/status/conditions", "/status/v1beta2/conditions", "/status/deprecated/v1beta1/conditions"];
    let first =
        at.iter().filter_map(|p| object.pointer(p)).filter_map(Value::as_array).find(|c| !c.is_empty());
    first.map(|c| c.iter().collect()).unwrap_or_default()
}

fn link(object: &Value, condition: &Value) -> Link {
    Link {
        object: id(object),
        field: format!("{}={}", str_at(condition, "/type"), str_at(condition, "/status")),
        reason: str_at(condition, "/reason").to_owned(),
        message: str_at(condition, "/message").to_owned(),
        since: str_at(condition, "/lastTransitionTime").to_owned(),
    }
}

/// An object on the way down that says nothing itself.
pub fn unspoken(object: &Value) -> Link {
    let since = String::new();
    Link {
        object: id(object),
        field: String::new(),
        reason: String::new(),
        message: "ready itself".to_owned(),
        since,
    }
}

/// Fields of kinds without conditions.
fn fields(object: &Value) -> Option<Link> {
    let blocked = |field: &str, reason: &str, message: &str, since: &str| {
        Some(Link {
            object: id(object),
            field: field.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            since: since.to_owned(),
        })
    };
    let text = |p: &str| str_at(object, p);
    match text("/kind") {
        "BareMetalHost" => {
            let since = text("/status/lastUpdated");
            if !text("/status/errorMessage").is_empty() {
                return blocked(
                    "status.errorMessage",
                    text("/status/errorType"),
                    text("/status/errorMessage"),
                    since,
                );
            }
            match hosts::host(object).hindrance() {
                None | Some(Hindrance::InUse { .. }) => {}
                Some(Hindrance::Paused) => {
                    return blocked("metadata.annotations", "Paused", PAUSED_ANNOTATION, since);
                }
                Some(Hindrance::Detached) => {
                    return blocked("metadata.annotations", "Detached", DETACHED_ANNOTATION, since);
                }
                Some(Hindrance::Unhealthy) => {
                    return blocked("metadata.annotations", "Unhealthy", UNHEALTHY_ANNOTATION, since);
                }
                Some(Hindrance::State(State::Unmanaged)) => {
                    return blocked("spec.bmc", "Unmanaged", "is empty: nothing can reach the server", since);
                }
                Some(Hindrance::Deleted | Hindrance::Failed(_) | Hindrance::State(_)) => {}
            }
            let state = text("/status/provisioning/state");
            if ["", "available", "provisioned", "externally provisioned", "ready"].contains(&state) {
                None
            } else {
                blocked("status.provisioning.state", state, "is in progress", since)
            }
        }
        "Metal3DataClaim" | "Metal3Data" | "IPClaim" if !text("/status/errorMessage").is_empty() => {
            blocked("status.errorMessage", "", text("/status/errorMessage"), "")
        }
        "Pod" => {
            let waiting = ["initContainerStatuses", "containerStatuses"].iter().find_map(|list| {
                let all = object.pointer(&format!("/status/{list}"))?.as_array()?;
                all.iter().find_map(|c| c.pointer("/state/waiting"))
            })?;
            blocked(
                "status.containerStatuses",
                str_at(waiting, "/reason"),
                str_at(waiting, "/message"),
                text("/status/startTime"),
            )
        }
        "VirtualMachine" => {
            let status = text("/status/printableStatus");
            if matches!(status, "" | "Running") {
                None
            } else {
                blocked("status.printableStatus", status, "", "")
            }
        }
        "VirtualMachineInstance" => {
            let phase = text("/status/phase");
            if matches!(phase, "" | "Running") {
                None
            } else {
                blocked("status.phase", phase, text("/status/reason"), "")
            }
        }
        "TenantControlPlane" => {
            let status = text("/status/kubernetesResources/version/status");
            if matches!(status, "" | "Ready") {
                None
            } else {
                blocked("status.kubernetesResources.version.status", status, "", "")
            }
        }
        "Service" => {
            let pending = text("/spec/type") == "LoadBalancer"
                && object
                    .pointer("/status/loadBalancer/ingress")
                    .and_then(Value::as_array)
                    .is_none_or(Vec::is_empty);
            if pending {
                blocked(
                    "status.loadBalancer.ingress",
                    "Pending",
                    "has no address",
                    text("/metadata/creationTimestamp"),
                )
            } else {
                None
            }
        }
        _ if object.pointer("/status/ready") == Some(&Value::Bool(false)) => {
            blocked("status.ready", text("/status/failureReason"), text("/status/failureMessage"), "")
        }
        _ => None,
    }
}

/// What to change: by reason and words first, then by kind.
pub fn fix(object: &Value, link: Option<&Link>, events: &[String]) -> String {
    let Some(link) = link else { return "look at the object's events".to_owned() };
    let said = format!("{} {} {} {}", link.field, link.reason, link.message, events.join(" ")).to_lowercase();
    let kind = link.object.split(' ').next().unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|w| said.contains(w));
    if link.reason == "NotReported" {
        format!("start the controller of {kind}: scute manager, or the provider that serves it")
    } else if link.reason == "NotFound" {
        format!("create {}, or correct the reference {}", link.object, link.field)
    } else if has(&["no free address"]) {
        let pool = str_at(object, "/spec/pool/name");
        format!(
            "add a range to spec.pools of IPPool {pool}, or take away a Machine that has an address of it"
        )
    } else if kind == "BareMetalHost" && link.field == "metadata.annotations" {
        format!("remove the annotation {} when the host may be worked on again", link.message)
    } else if kind == "BareMetalHost" && link.field == "spec.bmc" {
        "say spec.bmc.address and spec.bmc.credentialsName".to_owned()
    } else if has(&["paused"]) {
        "set spec.paused to false, or remove the annotation cluster.x-k8s.io/paused".to_owned()
    } else if has(&["imagepullbackoff", "errimagepull"]) {
        "make the image reachable: check its name, the registry, or import it on the host".to_owned()
    } else if has(&["insufficient memory", "insufficient cpu", "unschedulable", "0/"])
        && has(&["insufficient", "nodes are available", "unschedulable"])
    {
        "no host has room: add one, or make the VM smaller; scute plan says which".to_owned()
    } else if has(&["registration error", "401", "unauthorized", "invalid credentials"]) {
        format!("correct the BMC user and password in Secret {}", str_at(object, "/spec/bmc/credentialsName"))
    } else if has(&["checksum"]) {
        "correct spec.image.checksum: the image that was written does not match it".to_owned()
    } else if kind == "BareMetalHost" && has(&["inspect"]) {
        "look at the host's console: the ramdisk has not reported; check virtual media, boot order and its network".to_owned()
    } else if kind == "BareMetalHost" && has(&["power", "bmc", "timeout", "connection refused", "no route"]) {
        format!(
            "make the BMC at {} reachable from the management cluster",
            str_at(object, "/spec/bmc/address")
        )
    } else if kind == "Service" || has(&["loadbalancer"]) && has(&["pending", "no address", "waiting for"]) {
        "give the LoadBalancer an address: a pool with a free one, that contains the one asked for".to_owned()
    } else if has(&["endpoint"])
        && has(&["mismatch", "differ", "not equal", "does not match", "not set", "empty"])
    {
        "set spec.controlPlaneEndpoint of the infrastructure cluster to the control plane's address"
            .to_owned()
    } else if kind == "DataStore" || has(&["datastore", "etcd"]) {
        "make the datastore reachable: check its endpoints and its certificates".to_owned()
    } else if has(&["crashloopbackoff"]) {
        "read the container's log of the run before: kubectl logs --previous".to_owned()
    } else if has(&["waitingforbootstrapdata", "bootstrap data", "waitingforcontrolplane"]) {
        "the control plane must be up before Nodes get their bootstrap data: explain the Cluster".to_owned()
    } else if has(&["bmh", "no available host", "no host"]) {
        "no BareMetalHost is available that matches spec.hostSelector: free or add one".to_owned()
    } else if link.message.is_empty() || link.message == "is in progress" {
        format!("nothing says more than {}: wait, or look at the events of {}", link.field, link.object)
    } else {
        format!("change what {} says of {}", link.object, link.field)
    }
}
