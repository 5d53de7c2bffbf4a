//! The manager's Deployment, its configuration, and the Service and certificate of its webhooks. Pure.

use crate::parts::{Given, When, either, given, namespace, when};
use crate::{KVM_RUNTIME, MANAGER, NODE, Pem, RAMDISK, SCUTE, VERSION, webhooks};
use scute_kubeadm::KUBERNETES_VERSION;
use serde_json::{Value, json};

/// Where the manager finds its configuration.
const CONFIG_FOLDER: &str = "/etc/scute";
/// Where the manager finds its webhook certificate.
pub const CERTIFICATE_FOLDER: &str = "/etc/scute-webhook";
/// Secret of the webhook certificate, and name of the webhook's Service.
pub const WEBHOOK_SECRET: &str = "scute-webhook-tls";
/// Where the manager finds the image with the ISO of the provisioning ramdisk.
pub const RAMDISK_FOLDER: &str = "/ramdisk";
/// Where the manager finds the image with the disk of Nodes.
pub const NODE_FOLDER: &str = "/node";
/// The Service through which bare-metal servers and their BMCs reach the manager.
const METAL_SERVICE: &str = "scute-metal";
/// On the Pod of the manager that works.
pub const LEADER_LABEL: &str = "scute.dev/leader";
/// Port of the webhook server in the manager's Pod.
const WEBHOOK_PORT: u16 = 9443;
/// Port of probes and metrics in the manager's Pod.
const HEALTH_PORT: u16 = 8080;

/// The manager as it is wanted. What it is told, how many there are and where its images are is chosen later.
pub struct Manager<'a> {
    /// The certificate of its webhooks; without one it makes its own.
    pub certificate: Option<&'a Pem>,
    /// Digests of its images: another image of the same name makes its Pod new.
    pub image_digest: &'a str,
}

impl Manager<'_> {
    /// All objects but rights.
    pub fn objects(&self) -> Vec<Value> {
        let mut objects = vec![
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": MANAGER, "namespace": namespace()},
                "data": {"config.yaml": given(&Given::Configuration)},
            }),
            json!({
                "apiVersion": "node.k8s.io/v1",
                "kind": "RuntimeClass",
                "metadata": {"name": KVM_RUNTIME},
                "handler": KVM_RUNTIME,
            }),
            service(),
            self.deployment(),
        ];
        objects.extend(self.certificate.map(certificate));
        objects.push(when(When::Several, disruption_budget()));
        objects.push(when(When::Metal, metal_service()));
        objects
    }

    fn deployment(&self) -> Value {
        let labels = json!({"app": MANAGER});
        // Two managers take turns by a lease. One alone need not wait for the other: a second of absence costs nothing,
        // reconciling is level-based.
        let strategy = either(
            When::Several,
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
            json!({"type": "Recreate"}),
        );
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": MANAGER, "namespace": namespace(), "labels": labels},
            "spec": {
                "replicas": given(&Given::Replicas),
                "strategy": strategy,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": {
                            "scute.dev/image-digest": self.image_digest,
                            "scute.dev/configuration": given(&Given::ConfigurationSum),
                        },
                    },
                    "spec": self.pod(),
                },
            },
        })
    }

    fn pod(&self) -> Value {
        let mut pod = manager_pod();
        let add = |list: &mut Value, value: Value| {
            if let Some(list) = list.as_array_mut() {
                list.push(value);
            }
        };
        if self.certificate.is_some() {
            let mount = json!({"name": "webhook", "mountPath": CERTIFICATE_FOLDER, "readOnly": true});
            add(&mut pod["containers"][0]["volumeMounts"], mount);
            add(&mut pod["volumes"], json!({"name": "webhook", "secret": {"secretName": WEBHOOK_SECRET}}));
        }
        let spread = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": MANAGER}},
        }]);
        pod["topologySpreadConstraints"] = when(When::Several, spread);
        let container = &mut pod["containers"][0];
        for (name, port) in [("agents", Given::ServicePort), ("media", Given::MediaPort)] {
            let port = json!({"name": name, "containerPort": given(&port)});
            add(&mut container["ports"], when(When::Metal, port));
        }
        for (condition, name, folder, image, tag) in [
            (When::Metal, "ramdisk", RAMDISK_FOLDER, RAMDISK, VERSION),
            (When::NodeDisk, "node", NODE_FOLDER, NODE, KUBERNETES_VERSION),
        ] {
            let mount = json!({"name": name, "mountPath": folder, "readOnly": true});
            add(&mut pod["containers"][0]["volumeMounts"], when(condition, mount));
            let image = given(&Given::Image(image.to_owned(), tag.to_owned()));
            let volume = json!({"name": name, "image": {"reference": image, "pullPolicy": "IfNotPresent"}});
            add(&mut pod["volumes"], when(condition, volume));
        }
        pod
    }
}

