//! The plan of a KubevirtMachine, one situation after the other.

use serde_json::{Value, json};

use super::*;

fn object(change: Value) -> KubevirtMachine {
    let mut object = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1", "kind": "KubevirtMachine",
        "metadata": {"name": "m-0", "namespace": "b", "finalizers": [KUBEVIRT_MACHINE_FINALIZER],
            "annotations": {BLOCK_MOVE_ANNOTATION: ""}},
        "spec": {
            "providerID": "kubevirt://m-0",
            "virtualMachineBootstrapCheck": {"checkStrategy": "none"},
            "virtualMachineTemplate": {"spec": {"runStrategy": "Always", "template": {"spec": {"domain": {}}}}},
        },
    });
    json_patch::merge(&mut object, &change);
    serde_json::from_value(object).unwrap()
}

fn machine(change: Value) -> Option<Arc<Machine>> {
    let mut machine = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": {"name": "m-0", "namespace": "b", "ownerReferences": [
            {"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineSet", "name": "s", "uid": "s", "controller": true}]},
        "spec": {
            "clusterName": "c", "bootstrap": {"dataSecretName": "m-0"},
            "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "KubevirtMachine", "name": "m-0"},
        },
    });
    json_patch::merge(&mut machine, &change);
    Some(Arc::new(serde_json::from_value(machine).unwrap()))
}

fn cluster(change: Value) -> Option<Arc<Cluster>> {
    let mut cluster = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": {"name": "c", "namespace": "b"},
        "spec": {
            "clusterNetwork": {"pods": {"cidrBlocks": ["10.245.0.0/16"]}},
            "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "Metal3Cluster", "name": "c"},
        },
        "status": {"initialization": {"infrastructureProvisioned": true, "controlPlaneInitialized": true}},
    });
    json_patch::merge(&mut cluster, &change);
    Some(Arc::new(serde_json::from_value(cluster).unwrap()))
}

fn vm(strategy: &str) -> Option<Arc<VirtualMachine>> {
    let labels = crate::kubevirtmachine::render::labels(&object(json!({})), "c", false);
    Some(Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": {"name": "m-0", "namespace": "b", "labels": labels},
            "spec": {"runStrategy": strategy, "template": {"spec": {"domain": {}}}},
        }))
        .unwrap(),
    ))
}

fn vmi(uid: &str, status: Value) -> Option<Arc<VirtualMachineInstance>> {
    Some(Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "m-0", "namespace": "b", "uid": uid},
            "spec": {"domain": {}}, "status": status,
        }))
        .unwrap(),
    ))
}

fn running() -> Value {
    json!({"phase": "Running", "interfaces": [{"name": "default", "ipAddresses": ["10.85.0.9"]}]})
}

fn node(id: Option<&str>) -> Option<Arc<Node>> {
    let node = json!({"metadata": {"name": "m-0"}, "spec": {"providerID": id}});
    Some(Arc::new(serde_json::from_value(node).unwrap()))
}

/// All that a VM waits for is there.
fn seen() -> Observed {
    Observed { machine: machine(json!({})), cluster: cluster(json!({})), ..Observed::default() }
}

/// The guest runs; `status` is that of its VMI with the UID `now`.
fn with_guest(status: Value) -> Observed {
    Observed { vm: vm("Always"), vmi: vmi("now", status), ..seen() }
}

