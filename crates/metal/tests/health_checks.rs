//! A MachineHealthCheck of the cluster room with a Metal3RemediationTemplate of this one: a server whose Node falls ill is
//! restarted, and left alone when the Node is well again.

mod provider;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use provider::{Bench, INFRA};
use scute_api::cluster::{Cluster, Machine, MachineHealthCheck};
use scute_api::infrastructure::{
    Metal3Cluster, Metal3Remediation, Metal3RemediationTemplate, RemediationPhase as Phase,
};
use scute_api::metal3::BareMetalHost;
use scute_kit::conditions::{find, is_true};
use scute_testkit::{eventually, until};
use serde_json::json;

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What the kubelet says after a start, or the node lifecycle controller when it is silent.
async fn says(nodes: &Api<Node>, name: &str, boot: &str, ready: &str) {
    let info = json!({"bootID": boot, "architecture": "amd64", "containerRuntimeVersion": "", "kernelVersion": "",
        "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "",
        "systemUUID": ""});
    let condition = json!([{"type": "Ready", "status": ready, "reason": "Test", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let status = json!({"status": {"nodeInfo": info, "conditions": condition}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

fn says_of(machine: &Machine, type_: &str) -> Option<String> {
    find(&machine.status.as_ref()?.conditions, type_).map(|is| format!("{} {}", is.status, is.reason))
}

#[tokio::test]
async fn a_server_whose_node_falls_ill_is_restarted_and_left_alone_afterwards() {
    let bench = Bench::with("checked", |hub, tenants, tasks| {
        scute_cluster::spawn(hub, tenants, scute_cluster::Config::default(), tasks);
    })
    .await;
    let name = "checked-a";
    bench.host("server-1", json!({})).await;
    bench
        .create::<Metal3Cluster>(json!({
            "apiVersion": format!("{INFRA}/v1beta2"), "kind": "Metal3Cluster", "metadata": {"name": "c"},
            "spec": {"controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}, "cloudProviderEnabled": false},
        }))
        .await;
    bench.cluster("c").await;
    // The cluster room may have written what it knew before this; what it has seen once it keeps.
    until("c is ready for Machines", async || {
        let reached = json!({"infrastructureProvisioned": true, "controlPlaneInitialized": true});
        let cluster: Cluster = bench.patch_status("c", json!({ "initialization": reached })).await;
        let conditions = cluster.status.map(|status| status.conditions).unwrap_or_default();
        let ready = ["InfrastructureReady", "ControlPlaneInitialized"];
        ready.iter().all(|type_| is_true(&conditions, type_)).then_some(())
    })
    .await;
    bench.machine_of(name, "c", json!({"pool": "a"}), json!({})).await;
    let is_on = |host: &BareMetalHost| host.status.as_ref().is_some_and(|status| status.powered_on);
    bench.eventually("server-1", "on", is_on).await;
    let nodes = bench.join(name, json!({})).await;
    says(&nodes, name, "boot-1", "True").await;
    let is_node = |machine: &Machine| machine.status.as_ref().is_some_and(|status| status.node_ref.is_some());
    bench.eventually(name, "a Node", is_node).await;

    bench
        .create::<Metal3RemediationTemplate>(json!({
            "apiVersion": format!("{INFRA}/v1beta2"), "kind": "Metal3RemediationTemplate", "metadata": {"name": "reboot"},
            "spec": {"template": {"spec": {"strategy": {"type": "Reboot", "retryLimit": 2, "timeoutSeconds": 300}}}},
        }))
        .await;
    bench
        .create::<MachineHealthCheck>(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck", "metadata": {"name": "mhc"},
            "spec": {"clusterName": "c", "selector": {"matchLabels": {"pool": "a"}},
                "checks": {"unhealthyNodeConditions": [{"type": "Ready", "status": "Unknown", "timeoutSeconds": 60}]},
                "remediation": {"templateRef": {"apiVersion": format!("{INFRA}/v1beta2"),
                    "kind": "Metal3RemediationTemplate", "name": "reboot"}}},
        }))
        .await;
    let well =
        |machine: &Machine| says_of(machine, "HealthCheckSucceeded").is_some_and(|is| is.starts_with("True"));
    bench.eventually(name, "well", well).await;

    says(&nodes, name, "boot-1", "Unknown").await;
    let remediation: Metal3Remediation = bench
        .eventually(name, "under way", |object: &Metal3Remediation| {
            object.status.as_ref().is_some_and(|status| status.phase == Some(Phase::Running))
        })
        .await;
    assert_eq!(remediation.spec.strategy.as_ref().unwrap().retry_limit, 2);
    assert_eq!(remediation.owner_references()[0].name, name);
    let ill = bench
        .eventually(name, "said to be treated", |machine: &Machine| {
            says_of(machine, "ExternallyRemediated").as_deref() == Some("False WaitingForRemediation")
        })
        .await;
    assert_eq!(says_of(&ill, "HealthCheckSucceeded").as_deref(), Some("False UnhealthyNode"));
    assert_eq!(says_of(&ill, "OwnerRemediated"), None, "nobody replaces it");
    bench
        .eventually::<Metal3Remediation>(name, "waiting for the Node", |object| {
            object.status.as_ref().is_some_and(|status| status.phase == Some(Phase::Waiting))
        })
        .await;
    bench.eventually("server-1", "on again", is_on).await;

    says(&nodes, name, "boot-2", "True").await;
    bench.gone::<Metal3Remediation>(name).await;
    let machine = bench
        .eventually(name, "well again", |machine: &Machine| {
            well(machine) && says_of(machine, "ExternallyRemediated").is_none()
        })
        .await;
    assert!(machine.metadata.deletion_timestamp.is_none());
    eventually(nodes.clone(), name, "in service", |node: &Node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        !taints.into_iter().flatten().any(|taint| taint.key == OUT_OF_SERVICE)
    })
    .await;
    let host: BareMetalHost = bench.eventually("server-1", "on, and held by nobody", is_on).await;
    assert!(
        !host.annotations().keys().any(|key| key.starts_with("reboot.metal3.io")),
        "{:?}",
        host.annotations()
    );
    nodes.delete(name, &DeleteParams::default()).await.unwrap();
}
