//! Objects, as a user would write them.

use serde_json::{Value, json};

const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";
const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";
const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";
pub const CORE: &str = "cluster.x-k8s.io/v1beta2";

pub fn infra_cluster(name: &str) -> Value {
    json!({"apiVersion": format!("{INFRASTRUCTURE}/v1"), "kind": "TestCluster", "metadata": {"name": name}, "spec": {}})
}

pub fn control_plane(name: &str) -> Value {
    json!({"apiVersion": format!("{CONTROL_PLANE}/v1"), "kind": "TestControlPlane", "metadata": {"name": name},
        "spec": {"replicas": 1, "version": "v1.35.4"}})
}

pub fn cluster(name: &str) -> Value {
    json!({"apiVersion": CORE, "kind": "Cluster", "metadata": {"name": name}, "spec": {
        "clusterNetwork": {"pods": {"cidrBlocks": ["10.245.0.0/16"]}, "services": {"cidrBlocks": ["10.93.0.0/16"]}},
        "controlPlaneRef": {"apiGroup": CONTROL_PLANE, "kind": "TestControlPlane", "name": name},
        "infrastructureRef": {"apiGroup": INFRASTRUCTURE, "kind": "TestCluster", "name": name}}})
}

pub fn infra_template(name: &str) -> Value {
    json!({"apiVersion": format!("{INFRASTRUCTURE}/v1"), "kind": "TestMachineTemplate", "metadata": {"name": name},
        "spec": {"template": {"spec": {"cores": 2}}}})
}

pub fn config_template(name: &str) -> Value {
    json!({"apiVersion": format!("{BOOTSTRAP}/v1"), "kind": "TestConfigTemplate", "metadata": {"name": name}})
}

fn machine_spec(cluster: &str, template: &str, suffix: &str) -> Value {
    json!({"clusterName": cluster, "version": "v1.35.4",
        "bootstrap": {"configRef": {"apiGroup": BOOTSTRAP, "kind": format!("TestConfig{suffix}"), "name": template}},
        "infrastructureRef": {"apiGroup": INFRASTRUCTURE, "kind": format!("TestMachine{suffix}"), "name": template}})
}

pub fn deployment(name: &str, cluster: &str, template: &str, replicas: i32) -> Value {
    json!({"apiVersion": CORE, "kind": "MachineDeployment", "metadata": {"name": name}, "spec": {
        "clusterName": cluster, "replicas": replicas, "selector": {"matchLabels": null},
        "template": {"spec": machine_spec(cluster, template, "Template")}}})
}

pub fn set(name: &str, cluster: &str, template: &str, replicas: i32) -> Value {
    json!({"apiVersion": CORE, "kind": "MachineSet", "metadata": {"name": name}, "spec": {
        "clusterName": cluster, "replicas": replicas, "selector": {"matchLabels": {"set": name}},
        "template": {"metadata": {"labels": {"set": name}}, "spec": machine_spec(cluster, template, "Template")}}})
}

pub fn machine(name: &str, cluster: &str) -> Value {
    json!({"apiVersion": CORE, "kind": "Machine", "metadata": {"name": name},
        "spec": machine_spec(cluster, name, "")})
}

pub fn infra_machine(name: &str) -> Value {
    json!({"apiVersion": format!("{INFRASTRUCTURE}/v1"), "kind": "TestMachine", "metadata": {"name": name}, "spec": {}})
}

pub fn config(name: &str) -> Value {
    json!({"apiVersion": format!("{BOOTSTRAP}/v1"), "kind": "TestConfig", "metadata": {"name": name}, "spec": {}})
}

pub fn node(name: &str, provider_id: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"providerID": provider_id,
        "taints": [{"key": "node.cluster.x-k8s.io/uninitialized", "effect": "NoSchedule"}]}})
}

pub fn node_status(ready: &str) -> Value {
    json!({"conditions": [{"type": "Ready", "status": ready, "reason": "Test", "message": "the kubelet says so"}],
        "nodeInfo": {"kubeletVersion": "v1.35.4", "osImage": "Debian", "architecture": "amd64", "bootID": "",
            "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
            "operatingSystem": "linux", "systemUUID": ""}})
}

pub fn pod(name: &str, node: &str, metadata: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], "tolerations": [{"operator": "Exists"}]}});
    for (key, value) in metadata.as_object().into_iter().flatten() {
        pod["metadata"][key] = value.clone();
    }
    pod
}
