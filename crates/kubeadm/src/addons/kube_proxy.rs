//! kube-proxy: ServiceAccount, bindings, its two configuration files and the DaemonSet, in nftables mode.

use super::{ImageOverride, labelled};
use crate::{
    ClusterFacts, NODE_BOOTSTRAP_GROUP, YamlError,
    kubelet::component_config_hash,
    rbac::{cluster_binding, config_map_reader, group, service_account},
    to_yaml,
};
use serde_json::{Value, json};

/// The add-on's objects, in an order that can be applied.
pub fn kube_proxy(facts: &ClusterFacts, image: &ImageOverride) -> Result<Vec<Value>, YamlError> {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
    });
    let node_proxier =
        cluster_binding("kubeadm:node-proxier", "system:node-proxier", &[service_account("kube-proxy")]);
    let mut objects = vec![account, node_proxier];
    objects.extend(config_map_reader(
        "kube-proxy",
        "kube-system",
        "kube-proxy",
        &[group(NODE_BOOTSTRAP_GROUP)],
    ));
    objects.push(config_map(facts)?);
    objects.push(daemon_set(&image_name(facts, image)));
    Ok(objects.into_iter().map(labelled).collect())
}

fn image_name(facts: &ClusterFacts, image: &ImageOverride) -> String {
    let repository = image.repository.as_deref().unwrap_or(&facts.image_repository);
    let version = facts.version.to_string();
    format!("{repository}/kube-proxy:{}", image.tag.as_deref().unwrap_or(&version))
}

fn config_map(facts: &ClusterFacts) -> Result<Value, YamlError> {
    let config = to_yaml(&configuration(facts))?;
    let kubeconfig = to_yaml(&kubeconfig(&facts.server()))?;
    let hash = component_config_hash([config.as_str(), kubeconfig.as_str()]);
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "kube-proxy",
            "namespace": "kube-system",
            "labels": {"app": "kube-proxy"},
            "annotations": {"kubeadm.kubernetes.io/component-config.hash": hash},
        },
        "data": {"config.conf": config, "kubeconfig.conf": kubeconfig},
    }))
}

/// nftables in place of the default iptables: the same rules with one table and no `iptables` binary in the image.
/// Zeros under `conntrack` leave the kernel's limits alone; writing them needs CAP_SYS_RESOURCE over the whole host,
/// which a Node in a container or a namespace does not have, and kube-proxy ends when it is refused.
fn configuration(facts: &ClusterFacts) -> Value {
    let pods: Vec<_> = facts.pod_cidrs.iter().map(ToString::to_string).collect();
    let ipv4 = facts.service_cidrs.first().is_none_or(|cidr| cidr.addr().is_ipv4());
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": if ipv4 { "0.0.0.0" } else { "::" },
        "clientConnection": {"kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf"},
        "clusterCIDR": pods.join(","),
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        "mode": "nftables",
    })
}

fn kubeconfig(server: &str) -> Value {
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "default",
            "cluster": {"certificate-authority": format!("{account}/ca.crt"), "server": server},
        }],
        "contexts": [{
            "name": "default",
            "context": {"cluster": "default", "namespace": "default", "user": "default"},
        }],
        "current-context": "default",
        "users": [{"name": "default", "user": {"tokenFile": format!("{account}/token")}}],
    })
}

fn daemon_set(image: &str) -> Value {
    let labels = json!({"k8s-app": "kube-proxy"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "kube-proxy", "namespace": "kube-system", "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "priorityClassName": "system-node-critical",
                    "hostNetwork": true,
                    "serviceAccountName": "kube-proxy",
                    "tolerations": [{"operator": "Exists"}],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "containers": [container(image)],
                    "volumes": [
                        {"name": "kube-proxy", "configMap": {"name": "kube-proxy"}},
                        {"name": "xtables-lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
                        {"name": "lib-modules", "hostPath": {"path": "/lib/modules"}},
                    ],
                },
            },
        },
    })
}

fn container(image: &str) -> Value {
    json!({
        "name": "kube-proxy",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "/usr/local/bin/kube-proxy",
            "--config=/var/lib/kube-proxy/config.conf",
            "--hostname-override=$(NODE_NAME)",
        ],
        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "securityContext": {"privileged": true},
        "volumeMounts": [
            {"mountPath": "/var/lib/kube-proxy", "name": "kube-proxy"},
            {"mountPath": "/run/xtables.lock", "name": "xtables-lock"},
            {"mountPath": "/lib/modules", "name": "lib-modules", "readOnly": true},
        ],
    })
}
