//! What speaks against a move: all of it at once. Pure.

use std::collections::BTreeSet;

use scute_api::meta::BLOCK_MOVE_ANNOTATION;
use serde_json::Value;

use crate::marks::MOVE;
use crate::object::Object;
use crate::observe::Observed;
use crate::select::{Scope, cluster_of_binding};

/// States in which nothing is done to a host.
const AT_REST: [&str; 5] = ["unmanaged", "available", "ready", "provisioned", "externally provisioned"];
/// Conditions that say that something is under way.
const UNDER_WAY: [&str; 5] = ["RollingOut", "ScalingUp", "ScalingDown", "Remediating", "Deleting"];

/// Every reason against moving these objects.
pub fn refusals(
    seen: &Observed,
    scope: &Scope,
    objects: &[&Object],
    already_moved: &BTreeSet<String>,
) -> Vec<String> {
    let chosen: BTreeSet<&str> = objects.iter().map(|object| object.uid()).collect();
    let mut all = Vec::new();
    for name in scope.clusters.iter().flatten() {
        let is_here = |object: &Object| object.kind() == "Cluster" && object.name() == name;
        let is_left = |object: &Object| is_here(object) && object.annotation(MOVE).is_some();
        if !objects.iter().any(|object| is_here(object)) && !seen.target.iter().any(is_left) {
            all.push(format!("Cluster {name}: namespace {} has none", seen.namespace));
        }
    }
    for object in objects {
        let mut no = |why: &str| all.push(format!("{}: {why}", object.key()));
        if seen.unserved.contains(&object.of.name()) {
            no(&format!("the target does not serve {} {}", object.of.name(), object.of.resource.version));
        }
        if object.is.metadata.deletion_timestamp.is_some() {
            no("is being deleted");
        }
        for owner in object.owners() {
            if !chosen.contains(owner.uid.as_str()) && !already_moved.contains(&owner.uid) {
                no(&format!("its owner, {} {}, does not move", owner.kind, owner.name));
            }
        }
        stays(object.kind()).or_else(|| waits(object)).into_iter().for_each(&mut no);
        under_way(object).iter().for_each(|why| no(why));
        elsewhere(object, &seen.namespace).iter().for_each(|why| no(why));
        if object.kind() == "ClusterResourceSetBinding" && !scope.has(cluster_of_binding(object)) {
            no("its ClusterResourceSet is used by a Cluster that does not move");
        }
    }
    all
}

/// What an unfinished move has marked and this one would leave behind.
pub fn left_out(
    source: &[Object],
    target: &[Object],
    chosen: &BTreeSet<String>,
    scope: &Scope,
) -> Vec<String> {
    let at_source = source.iter().filter(|object| !chosen.contains(object.uid()));
    let at_target = target.iter().filter(|object| object.kind() == "Cluster" && !scope.has(object.name()));
    let say = |object: &Object| {
        let id = object.annotation(MOVE).unwrap_or_default();
        format!("{}: move {id} is not finished and has it: name it, too", object.key())
    };
    at_source.chain(at_target).map(say).collect()
}

/// Why objects of a kind cannot leave their management cluster.
#[must_use]
pub fn stays(kind: &str) -> Option<&'static str> {
    match kind {
        "KamajiControlPlane" | "TenantControlPlane" => Some(
            "a hosted control plane is not moved: its data belongs to the UID that its TenantControlPlane has here, and \
             the target's would neither get it nor be able to give it back",
        ),
        "KubevirtCluster" | "KubevirtMachine" | "VirtualMachine" | "VirtualMachineInstance" => {
            Some("a virtual machine runs as a Pod of its management cluster and cannot leave it")
        }
        _ => None,
    }
}

/// Whether something asks that it wait.
fn waits(object: &Object) -> Option<&'static str> {
    let is_asked = object.annotation(BLOCK_MOVE_ANNOTATION).is_some();
    is_asked.then_some("the annotation clusterctl.cluster.x-k8s.io/block-move asks for a wait")
}

