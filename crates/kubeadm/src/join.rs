//! The JoinConfiguration that `kubeadm join --config` reads, in `kubeadm.k8s.io/v1beta4`.

use crate::{YamlError, to_yaml, yaml::TemplateValue};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt;

/// Taint on a new Node until its Machine's labels and taints are on it.
pub const UNINITIALIZED_TAINT: &str = "node.cluster.x-k8s.io/uninitialized";

/// A Node's way into a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinConfiguration {
    /// Where the cluster's CA is written on the Node. Default: `/etc/kubernetes/pki/ca.crt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert_path: Option<String>,
    /// How the Node finds the API server and learns to trust it.
    pub discovery: Discovery,
    /// The Node's registration.
    pub node_registration: NodeRegistration,
    /// The Node becomes one of the control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlane>,
    /// Phases of `kubeadm join` to leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_phases: Vec<String>,
    /// Directory of patches on the Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patches: Option<Patches>,
    /// Timeouts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

/// `discovery`. `Debug` hides tokens.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// By a bootstrap token and the CA's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_token: Option<BootstrapTokenDiscovery>,
    /// By a kubeconfig file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileDiscovery>,
    /// Token for the TLS bootstrap, if another than the discovery's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_bootstrap_token: Option<String>,
}

/// `discovery.bootstrapToken`. `Debug` hides the token.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapTokenDiscovery {
    /// `<id>.<secret>`. A secret.
    pub token: String,
    /// `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_server_endpoint: Option<String>,
    /// `sha256:<hex>` of the CA's public key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca_cert_hashes: Vec<String>,
    /// Trust whatever answers.
    #[serde(rename = "unsafeSkipCAVerification", default, skip_serializing_if = "std::ops::Not::not")]
    pub unsafe_skip_ca_verification: bool,
}

/// `discovery.file`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileDiscovery {
    /// Path or URL of a kubeconfig.
    pub kube_config_path: String,
}

/// `controlPlane`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// Where the API server of the Node listens.
    #[serde(rename = "localAPIEndpoint", skip_serializing_if = "Option::is_none")]
    pub local_api_endpoint: Option<LocalApiEndpoint>,
}

/// `localAPIEndpoint`. Texts may be jinja expressions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalApiEndpoint {
    /// Address that it tells others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise_address: Option<String>,
    /// Port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_port: Option<i32>,
}

/// `nodeRegistration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRegistration {
    /// Name of the Node; the host's name if absent. May be a jinja expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Socket of the container runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cri_socket: Option<String>,
    /// Taints; `None` leaves them to kubeadm, an empty list means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<Taint>>,
    /// The kubelet's additional arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kubelet_extra_args: Vec<Arg>,
    /// Preflight errors that do not stop the join.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_preflight_errors: Vec<String>,
    /// `Always`, `IfNotPresent` or `Never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Pull one image after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_serial: Option<bool>,
}

/// A Node's taint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// One argument. A name may occur several times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arg {
    /// Name without dashes.
    pub name: String,
    /// Value.
    pub value: String,
}

/// `patches`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Patches {
    /// Directory on the Node.
    pub directory: String,
}

/// `timeouts`, each a Go duration such as `5m0s`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// For control plane components to become healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane_component_health_check: Option<String>,
    /// For the kubelet to become healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubelet_health_check: Option<String>,
    /// For a call of the API.
    #[serde(rename = "kubernetesAPICall", skip_serializing_if = "Option::is_none")]
    pub kubernetes_api_call: Option<String>,
    /// For a call of etcd.
    #[serde(rename = "etcdAPICall", skip_serializing_if = "Option::is_none")]
    pub etcd_api_call: Option<String>,
    /// For the TLS bootstrap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_bootstrap: Option<String>,
    /// For finding the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<String>,
    /// For upgrading static Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_manifests: Option<String>,
}

impl JoinConfiguration {
    /// The same with the taint that keeps Pods away until the Machine's labels are on the Node.
    pub fn with_uninitialized_taint(mut self) -> Self {
        let taints = self.node_registration.taints.get_or_insert_default();
        if !taints.iter().any(|taint| taint.key == UNINITIALIZED_TAINT) {
            let effect = "NoSchedule".to_owned();
            taints.push(Taint { key: UNINITIALIZED_TAINT.to_owned(), value: String::new(), effect });
        }
        self
    }

    /// The YAML document. Holds secrets.
    pub fn render(&self) -> Result<String, YamlError> {
        let mut document = serde_json::to_value(self).unwrap_or_default();
        document["apiVersion"] = json!("kubeadm.k8s.io/v1beta4");
        document["kind"] = json!("JoinConfiguration");
        to_yaml(&TemplateValue(&document))
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("bootstrap_token", &self.bootstrap_token)
            .field("file", &self.file)
            .field("tls_bootstrap_token", &self.tls_bootstrap_token.as_ref().map(|_| "****"))
            .finish()
    }
}

impl fmt::Debug for BootstrapTokenDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootstrapTokenDiscovery")
            .field("token", &"****")
            .field("api_server_endpoint", &self.api_server_endpoint)
            .field("ca_cert_hashes", &self.ca_cert_hashes)
            .field("unsafe_skip_ca_verification", &self.unsafe_skip_ca_verification)
            .finish()
    }
}
