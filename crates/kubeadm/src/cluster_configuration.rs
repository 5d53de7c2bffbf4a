//! The ConfigMap `kubeadm-config`: a ClusterConfiguration of `kubeadm.k8s.io/v1beta4` that `kubeadm join` reads.

use crate::{ClusterFacts, YamlError, to_yaml};
use serde_json::{Value, json};

/// The ClusterConfiguration. The etcd of a hosted control plane is nothing that a Node may know: it is left out, and
/// kubeadm on Workers does not ask for it.
pub fn cluster_configuration(facts: &ClusterFacts) -> Value {
    let join = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut configuration = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "apiServer": {},
        "caCertificateValidityPeriod": "87600h0m0s",
        "certificateValidityPeriod": "8760h0m0s",
        "certificatesDir": "/etc/kubernetes/pki",
        "clusterName": facts.name,
        "controlPlaneEndpoint": facts.endpoint(),
        "controllerManager": {},
        "dns": {},
        "encryptionAlgorithm": "ECDSA-P256",
        "imageRepository": facts.image_repository,
        "kubernetesVersion": facts.version.to_string(),
        "networking": {
            "dnsDomain": facts.cluster_domain,
            "podSubnet": join(&facts.pod_cidrs),
            "serviceSubnet": join(&facts.service_cidrs),
        },
        "proxy": {},
        "scheduler": {},
    });
    if !facts.cert_sans.is_empty() {
        configuration["apiServer"]["certSANs"] = json!(facts.cert_sans);
    }
    configuration
}

/// ConfigMap `kube-system/kubeadm-config`.
pub fn kubeadm_config(facts: &ClusterFacts) -> Result<Value, YamlError> {
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
        "data": {"ClusterConfiguration": to_yaml(&cluster_configuration(facts))?},
    }))
}
