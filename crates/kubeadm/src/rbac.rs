//! The roles and bindings that kubeadm makes so that Nodes can join, under upstream's names.

use crate::{APISERVER_KUBELET_CLIENT, CLUSTER_ADMINS_GROUP, NODE_BOOTSTRAP_GROUP};
use serde_json::{Value, json};
use std::slice;

const NODES_GROUP: &str = "system:nodes";

/// All RBAC of kubeadm's `upload-config`, `kubelet`, `bootstrap-token` and `admin` phases.
///
/// `kubeadm:apiserver-kubelet-client` is what newer kubeadm (1.36) binds; with it the API server's kubelet client
/// certificate needs no group, in particular not one of administrators.
pub fn bootstrap_rbac() -> Vec<Value> {
    let bootstrappers = group(NODE_BOOTSTRAP_GROUP);
    let nodes = group(NODES_GROUP);
    let mut objects = vec![
        cluster_binding("kubeadm:cluster-admins", "cluster-admin", &[group(CLUSTER_ADMINS_GROUP)]),
        cluster_binding(
            "kubeadm:apiserver-kubelet-client",
            "system:kubelet-api-admin",
            &[user(APISERVER_KUBELET_CLIENT)],
        ),
        cluster_role(
            "kubeadm:get-nodes",
            &json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]),
        ),
        cluster_binding("kubeadm:get-nodes", "kubeadm:get-nodes", slice::from_ref(&bootstrappers)),
        cluster_binding(
            "kubeadm:kubelet-bootstrap",
            "system:node-bootstrapper",
            slice::from_ref(&bootstrappers),
        ),
        cluster_binding(
            "kubeadm:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            slice::from_ref(&bootstrappers),
        ),
        cluster_binding(
            "kubeadm:node-autoapprove-certificate-rotation",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            slice::from_ref(&nodes),
        ),
    ];
    let readers = [bootstrappers, nodes];
    objects.extend(config_map_reader(
        "kubeadm:nodes-kubeadm-config",
        "kube-system",
        "kubeadm-config",
        &readers,
    ));
    objects.extend(config_map_reader("kubeadm:kubelet-config", "kube-system", "kubelet-config", &readers));
    let anybody = [user("system:anonymous")];
    objects.extend(config_map_reader(
        "kubeadm:bootstrap-signer-clusterinfo",
        "kube-public",
        "cluster-info",
        &anybody,
    ));
    objects
}

/// A Role to get one ConfigMap and its binding, both called `name`.
pub(crate) fn config_map_reader(
    name: &str,
    namespace: &str,
    config_map: &str,
    subjects: &[Value],
) -> [Value; 2] {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [config_map], "verbs": ["get"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": subjects,
    });
    [role, binding]
}

pub(crate) fn cluster_role(name: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    })
}

pub(crate) fn cluster_binding(name: &str, role: &str, subjects: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    })
}

pub(crate) fn group(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name})
}

fn user(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

pub(crate) fn service_account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
}
