//! Providers that nobody here wrote, of both contracts: from their objects to a Machine that runs, and back.

mod world;

use serde_json::{Value, json};
use world::{Case, build, condition, name, run};

const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";
const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";
const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";

/// What differs between the contracts.
struct Contract {
    /// Prefix of the kinds.
    prefix: &'static str,
    infra_cluster: fn() -> Value,
    control_plane: fn() -> Value,
    config: fn() -> Value,
    infra_machine: fn() -> Value,
    /// Where an infrastructure Machine says that it was placed.
    domain: (&'static str, bool),
}

const OLD: Contract = Contract {
    prefix: "Old",
    infra_cluster: || json!({"ready": true, "failureDomains": {"rack-1": {"controlPlane": true}}}),
    control_plane: || json!({"initialized": true, "ready": true, "externalManagedControlPlane": true, "version": "v1.35.4"}),
    config: || json!({"ready": true, "dataSecretName": "data"}),
    infra_machine: || json!({"ready": true}),
    domain: ("spec", true),
};
const NEW: Contract = Contract {
    prefix: "Test",
    infra_cluster: || json!({"initialization": {"provisioned": true}, "failureDomains": [{"name": "rack-1", "controlPlane": true}]}),
    control_plane: || json!({"initialization": {"controlPlaneInitialized": true}, "externalManagedControlPlane": true, "version": "v1.35.4"}),
    config: || json!({"initialization": {"dataSecretCreated": true}, "dataSecretName": "data"}),
    infra_machine: || json!({"initialization": {"provisioned": true}}),
    domain: ("status", false),
};

fn object(group: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A Cluster with one Machine of a MachineSet, whose providers are played by the test.
async fn through_a_life(prefix: &str, contract: &Contract) {
    let case = Case::new(&format!("manual-{prefix}")).await;
    let kind = |what: &str| format!("{}{what}", contract.prefix);
    case.create(object(INFRASTRUCTURE, &kind("Cluster"), "c", json!({}))).await;
    case.create(object(
        CONTROL_PLANE,
        &kind("ControlPlane"),
        "c",
        json!({"replicas": 1, "version": "v1.35.4"}),
    ))
    .await;
    let mut cluster = build::cluster("c");
    cluster["spec"]["infrastructureRef"]["kind"] = json!(kind("Cluster"));
    cluster["spec"]["controlPlaneRef"]["kind"] = json!(kind("ControlPlane"));
    case.create(cluster).await;
    case.kubeconfig("c").await;
    let owned = |object: &Value| object["metadata"]["ownerReferences"][0]["kind"] == "Cluster";
    case.when(&kind("Cluster"), "c", "owned", owned).await;
    case.when(&kind("ControlPlane"), "c", "owned", owned).await;
    let endpoint = json!({"spec": {"controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}}});
    case.patch(&kind("Cluster"), "c", endpoint).await;
    case.status(&kind("Cluster"), "c", (contract.infra_cluster)()).await;
    let cluster =
        case.when("Cluster", "c", "provisioned", |cluster| cluster["status"]["phase"] == "Provisioned").await;
    assert_eq!(cluster["spec"]["controlPlaneEndpoint"]["host"], "10.0.0.1");
    assert_eq!(cluster["status"]["failureDomains"], json!([{"name": "rack-1", "controlPlane": true}]));
    case.status(&kind("ControlPlane"), "c", (contract.control_plane)()).await;
    case.condition("Cluster", "c", "ControlPlaneInitialized", "True", "").await;

    case.create(object(
        INFRASTRUCTURE,
        &kind("MachineTemplate"),
        "t",
        json!({"template": {"spec": {"cores": 2}}}),
    ))
    .await;
    case.create(object(BOOTSTRAP, &kind("ConfigTemplate"), "t", json!({"template": {"spec": {}}}))).await;
    let mut set = build::set("ms", "c", "t", 1);
    set["spec"]["template"]["spec"]["infrastructureRef"]["kind"] = json!(kind("MachineTemplate"));
    set["spec"]["template"]["spec"]["bootstrap"]["configRef"]["kind"] = json!(kind("ConfigTemplate"));
    case.create(set).await;
    let machine = name(&case.until("Machine", "one is made", |all| all.len() == 1).await[0]);
    case.status(&kind("Config"), &machine, (contract.config)()).await;
    let provisioning = |object: &Value| object["spec"]["bootstrap"]["dataSecretName"] == "data";
    case.when("Machine", &machine, "given its data", provisioning).await;
    let id = format!("foreign://{}/{machine}", case.namespace);
    case.patch(&kind("Machine"), &machine, json!({"spec": {"providerID": id}})).await;
    let (part, in_spec) = contract.domain;
    let domain = json!({"failureDomain": "rack-1"});
    let mut status = (contract.infra_machine)();
    if in_spec {
        case.patch(&kind("Machine"), &machine, json!({(part): domain})).await;
    } else {
        status["failureDomain"] = json!("rack-1");
    }
    case.status(&kind("Machine"), &machine, status).await;
    let node = format!("{}.{machine}", case.namespace);
    case.create(build::node(&node, &id)).await;
    case.status("Node", &node, build::node_status("True")).await;
    let machine_object =
        case.when("Machine", &machine, "running", |machine| machine["status"]["phase"] == "Running").await;
    assert_eq!(machine_object["status"]["failureDomain"], "rack-1");
    case.when("Machine", &machine, "Available", |machine| {
        condition(machine, "Available")["status"] == "True"
    })
    .await;

    case.delete("Cluster", "c").await;
    case.gone("Cluster", "c").await;
    for kind in [kind("Machine"), kind("Config"), kind("Cluster"), kind("ControlPlane")] {
        assert!(case.list(&kind).await.is_empty(), "{kind}");
    }
}

#[test]
fn providers_of_the_older_contract_stand_beside_ours() {
    run(through_a_life("old-contract", &OLD));
}

#[test]
fn providers_of_the_newer_contract_stand_beside_ours() {
    run(through_a_life("new-contract", &NEW));
}
