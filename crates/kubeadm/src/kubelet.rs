//! The KubeletConfiguration that Nodes download when they join, and the ConfigMap that holds it.

use crate::{ClusterFacts, YamlError, to_yaml};
use json_patch::Patch;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Why RFC 6902 patches do not fit the configuration.
#[derive(Debug, thiserror::Error)]
pub enum KubeletPatchError {
    /// Not a list of RFC 6902 operations.
    #[error("configurationJSONPatches is not a JSON patch: {0}")]
    Read(#[source] serde_json::Error),
    /// An operation does not apply.
    #[error("configurationJSONPatches does not apply to the kubelet's configuration: {0}")]
    Apply(#[source] json_patch::PatchError),
}

/// kubeadm's KubeletConfiguration for a cluster. Only fields that every supported minor version knows and that differ
/// from the kubelet's own defaults; paths are those of a Node, not of the control plane's host.
pub fn kubelet_config(facts: &ClusterFacts) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": facts.cgroup_driver.as_str(),
        "clusterDNS": facts.dns_ips(),
        "clusterDomain": facts.cluster_domain,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "rotateCertificates": true,
        "staticPodPath": "/etc/kubernetes/manifests",
    })
}

/// Applies RFC 6902 operations (`[{op, path, from?, value?}, …]`): all of them, or none and the reason.
pub fn patch_kubelet_config(config: &Value, operations: &Value) -> Result<Value, KubeletPatchError> {
    let patch: Patch = serde_json::from_value(operations.clone()).map_err(KubeletPatchError::Read)?;
    let mut patched = config.clone();
    json_patch::patch(&mut patched, &patch).map_err(KubeletPatchError::Apply)?;
    Ok(patched)
}

/// ConfigMap `kube-system/kubelet-config`, signed as kubeadm does so that its `upgrade` knows it was not edited by hand.
pub fn kubelet_config_map(config: &Value) -> Result<Value, YamlError> {
    let text = to_yaml(config)?;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "kubelet-config",
            "namespace": "kube-system",
            "annotations": {"kubeadm.kubernetes.io/component-config.hash": component_config_hash([text.as_str()])},
        },
        "data": {"kubelet": text},
    }))
}

/// kubeadm's checksum of a component's ConfigMap: SHA-256 over the values in the order of their keys.
pub(crate) fn component_config_hash<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let hash = values.into_iter().fold(Sha256::new(), |hash, value| hash.chain_update(value));
    format!("sha256:{}", hex::encode(hash.finalize()))
}
