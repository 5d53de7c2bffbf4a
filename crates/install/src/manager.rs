//! The manager's Deployment, its configuration, and the Service and certificate of its webhooks. Pure.

use crate::{InstallError, KVM_RUNTIME, MANAGER, ManagerConfig, NAMESPACE, Pem, scute_image};
use serde_json::{Value, json};

/// Where the manager finds its configuration.
const CONFIG_FOLDER: &str = "/etc/scute";
/// Where the manager finds its webhook certificate.
pub const CERTIFICATE_FOLDER: &str = "/etc/scute-webhook";
/// Secret of the webhook certificate, and name of the webhook's Service.
pub const WEBHOOK_SECRET: &str = "scute-webhook-tls";
/// The Service through which the API server calls the webhooks.
pub const WEBHOOK_SERVICE: &str = "scute-webhook";
/// Port of the webhook server in the manager's Pod.
const WEBHOOK_PORT: u16 = 9443;
/// Port of probes and metrics in the manager's Pod.
const HEALTH_PORT: u16 = 8080;

/// All objects but rights. `image_digest` makes the Pod new when the bundle brings another image of the same name.
pub fn objects(
    configuration: &ManagerConfig,
    webhook: &Pem,
    image_digest: &str,
) -> Result<Vec<Value>, InstallError> {
    let configuration =
        serde_json::to_string_pretty(configuration).map_err(|e| InstallError::Malformed(e.to_string()))?;
    Ok(vec![
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": MANAGER, "namespace": NAMESPACE},
            "data": {"config.yaml": configuration},
        }),
        json!({
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": KVM_RUNTIME},
            "handler": KVM_RUNTIME,
        }),
        certificate(webhook),
        service(),
        deployment(&configuration, image_digest),
    ])
}

fn certificate(webhook: &Pem) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": WEBHOOK_SECRET, "namespace": NAMESPACE},
        "stringData": {
            "ca.crt": webhook.ca,
            "tls.crt": webhook.certificate,
            "tls.key": webhook.key,
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": WEBHOOK_SERVICE, "namespace": NAMESPACE},
        "spec": {
            "selector": {"app": MANAGER},
            "ports": [{"name": "webhook", "port": 443, "targetPort": WEBHOOK_PORT}],
        },
    })
}

fn deployment(configuration: &str, image_digest: &str) -> Value {
    use sha2::{Digest, Sha256};
    let labels = json!({"app": MANAGER});
    let seen = hex::encode(&Sha256::digest(configuration)[..8]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": MANAGER, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 1,
            // Two managers at once would need leases; a second of absence costs nothing, reconciling is level-based.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"scute.dev/image-digest": image_digest, "scute.dev/configuration": seen},
                },
                "spec": pod(),
            },
        },
    })
}

/// Seconds that a Node may be silent before its manager is started elsewhere.
const SILENCE: u32 = 60;

/// It must start on a Node that is not ready yet, and outlive pressure: everything else waits for it. A dead Node is not
/// among what it bears: there it neither stays nor starts.
fn tolerations() -> Vec<Value> {
    let node = "node.kubernetes.io";
    let starts = [
        "node-role.kubernetes.io/control-plane".to_owned(),
        format!("{node}/not-ready"),
        format!("{node}/memory-pressure"),
        format!("{node}/disk-pressure"),
        format!("{node}/pid-pressure"),
        format!("{node}/network-unavailable"),
    ]
    .map(|key| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"}));
    let stays = ["not-ready", "unreachable"].map(|state| {
        let key = format!("{node}/{state}");
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SILENCE})
    });
    starts.into_iter().chain(stays).collect()
}

fn pod() -> Value {
    json!({
        "serviceAccountName": MANAGER,
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 10,
        "tolerations": tolerations(),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "manager",
            "image": scute_image(),
            "imagePullPolicy": "IfNotPresent",
            "command": ["/usr/local/bin/scute", "manager"],
            "args": [format!("--config={CONFIG_FOLDER}/config.yaml")],
            "ports": [
                {"name": "webhook", "containerPort": WEBHOOK_PORT},
                {"name": "health", "containerPort": HEALTH_PORT},
            ],
            "readinessProbe": {
                "httpGet": {"path": "/readyz", "port": "health"},
                "periodSeconds": 5,
                "timeoutSeconds": 5,
            },
            "startupProbe": {
                "httpGet": {"path": "/startupz", "port": "health"},
                "periodSeconds": 1,
                "timeoutSeconds": 5,
                "failureThreshold": 120,
            },
            "livenessProbe": {
                "httpGet": {"path": "/livez", "port": "health"},
                "periodSeconds": 20,
                "timeoutSeconds": 15,
                "failureThreshold": 6,
            },
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": true},
                {"name": "webhook", "mountPath": CERTIFICATE_FOLDER, "readOnly": true},
            ],
        }],
        "volumes": [
            {"name": "config", "configMap": {"name": MANAGER}},
            {"name": "webhook", "secret": {"secretName": WEBHOOK_SECRET}},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_starts_on_a_node_that_comes_and_leaves_one_that_is_dead() {
        let all = tolerations();
        let of = |taint: &str, effect: &str| {
            let key = format!("node.kubernetes.io/{taint}");
            all.iter().find(|t| t["key"] == key && t["effect"] == effect)
        };
        assert!(of("not-ready", "NoSchedule").is_some());
        assert!(of("unreachable", "NoSchedule").is_none(), "it would be put there again");
        for taint in ["not-ready", "unreachable"] {
            let seconds = of(taint, "NoExecute").and_then(|t| t["tolerationSeconds"].as_u64());
            assert_eq!(seconds, Some(60), "{taint}");
        }
        assert!(all.iter().all(|t| t["key"].is_string() && t["effect"].is_string()), "one that bears all");
    }
}
