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

/// A Metal3Machine that waits for a host, with hosts of its namespace.
fn hostless(hosts: &[Value]) -> Vec<Value> {
    let mut objects = vec![object(
        "Metal3Machine",
        "m",
        json!({
            "spec": {"hostSelector": {"matchLabels": {"pool": "tenants"}, "matchExpressions": [{"key": "rack", "operator": "in", "values": ["r1"]}]}},
            "status": condition("Ready", "False", "WaitingForHost", "no BareMetalHost of this namespace can be taken"),
        }),
    )];
    objects.extend(hosts.iter().cloned());
    objects
}

fn host(name: &str, pool: &str, rack: &str, rest: Value) -> Value {
    let mut host = object("BareMetalHost", name, json!({"labels": {"pool": pool, "rack": rack}}));
    host["status"] = json!({"provisioning": {"state": "available"}});
    for (key, value) in rest.as_object().unwrap() {
        host[key] = value.clone();
    }
    host
}

#[test]
fn a_machine_without_a_host_says_which_host_fails_by_what() {
    let ill = json!({"status": {"provisioning": {"state": "available"}, "errorMessage": "power is off", "errorType": "power management error"}});
    let hosts = [
        host("h1", "spare", "r1", json!({})),
        host("h2", "tenants", "r2", json!({})),
        host("h3", "tenants", "r1", ill),
        host(
            "h4",
            "tenants",
            "r1",
            json!({"spec": {"consumerRef": {"kind": "Metal3Machine", "name": "other"}}}),
        ),
    ];
    let e = ask(&hostless(&hosts), "metal3machine", "m");
    assert_eq!(
        e.hosts,
        [
            "h3 has an error: power is off",
            "h4 is in use by Metal3Machine other",
            "h1 does not fit hostSelector.matchLabels.pool: tenants is wanted, it has spare",
            "h2 does not fit hostSelector.matchExpressions[0]: rack in r1 is wanted, it has r2",
        ]
    );
    assert!(e.fix.starts_with("mend BareMetalHost h3"), "{}", e.fix);
    assert!(render(&e).contains("host: h1 does not fit"), "{}", render(&e));
    let e = ask(&hostless(&hosts[..2]), "metal3machine", "m");
    assert!(e.fix.starts_with("label a BareMetalHost (nearest is h1)"), "{}", e.fix);
    assert!(ask(&hostless(&hosts[3..]), "metal3machine", "m").fix.starts_with("free or add a BareMetalHost"));
    assert!(
        ask(&hostless(&[]), "metal3machine", "m").fix.starts_with("add a BareMetalHost to namespace default")
    );
}

#[test]
fn a_pool_without_addresses_is_the_end_of_the_chain() {
    let why = "IPPool pool has no free address: 4 in use; this claim gets the next one that is given back";
    let objects = [
        object(
            "Metal3Machine",
            "m",
            json!({"spec": {"dataTemplate": {"name": "data"}},
                "status": condition("Metal3DataReady", "False", "WaitingForMetal3Data", "Metal3Data data-4: no address")}),
        ),
        host("h1", "a", "r1", json!({"spec": {"consumerRef": {"kind": "Metal3Machine", "name": "m"}}})),
        object("Metal3DataTemplate", "data", json!({})),
        object(
            "Metal3DataClaim",
            "m",
            json!({"spec": {"template": {"name": "data"}}, "status": {"renderedData": {"name": "data-4"}}}),
        ),
        object(
            "Metal3Data",
            "data-4",
            json!({"status": {"ready": false, "errorMessage": format!("IPClaim data-4-pool: {why}")}}),
        ),
        object(
            "IPClaim",
            "data-4-pool",
            json!({"owner": {"kind": "Metal3Data", "name": "data-4"}, "spec": {"pool": {"name": "pool"}}, "status": {"errorMessage": why}}),
        ),
        object("IPPool", "pool", json!({"spec": {"namePrefix": "p"}})),
    ];
    let e = ask(&objects, "metal3machine", "m");
    assert_eq!(e.chain.last().unwrap().object, "IPClaim default/data-4-pool");
    assert!(e.fix.starts_with("add a range to spec.pools of IPPool pool"), "{}", e.fix);
}

#[test]
fn a_host_that_is_free_is_well_and_one_that_is_left_alone_says_why() {
    let free = json!({"status": {"provisioning": {"state": "available"}, "conditions": [
        {"type": "Ready", "status": "False", "reason": "NotProvisioned", "message": ""}]}});
    assert!(ask(&[host("h", "a", "r1", free)], "host", "h").ready);
    let mut detached = host("h", "a", "r1", json!({}));
    detached["metadata"]["annotations"] = json!({"baremetalhost.metal3.io/detached": ""});
    let e = ask(&[detached], "host", "h");
    assert_eq!((e.ready, e.chain[0].reason.as_str()), (false, "Detached"));
    assert_eq!(
        e.fix,
        "remove the annotation baremetalhost.metal3.io/detached when the host may be worked on again"
    );
    let bare = host("h", "a", "r1", json!({"status": {"provisioning": {"state": "unmanaged"}}}));
    assert!(ask(&[bare], "host", "h").fix.contains("spec.bmc.address"));
}
