//! The shared etcd of tenants in a cluster that brings none: three members on three Nodes. In: how many, and where. Out: its
//! objects, the configuration that each member starts with, and the certificates and the DataStore, which a manager keeps.

mod keep;
mod member;

use crate::parts::{Given, When, given, namespace, when};
use crate::{MANAGER, SCUTE, VERSION};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use keep::EtcdKeeper;
pub use member::{BeginError, CONFIGURATION, Place, ROOT_CLIENT, begin, member_configuration, seats};
use member::{CERTIFICATES, FORMED};

/// The image of etcds.
pub const ETCD_IMAGE: &str = "registry.k8s.io/etcd:3.6.6-0";

/// Name of the etcd: StatefulSet, Service, PodDisruptionBudget.
const NAME: &str = "etcd-tenants";
/// Secret with what members show to each other and to clients.
const SERVER_SECRET: &str = "etcd-tenants-server";
/// Volume of the data, and where it is.
const DATA: &str = "/var/lib/etcd";
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const METRICS_PORT: u16 = 2381;

/// The etcd that is installed for the DataStore `default`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EtcdConfig {
    /// 1, 3 or 5, each on a Node of its own. It may grow.
    pub members: u8,
    /// Size of each member's volume. etcd keeps up to 8 GiB, and its log and a snapshot beside it.
    pub storage: String,
    /// Class of the volumes; the cluster's default without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Image of etcd.
    pub image: String,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self { members: 3, storage: "20Gi".to_owned(), storage_class: None, image: ETCD_IMAGE.to_owned() }
    }
}

impl EtcdConfig {
    /// Of so many members.
    #[must_use]
    pub fn of(members: u8) -> Self {
        Self { members, ..Self::default() }
    }

    /// Whether there can be such an etcd.
    ///
    /// # Errors
    /// With the field, its value and what would be right.
    pub fn check(&self) -> Result<(), String> {
        match self.members {
            1 | 3 | 5 => Ok(()),
            other => Err(format!(
                "etcd.members: {other} members stand no more losses than one less, or cannot be: use 1, 3 or 5"
            )),
        }
    }
}

/// Its objects. Nothing secret is in them, and not the DataStore either: only who works makes it, so that one that is a
/// user's is never overwritten.
pub fn objects() -> Vec<Value> {
    [service(), disruption_budget(), stateful_set()].map(|object| when(When::Etcd, object)).into()
}

fn labels() -> Value {
    json!({"app": NAME})
}

/// Gives each member a name, also before it answers: the others have to find it to begin.
fn service() -> Value {
    let port = |name: &str, port: u16| json!({"name": name, "port": port});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": namespace()},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": labels(),
            "ports": [port("client", CLIENT_PORT), port("peer", PEER_PORT), port("metrics", METRICS_PORT)],
        },
    })
}

fn disruption_budget() -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": NAME, "namespace": namespace()},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels()}},
    })
}

fn stateful_set() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": NAME, "namespace": namespace(), "labels": labels()},
        "spec": {
            "serviceName": NAME,
            "replicas": given(&Given::EtcdMembers),
            // The first need each other to begin.
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels()},
            "template": {"metadata": {"labels": labels()}, "spec": pod()},
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": when(When::EtcdStorageClass, given(&Given::EtcdStorageClass)),
                    "resources": {"requests": {"storage": given(&Given::EtcdStorage)}},
                },
            }],
        },
    })
}

fn pod() -> Value {
    let folder = |path: &str| path.rsplit_once('/').map_or("/", |(folder, _)| folder).to_owned();
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path, "readOnly": true});
    let written = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let hardened = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    let probe = |path: &str, failures: u16| {
        json!({
            "httpGet": {"path": path, "port": "metrics"},
            "periodSeconds": 5,
            "timeoutSeconds": 15,
            "failureThreshold": failures,
        })
    };
    json!({
        "automountServiceAccountToken": false,
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        // Two members on one Node would be lost together.
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels()}},
        ]}},
        "initContainers": [{
            "name": "member",
            "image": given(&Given::Image(SCUTE.to_owned(), VERSION.to_owned())),
            "imagePullPolicy": "IfNotPresent",
            "command": ["/usr/local/bin/scute", "etcd-member"],
            "args": ["--config=/etc/scute/config.yaml"],
            "env": [
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            ],
            "securityContext": hardened,
            "volumeMounts": [
                mount("config", "/etc/scute"),
                mount("certificates", CERTIFICATES),
                mount("root", ROOT_CLIENT),
                written("data", DATA),
                written("start", &folder(CONFIGURATION)),
            ],
        }],
        "containers": [{
            "name": "etcd",
            "image": given(&Given::EtcdImage),
            "imagePullPolicy": "IfNotPresent",
            "command": ["etcd"],
            "args": [format!("--config-file={CONFIGURATION}")],
            "ports": [
                {"name": "client", "containerPort": CLIENT_PORT},
                {"name": "peer", "containerPort": PEER_PORT},
                {"name": "metrics", "containerPort": METRICS_PORT},
            ],
            "startupProbe": probe("/readyz", 120),
            "readinessProbe": probe("/readyz", 3),
            // What is not read at once is not mended by a start.
            "livenessProbe": probe("/livez", 8),
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "securityContext": hardened,
            "volumeMounts": [
                mount("certificates", CERTIFICATES),
                written("data", DATA),
                mount("start", &folder(CONFIGURATION)),
            ],
        }],
        "volumes": [
            {"name": "config", "configMap": {"name": MANAGER}},
            {"name": "certificates", "secret": {"secretName": SERVER_SECRET, "defaultMode": 0o440}},
            {"name": "root", "secret": {"secretName": crate::tenants_etcd::CLIENT_SECRET, "defaultMode": 0o440}},
            {"name": "start", "emptyDir": {}},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_of_members_is_refused() {
        for members in [0, 2, 4, 6] {
            assert!(EtcdConfig::of(members).check().unwrap_err().starts_with("etcd.members: "), "{members}");
        }
        assert!([1, 3, 5].iter().all(|members| EtcdConfig::of(*members).check().is_ok()));
    }
}