/// Of several managers one stays while Nodes are drained.
fn disruption_budget() -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": MANAGER, "namespace": namespace()},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": MANAGER}}},
    })
}

/// On every Node's own addresses: servers and their BMCs need no route to the Services, and no load balancer.
fn metal_service() -> Value {
    let port = |name: &str, port: Given| {
        let port = given(&port);
        json!({"name": name, "port": port, "targetPort": port, "nodePort": port})
    };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": METAL_SERVICE, "namespace": namespace()},
        "spec": {
            "type": "NodePort",
            // Only who works answers them.
            "selector": {"app": MANAGER, LEADER_LABEL: "true"},
            "ports": [port("agents", Given::ServicePort), port("media", Given::MediaPort)],
        },
    })
}

fn certificate(webhook: &Pem) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": WEBHOOK_SECRET, "namespace": namespace()},
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
        "metadata": {"name": webhooks::SERVICE, "namespace": namespace()},
        "spec": {
            "selector": {"app": MANAGER},
            "ports": [{"name": "webhook", "port": 443, "targetPort": WEBHOOK_PORT}],
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

fn manager_pod() -> Value {
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
            "image": given(&Given::Image(SCUTE.to_owned(), VERSION.to_owned())),
            "imagePullPolicy": "IfNotPresent",
            "command": ["/usr/local/bin/scute", "manager"],
            "args": [format!("--config={CONFIG_FOLDER}/config.yaml")],
            // Whom the lease belongs to: a Pod that is gone or has been started again need not be waited for.
            "env": [
                {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            ],
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
            "volumeMounts": [{"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": true}],
        }],
        "volumes": [{"name": "config", "configMap": {"name": MANAGER}}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::Choice;
    use crate::{ManagerConfig, MetalConfig, Options};

    #[test]
    fn what_bare_metal_needs_is_there_when_it_is_asked_for_and_only_then() {
        let pem = Pem { ca: String::new(), certificate: String::new(), key: String::new() };
        let made = |metal: Option<MetalConfig>| {
            let configuration = ManagerConfig { metal, ..ManagerConfig::default() };
            let manager = Manager { certificate: Some(&pem), image_digest: "" };
            let options = Options::site(configuration);
            Choice::new(&options).unwrap().resolve(&manager.objects()).unwrap()
        };
        let (without, with) = (made(None), made(Some(MetalConfig::on("10.0.0.5".into()))));
        assert_eq!(without.len() + 1, with.len());
        let ports = &with.last().unwrap()["spec"]["ports"];
        assert_eq!((&ports[0]["nodePort"], &ports[1]["nodePort"]), (&json!(30063), &json!(30061)));
        let spec = &with[3]["spec"]["template"]["spec"];
        assert_eq!(spec["volumes"][2]["image"]["reference"], crate::ramdisk_image());
        assert_eq!(spec["containers"][0]["volumeMounts"][2]["mountPath"], RAMDISK_FOLDER);
        assert_eq!(spec["containers"][0]["ports"][3]["containerPort"], 30061);
        assert!(spec["volumes"][3].is_null());
        let with = made(Some(MetalConfig::on("10.0.0.5".into()).with_node_image()));
        let spec = &with[3]["spec"]["template"]["spec"];
        assert_eq!(spec["volumes"][3]["image"]["reference"], crate::node_image());
        assert_eq!(spec["containers"][0]["volumeMounts"][3]["mountPath"], NODE_FOLDER);
        let spec = &without[3]["spec"]["template"]["spec"];
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 2);
    }

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
