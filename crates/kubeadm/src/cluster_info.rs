//! The ConfigMap `kube-public/cluster-info`: where the API server is and which CA it has, readable by anybody. The
//! controller-manager's bootstrapsigner adds one signature per token (`jws-kubeconfig-<id>`).

use crate::{ClusterFacts, YamlError, to_yaml};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// ConfigMap `kube-public/cluster-info`. Apply it without owning other keys of `data`: the signatures live there.
pub fn cluster_info(facts: &ClusterFacts) -> Result<Value, YamlError> {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "",
            "cluster": {
                "certificate-authority-data": STANDARD.encode(&facts.ca_pem),
                "server": facts.server(),
            },
        }],
        "contexts": [],
        "current-context": "",
        "users": [],
    });
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": to_yaml(&kubeconfig)?},
    }))
}