/// What is being done to it.
fn under_way(object: &Object) -> Vec<String> {
    let mut all = Vec::new();
    for kind in UNDER_WAY {
        if object.condition(kind).is_some_and(|condition| condition["status"] == "True") {
            all.push(format!("its condition {kind} is True"));
        }
    }
    // The pause itself is a change, and need not have been seen by all.
    let (seen, asked) = (object.at("/status/observedGeneration").as_i64(), object.is.metadata.generation);
    if object.annotation(MOVE).is_none() && seen.is_some_and(|seen| Some(seen) < asked) {
        all.push("its controller has not seen its last change".to_owned());
    }
    match object.kind() {
        "Cluster" => cluster(object, &mut all),
        "Machine" => machine(object, &mut all),
        "BareMetalHost" => host(object, &mut all),
        "MachineDeployment" | "MachineSet" | "KubeadmControlPlane" => set(object, &mut all),
        _ => {}
    }
    all
}

fn cluster(object: &Object, all: &mut Vec<String>) {
    let is_true = |pointer: &str| object.at(pointer) == &Value::Bool(true);
    if !is_true("/status/initialization/infrastructureProvisioned") {
        all.push("its infrastructure is not provisioned".to_owned());
    }
    if !is_true("/status/initialization/controlPlaneInitialized") {
        all.push("its control plane is not initialized".to_owned());
    }
    if is_true("/spec/paused") && object.annotation(MOVE).is_none() {
        all.push("is paused already".to_owned());
    }
}

fn machine(object: &Object, all: &mut Vec<String>) {
    if object.text("/status/nodeRef/name").is_empty() {
        all.push("has no Node yet".to_owned());
    }
    match object.text("/status/phase") {
        "Running" | "" => {}
        phase => all.push(format!("is {phase}")),
    }
}

fn host(object: &Object, all: &mut Vec<String>) {
    match object.text("/status/provisioning/state") {
        state if AT_REST.contains(&state) => {}
        "" => all.push("was not looked at yet".to_owned()),
        state => all.push(format!("is {state}")),
    }
    let (wanted, is) = (object.at("/spec/online").as_bool(), object.at("/status/poweredOn").as_bool());
    let is_left_alone = object.text("/status/operationalStatus") == "detached"
        || ["unmanaged", ""].contains(&object.text("/status/provisioning/state"));
    if !is_left_alone && wanted.is_some() && is.is_some() && wanted != is {
        all.push("its power is being changed".to_owned());
    }
    let annotations = object.is.metadata.annotations.iter().flatten();
    let is_reboot = |name: &str| name.split('/').next() == Some("reboot.metal3.io");
    if annotations.into_iter().any(|(name, _)| is_reboot(name)) {
        all.push("a reboot is asked for".to_owned());
    }
}

fn set(object: &Object, all: &mut Vec<String>) {
    let (wanted, is) = (object.at("/spec/replicas").as_i64(), object.at("/status/replicas").as_i64());
    if wanted.is_some() && wanted.unwrap_or_default() != is.unwrap_or_default() {
        all.push(format!("has {} of {} replicas", is.unwrap_or_default(), wanted.unwrap_or_default()));
    }
    let (wanted, is) = (object.text("/spec/version"), object.text("/status/version"));
    if !wanted.is_empty() && wanted != is {
        all.push(format!("is on its way to version {wanted}"));
    }
}

/// What it needs of another namespace.
fn elsewhere(object: &Object, namespace: &str) -> Vec<String> {
    let is_other = |pointer: &&str| !["", namespace].contains(&object.text(pointer));
    let pointers: &[&str] = match object.kind() {
        "Cluster" => &["/spec/topology/classRef/namespace"],
        "BareMetalHost" => {
            &["/spec/userData/namespace", "/spec/networkData/namespace", "/spec/metaData/namespace"]
        }
        _ => &[],
    };
    let name = |pointer: &&str| pointer.trim_start_matches('/').replace('/', ".");
    pointers
        .iter()
        .filter(|pointer| is_other(pointer))
        .map(|pointer| format!("{} is not {namespace}, and only one namespace is moved", name(pointer)))
        .collect()
}
