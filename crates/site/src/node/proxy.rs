//! kube-proxy in nftables mode as a static Pod. In: the site's configuration. Out: its configuration and its Pod.

use super::static_pods::{Component, StaticPod, kubernetes_image};
use crate::{Layout, NetworkMode, SiteConfig};
use serde_json::{Value, json};

/// Renders the KubeProxyConfiguration.
///
/// In a network namespace the connection tracking limits are those of the machine and cannot be written, and neither
/// where limits may not be raised. Without the
/// bridge hooks of netfilter (`bridged` false) the answer of a Pod to its neighbour on the bridge would go past the
/// address translation, so then every Service connection is masqueraded.
pub fn render_config(layout: &Layout, config: &SiteConfig, bridged: bool, may_raise: bool) -> Value {
    let mut out = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": "0.0.0.0",
        "clientConnection": {"kubeconfig": layout.at("kubernetes/kube-proxy.kubeconfig")},
        "clusterCIDR": config.addresses.pods.to_string(),
        "detectLocalMode": "ClusterCIDR",
        "healthzBindAddress": "127.0.0.1:10256",
        "hostnameOverride": config.node_name(),
        "metricsBindAddress": "127.0.0.1:10249",
        "nftables": {"masqueradeAll": !bridged, "minSyncPeriod": "100ms", "syncPeriod": "30s"},
    });
    if config.network == NetworkMode::Namespace || !may_raise {
        out["conntrack"] =
            json!({"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"});
    }
    out
}

/// The Pod. Privileged because it writes the Node's netfilter rules and network settings under /proc/sys.
pub fn pod(layout: &Layout) -> StaticPod {
    let config = layout.at("kubernetes/kube-proxy.json");
    let kubeconfig = layout.at("kubernetes/kube-proxy.kubeconfig");
    Component {
        name: "kube-proxy",
        image: kubernetes_image("kube-proxy"),
        flags: vec![
            ("config", config.display().to_string()),
            ("kubeconfig", kubeconfig.display().to_string()),
        ],
        millicores: 50,
        probe: None,
        data: None,
        privileged: true,
    }
    .pod(layout)
}
