//! Recorded objects: the chain ends at the one object that blocks.

use scute_plan::explain::{Explanation, Target, explain, render};
use serde_json::{Value, json};

fn ask(objects: &[Value], kind: &str, name: &str) -> Explanation {
    let target = Target { kind: kind.into(), namespace: "default".into(), name: name.into() };
    explain(objects, &target).unwrap()
}

fn object(kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"kind": kind, "metadata": {"name": name, "namespace": "default"}});
    for (key, value) in rest.as_object().unwrap() {
        match key.as_str() {
            "owner" => object["metadata"]["ownerReferences"] = json!([value]),
            "labels" => object["metadata"]["labels"] = value.clone(),
            _ => object[key] = value.clone(),
        }
    }
    object
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"conditions": [{"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-01T10:00:00Z"}]})
}

/// A tenant on VMs whose API endpoint has no address: all else waits for it.
fn stuck_endpoint() -> Vec<Value> {
    vec![
        object(
            "Cluster",
            "kv",
            json!({
                "spec": {"controlPlaneRef": {"kind": "KamajiControlPlane", "name": "kv"}, "infrastructureRef": {"kind": "KubevirtCluster", "name": "kv"}},
                "status": condition("Available", "False", "NotAvailable", "* RemoteConnectionProbe: not ready"),
            }),
        ),
        object(
            "KamajiControlPlane",
            "kv",
            json!({
                "spec": {"dataStoreName": "default"},
                "status": condition("Ready", "False", "TenantControlPlaneNotReady", "the TenantControlPlane is not ready"),
            }),
        ),
        json!({"kind": "DataStore", "metadata": {"name": "default"}, "status": condition("Ready", "True", "Reachable", "")}),
        object(
            "TenantControlPlane",
            "kv",
            json!({
                "owner": {"kind": "KamajiControlPlane", "name": "kv"},
                "spec": {"dataStore": "default"},
                "status": {"kubernetesResources": {"version": {"status": "Provisioning"}}},
            }),
        ),
        object(
            "Service",
            "kv",
            json!({
                "owner": {"kind": "TenantControlPlane", "name": "kv"},
                "spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {}},
            }),
        ),
        json!({"kind": "Event", "type": "Warning", "reason": "AllocationFailed", "message": "no available IPs in pool tenant-api",
            "involvedObject": {"kind": "Service", "name": "kv"}, "lastTimestamp": "2026-11-01T10:05:00Z", "metadata": {"name": "e", "namespace": "default"}}),
        object("KubevirtCluster", "kv", json!({"status": {"ready": true}})),
        object(
            "MachineDeployment",
            "kv-md",
            json!({
                "spec": {"clusterName": "kv", "template": {"spec": {}}},
                "status": condition("Available", "False", "WaitingForControlPlane", "the control plane is not initialized"),
            }),
        ),
    ]
}

#[test]
fn the_chain_ends_at_the_service_without_an_address() {
    let e = ask(&stuck_endpoint(), "cluster", "kv");
    assert_eq!(
        render(&e),
        "Cluster default/kv is not ready.\n\
         Cluster default/kv: Available=False: NotAvailable: * RemoteConnectionProbe: not ready since 2026-11-01T10:00:00Z\n\
         └ KamajiControlPlane default/kv: Ready=False: TenantControlPlaneNotReady: the TenantControlPlane is not ready since 2026-11-01T10:00:00Z\n  \
         └ TenantControlPlane default/kv: status.kubernetesResources.version.status: Provisioning\n    \
         └ Service default/kv: status.loadBalancer.ingress: Pending: has no address\n\
         event: 2026-11-01T10:05:00Z AllocationFailed: no available IPs in pool tenant-api\n\
         fix: give the LoadBalancer an address: a pool with a free one, that contains the one asked for\n"
    );
}

#[test]
fn a_ready_cluster_has_no_chain() {
    let ok = |kind: &str| condition(kind, "True", "Up", "");
    let objects = [
        object(
            "Cluster",
            "a",
            json!({"spec": {"controlPlaneRef": {"kind": "KamajiControlPlane", "name": "a"}}, "status": ok("Available")}),
        ),
        object("KamajiControlPlane", "a", json!({"status": ok("Ready")})),
    ];
    let e = ask(&objects, "cluster", "a");
    assert!(e.ready && e.chain.is_empty());
}

