//! The kubelet's configuration for a site. In: the site's configuration. Out: a KubeletConfiguration and arguments.

use crate::{Layout, SiteConfig};
use serde_json::{Value, json};

/// How many Pods the Node takes: bounded by the ports of a Linux bridge (1024), not by kubeadm's 110.
const MAX_PODS: u32 = 500;

/// Renders the KubeletConfiguration.
pub fn render_config(layout: &Layout, config: &SiteConfig) -> Value {
    let endpoint = format!("unix://{}", layout.containerd_socket().display());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": config.addresses.node,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", layout.cgroup()),
        "clusterDNS": [config.addresses.dns()],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": endpoint,
        "imageServiceEndpoint": endpoint,
        // Images come from the bundle and cannot be pulled again: no collection of unused ones.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "failCgroupV1": false,
        "failSwapOn": false,
        "healthzBindAddress": "127.0.0.1",
        "makeIPTablesUtilChains": false,
        "maxPods": MAX_PODS,
        "podPidsLimit": -1,
        "readOnlyPort": 0,
        "registerNode": true,
        "resolvConf": "/run/scute-node/resolv.conf",
        "rotateCertificates": false,
        "staticPodPath": layout.manifests(),
        "tlsCertFile": layout.pki("kubelet-server.crt"),
        "tlsPrivateKeyFile": layout.pki("kubelet-server.key"),
        "volumePluginDir": layout.at("kubelet-plugins"),
    })
}

/// The kubelet's arguments.
pub fn arguments(layout: &Layout, config: &SiteConfig) -> Vec<String> {
    vec![
        format!("--config={}", layout.at("kubernetes/kubelet.json").display()),
        format!("--kubeconfig={}", layout.at("kubernetes/kubelet.kubeconfig").display()),
        format!("--hostname-override={}", config.node_name()),
        format!("--node-ip={}", config.addresses.node),
        "--node-labels=scute.dev/site-node=true".to_owned(),
    ]
}
