//! The agent as a DaemonSet, with the least rights that the work takes.

use serde_json::{Value, json};

const NAME: &str = "scute-podnet";

/// ServiceAccount, ClusterRole, binding and DaemonSet, in an order that can be applied. With `api_server` (host and
/// port) the agent calls the API server there, and so needs no kube-proxy; without, at the Service `kubernetes`.
pub fn manifests(image: &str, api_server: Option<(&str, u16)>) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME, "namespace": "kube-system", "labels": labels()},
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": NAME, "labels": labels()},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME, "labels": labels()},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": "kube-system"}],
        }),
        daemon_set(image, api_server),
    ]
}

fn labels() -> Value {
    json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "scute"})
}

fn daemon_set(image: &str, api_server: Option<(&str, u16)>) -> Value {
    let selector = json!({"app.kubernetes.io/name": NAME});
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": "kube-system", "labels": labels()},
        "spec": {
            "selector": {"matchLabels": selector},
            // Routes stay when an agent ends: all may be replaced at once.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {
                "metadata": {"labels": labels()},
                "spec": {
                    "serviceAccountName": NAME,
                    "priorityClassName": "system-node-critical",
                    "tolerations": [{"operator": "Exists"}],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    // Privilege: the Node's routes, and all the rest, live in the host's network namespace.
                    "hostNetwork": true,
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [container(image, api_server)],
                    "volumes": [
                        // Privilege: the file that the container runtime waits for.
                        {"name": "cni", "hostPath": {"path": "/etc/cni/net.d", "type": "DirectoryOrCreate"}},
                        // Privilege: ip_forward. A container's own /proc/sys is read-only unless it is privileged.
                        {"name": "sysctl-net", "hostPath": {"path": "/proc/sys/net", "type": "Directory"}},
                    ],
                },
            },
        },
    })
}

fn container(image: &str, api_server: Option<(&str, u16)>) -> Value {
    let mut env =
        vec![json!({"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}})];
    if let Some((host, port)) = api_server {
        env.push(json!({"name": "KUBERNETES_SERVICE_HOST", "value": host}));
        env.push(json!({"name": "KUBERNETES_SERVICE_PORT", "value": port.to_string()}));
    }
    json!({
        "name": "podnet",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/local/bin/scute", "podnet", "--proc-sys-net", "/host/proc/sys/net"],
        "env": env,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            // Privilege: changing routes, rules and the overlay's devices. Root without any other capability owns the two mounted directories.
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsUser": 0,
        },
        "volumeMounts": [
            {"name": "cni", "mountPath": "/etc/cni/net.d"},
            {"name": "sysctl-net", "mountPath": "/host/proc/sys/net"},
        ],
    })
}
