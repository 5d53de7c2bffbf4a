//! KubevirtCluster: what the VMs of a Cluster have in common.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Initialization;
use crate::meta::{ApiEndpoint, TemplateMeta};

/// What the VMs of a Cluster have in common.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha1",
    kind = "KubevirtCluster",
    namespaced,
    status = "KubevirtClusterStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-kubevirt"),
    label("cluster.x-k8s.io/v1beta1", "v1alpha1"),
    label("cluster.x-k8s.io/v1beta2", "v1alpha1"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "What the virtual machines of a Cluster have in common.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Ready",
        type_ = "boolean",
        json_path = ".status.ready",
        description = "Is the infrastructure of the Cluster ready"
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".spec.controlPlaneEndpoint.host",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
// Upstream's documents leave the spec out of a KubevirtCluster that is managed by somebody else.
#[schemars(extend("default" = {}))]
pub struct KubevirtClusterSpec {
    /// Where the API server of the Cluster answers; filled in when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// The Service in front of control-plane VMs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_service_template: Option<ControlPlaneServiceTemplate>,
    /// The SSH key pair of the VMs; written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_keys: Option<SshKeys>,
}

/// The Service in front of control-plane VMs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct ControlPlaneServiceTemplate {
    /// Labels and annotations of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMeta>,
    /// The part of a Service's spec that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<ControlPlaneServiceSpec>,
}

/// The part of a Service's spec that counts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct ControlPlaneServiceSpec {
    /// Type of the Service; ClusterIP when empty.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ControlPlaneServiceType>,
}

/// Type of the Service in front of control-plane VMs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ControlPlaneServiceType {
    /// Reached from the management cluster.
    #[default]
    ClusterIP,
    /// Reached at a port of each Node.
    NodePort,
    /// Reached at an address of its own.
    LoadBalancer,
}

impl ControlPlaneServiceType {
    /// The word that Kubernetes uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// The SSH key pair of the VMs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SshKeys {
    /// Name of the Secret with the keys `pub` and `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_secret_name: Option<String>,
}

/// What is seen of a KubevirtCluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KubevirtClusterStatus {
    /// The infrastructure is there (contract v1beta1).
    #[serde(default)]
    pub ready: bool,
    /// The infrastructure is there (contract v1beta2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<Initialization>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A KubevirtCluster to be made by a ClusterClass.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha1",
    kind = "KubevirtClusterTemplate",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    shortname = "kct",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-kubevirt"),
    label("cluster.x-k8s.io/v1beta1", "v1alpha1"),
    label("cluster.x-k8s.io/v1beta2", "v1alpha1"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "A KubevirtCluster to be made by a ClusterClass."
)]
#[x_kube(validation = ("self == oldSelf", "KubevirtClusterTemplate spec is immutable"))]
pub struct KubevirtClusterTemplateSpec {
    /// The KubevirtCluster.
    pub template: KubevirtClusterTemplateResource,
}

/// A KubevirtCluster to be made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct KubevirtClusterTemplateResource {
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMeta>,
    /// Spec.
    #[serde(default)]
    pub spec: KubevirtClusterSpec,
}