fn waits_for(seen: &Observed) -> String {
    match plan(&object(json!({})), seen).stage {
        Stage::NotProvisioned(why) => why.reason.into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_missing_thing_has_its_reason() {
    assert_eq!(waits_for(&Observed::default()), "WaitingForMachine");
    assert_eq!(waits_for(&Observed { cluster: None, ..seen() }), "WaitingForClusterInfrastructure");
    let unready = cluster(json!({"status": {"initialization": {"infrastructureProvisioned": false}}}));
    assert_eq!(waits_for(&Observed { cluster: unready, ..seen() }), "WaitingForClusterInfrastructure");
    let dataless = machine(json!({"spec": {"bootstrap": {"dataSecretName": null, "configRef":
        {"apiGroup": "g", "kind": "k", "name": "n"}}}}));
    assert_eq!(waits_for(&Observed { machine: dataless.clone(), ..seen() }), "WaitingForBootstrapData");
    let silent = cluster(json!({"status": {"initialization": {"controlPlaneInitialized": null}}}));
    assert_eq!(
        waits_for(&Observed { machine: dataless, cluster: silent, ..seen() }),
        "WaitingForControlPlaneAvailable"
    );
    let keyless = SshKeys::Pending("c-ssh-keys".into());
    assert_eq!(waits_for(&Observed { ssh_keys: keyless, ..seen() }), "WaitingForClusterInfrastructure");
}

#[test]
fn a_cluster_of_any_infrastructure_gets_its_vm() {
    let create = Action::CreateVm { bootstrap: "m-0".into(), ssh_keys: None };
    assert_eq!(plan(&object(json!({})), &seen()).actions, std::slice::from_ref(&create));
    let unclaimed = object(json!({"metadata": {"finalizers": []}, "spec": {"providerID": null}}));
    assert_eq!(plan(&unclaimed, &seen()).actions, [Action::Claim, create.clone()]);
    let movable = object(json!({"metadata": {"annotations": {BLOCK_MOVE_ANNOTATION: null}}}));
    assert_eq!(plan(&movable, &seen()).actions, [Action::Claim, create]);
}

#[test]
fn a_range_of_the_management_cluster_is_refused_with_both_ranges() {
    let (pods, services) = ("10.85.0.0/16", "10.86.0.0/16");
    for (field, range, taken, reason) in [
        ("pods", "10.85.7.0/24", pods, "PodRangeOverlap"),
        ("services", "10.0.0.0/8", pods, "PodRangeOverlap"),
        ("pods", "10.86.0.0/15", services, "ServiceRangeOverlap"),
        ("services", "10.86.0.0/20", services, "ServiceRangeOverlap"),
    ] {
        let network = json!({"spec": {"clusterNetwork": {field: {"cidrBlocks": [range]}}}});
        let overlapping = Observed {
            cluster: cluster(network),
            pod_ranges: vec![pods.parse().unwrap()],
            service_ranges: vec![services.parse().unwrap()],
            ..seen()
        };
        let plan = plan(&object(json!({})), &overlapping);
        assert_eq!(plan.actions, []);
        let Stage::NotProvisioned(why) = plan.stage else { panic!("{:?}", plan.stage) };
        assert_eq!(why.reason, reason);
        for text in [field, range, taken] {
            assert!(why.message.contains(text), "{text} is not in {}", why.message);
        }
    }
}

#[test]
fn a_vm_of_somebody_else_is_not_taken() {
    let mut other = vm("Always").map(|vm| vm.as_ref().clone()).unwrap();
    other.metadata.labels = None;
    let taken = Observed { vm: Some(Arc::new(other)), ..seen() };
    assert_eq!(waits_for(&taken), "VMCreateFailed");
    let going = object(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    assert_eq!(plan(&going, &taken).actions, [Action::DeleteSecrets, Action::RemoveFinalizer]);
}

#[test]
fn the_guest_is_asked_over_ssh_until_it_says_so() {
    let asked = json!({"spec": {"virtualMachineBootstrapCheck": {"checkStrategy": "ssh"}}});
    let mut guest = with_guest(running());
    guest.ssh_keys = SshKeys::There("c-ssh-keys".into());
    guest.has_ssh_user = true;
    let check =
        Action::CheckBootstrap { address: "10.85.0.9".parse().unwrap(), ssh_keys: "c-ssh-keys".into() };
    assert_eq!(plan(&object(asked.clone()), &guest).actions, [check]);
    let mut said = asked.clone();
    said["status"] = json!({"ready": true, "conditions": [{"type": "BootstrapExecSucceeded", "status": "True",
        "reason": "r", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    assert_eq!(plan(&object(said), &guest).actions, []);
    guest.has_ssh_user = false;
    assert!(matches!(plan(&object(asked.clone()), &guest).bootstrap, Bootstrap::NotSupported(_)));
    assert!(matches!(plan(&object(asked), &with_guest(running())).bootstrap, Bootstrap::NotSupported(_)));
}

#[test]
fn the_node_gets_the_id_once() {
    let with = |id| Observed { node: node(id), ..with_guest(running()) };
    assert_eq!(plan(&object(json!({})), &with(None)).actions, [Action::MarkNode]);
    assert_eq!(plan(&object(json!({})), &with(Some("kubevirt://m-0"))).actions, []);
    let taken = plan(&object(json!({})), &with(Some("metal3://m-0")));
    assert_eq!((taken.actions, taken.failure.unwrap().reason.as_ref()), (vec![], "NodeTaken"));
}

/// A KubevirtMachine whose Node was made by the VMI with the UID `joined`.
fn joined(uid: &str) -> KubevirtMachine {
    object(json!({"status": {"ready": true, "nodeInstanceUID": uid}}))
}

#[test]
fn a_guest_that_lost_its_disk_is_replaced_with_its_machine() {
    assert_eq!(plan(&joined("now"), &with_guest(running())).actions, []);
    assert_eq!(
        plan(&joined("now"), &with_guest(json!({"phase": "Failed"}))).actions,
        [Action::ReplaceMachine]
    );
    assert_eq!(plan(&joined("before"), &with_guest(running())).actions, [Action::ReplaceMachine]);
    assert_eq!(
        plan(&object(json!({})), &with_guest(json!({"phase": "Failed"}))).actions,
        [],
        "it has nothing to lose"
    );
}

#[test]
fn a_guest_that_runs_once_is_replaced_when_its_vmi_is_deleted() {
    let without = |strategy| Observed { vm: vm(strategy), vmi: None, ..seen() };
    assert_eq!(plan(&joined("before"), &without("Once")).actions, [Action::ReplaceMachine]);
    assert_eq!(plan(&joined("before"), &without("Always")).actions, [], "another VMI comes");
    assert_eq!(plan(&joined("before"), &without("Halted")).actions, [], "somebody halted it");
}

#[test]
fn only_machines_of_a_set_are_replaced() {
    for change in [
        json!({"metadata": {"ownerReferences": null}}),
        json!({"metadata": {"annotations": {"cluster.x-k8s.io/skip-remediation": ""}}}),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    ] {
        let lost = Observed { machine: machine(change.clone()), ..with_guest(json!({"phase": "Failed"})) };
        let plan = plan(&joined("now"), &lost);
        assert_eq!(plan.actions, [], "{change}");
        assert!(plan.failure.unwrap().message.contains("m-0"));
    }
}

#[test]
fn an_evicted_guest_moves_by_its_machine_or_starts_elsewhere() {
    let mut evicted = running();
    evicted["evacuationNodeName"] = json!("node-1");
    let leaving = plan(&joined("now"), &with_guest(evicted.clone()));
    assert_eq!(leaving.actions, [Action::ReplaceMachine]);
    assert!(matches!(leaving.stage, Stage::Running(_)), "the guest still runs");
    assert!(leaving.failure.unwrap().message.contains("node-1"));
    let young = plan(&object(json!({})), &with_guest(evicted));
    assert_eq!((young.actions, young.failure), (vec![Action::DeleteVmi], None));
}

#[test]
fn states_that_a_vm_does_not_leave_are_failures() {
    let ended = |strategy, phase: &str| {
        let seen = Observed { vm: vm(strategy), vmi: vmi("now", json!({"phase": phase})), ..seen() };
        plan(&object(json!({})), &seen).failure.map(|why| why.reason.into_owned())
    };
    assert_eq!(ended("Once", "Failed"), Some("UpdateError".into()));
    assert_eq!(ended("RerunOnFailure", "Succeeded"), Some("UpdateError".into()));
    assert_eq!(ended("RerunOnFailure", "Failed"), None);
    assert_eq!(ended("Always", "Failed"), None);
}

#[test]
fn the_finalizer_goes_last() {
    let going = object(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let alone = Observed { machine: None, cluster: None, ..with_guest(running()) };
    assert_eq!(plan(&going, &alone).actions, [Action::DeleteVm], "needs neither Machine nor Cluster");
    let gone = Observed::default();
    assert_eq!(plan(&going, &gone).actions, [Action::DeleteSecrets, Action::RemoveFinalizer]);
}