#[test]
fn a_machine_on_metal_ends_at_the_bmc() {
    let objects = [
        object(
            "Machine",
            "m",
            json!({
                "spec": {"infrastructureRef": {"kind": "Metal3Machine", "name": "m"}},
                "status": condition("InfrastructureReady", "False", "NotReady", "waiting for the Metal3Machine"),
            }),
        ),
        object(
            "Metal3Machine",
            "m",
            json!({"status": condition("Ready", "False", "WaitingForHost", "the host is not provisioned")}),
        ),
        object(
            "BareMetalHost",
            "r2-01",
            json!({
                "spec": {"consumerRef": {"kind": "Metal3Machine", "name": "m"}, "bmc": {"address": "redfish://10.0.0.9", "credentialsName": "r2-01-bmc"}},
                "status": {"errorType": "registration error", "errorMessage": "MultipleAttempts: 401 Unauthorized", "lastUpdated": "2026-11-01T09:00:00Z"},
            }),
        ),
    ];
    let e = ask(&objects, "machine", "m");
    assert_eq!(e.chain.last().unwrap().object, "BareMetalHost default/r2-01");
    assert_eq!(e.fix, "correct the BMC user and password in Secret r2-01-bmc");
    assert_eq!(ask(&objects, "host", "r2-01").chain.len(), 1);
}

#[test]
fn a_vm_without_room_and_a_missing_image_are_told_apart() {
    let vm = |status: Value| {
        vec![
            object(
                "KubevirtMachine",
                "w",
                json!({"status": condition("VMProvisioned", "False", "VMNotReady", "the VM does not run")}),
            ),
            object("VirtualMachine", "w", json!({"status": {"printableStatus": "Starting"}})),
            object("VirtualMachineInstance", "w", json!({"status": {"phase": "Scheduling"}})),
            object(
                "Pod",
                "virt-launcher-w",
                json!({"labels": {"vm.kubevirt.io/name": "w"}, "status": status}),
            ),
        ]
    };
    let full = vm(condition(
        "PodScheduled",
        "False",
        "Unschedulable",
        "0/3 nodes are available: 3 Insufficient memory.",
    ));
    let e = ask(&full, "kubevirtmachine", "w");
    assert_eq!((e.chain.len(), e.chain.last().unwrap().reason.as_str()), (4, "Unschedulable"));
    assert!(e.fix.contains("scute plan"));
    let image = vm(
        json!({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "back-off"}}}]}),
    );
    assert!(ask(&image, "kubevirtmachine", "w").fix.contains("image"));
}

#[test]
fn a_reference_to_nothing_is_the_end_of_the_chain() {
    let objects = [object(
        "Cluster",
        "c",
        json!({
            "spec": {"controlPlaneRef": {"kind": "KamajiControlPlane", "name": "typo"}},
            "status": condition("Available", "False", "NotAvailable", "control plane not found"),
        }),
    )];
    let e = ask(&objects, "cluster", "c");
    assert_eq!(e.chain.last().unwrap().reason, "NotFound");
    assert_eq!(
        e.fix,
        "create KamajiControlPlane default/typo, or correct the reference spec.controlPlaneRef"
    );
}

#[test]
fn a_paused_cluster_says_so_even_when_it_is_available() {
    let mut status = condition("Available", "True", "Available", "");
    status["conditions"].as_array_mut().unwrap().push(json!({"type": "Paused", "status": "True", "reason": "Paused", "message": "Cluster spec.paused is set to true"}));
    let objects = [object("Cluster", "c", json!({"status": status}))];
    let e = ask(&objects, "cluster", "c");
    assert!(!e.ready && e.fix.contains("spec.paused"));
}

#[test]
fn recorded_cycles_end() {
    let objects = [object(
        "Cluster",
        "c",
        json!({
            "spec": {"controlPlaneRef": {"kind": "Cluster", "name": "c"}},
            "status": condition("Available", "False", "X", "y"),
        }),
    )];
    assert_eq!(ask(&objects, "cluster", "c").chain.len(), 1);
}

#[test]
fn a_cluster_that_nobody_reported_on_is_not_called_ready() {
    let objects = [object("Cluster", "a", json!({"apiVersion": "cluster.x-k8s.io/v1beta2"}))];
    let e = ask(&objects, "cluster", "a");
    assert!(!e.ready);
    assert_eq!(e.chain[0].reason, "NotReported");
    assert!(e.fix.contains("scute manager"), "{}", e.fix);
}
