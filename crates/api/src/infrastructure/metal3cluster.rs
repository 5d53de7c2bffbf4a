//! Metal3Cluster: what the servers of a Cluster have in common.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Initialization, Metal3Deprecated};
use crate::cluster::FailureDomain;
use crate::meta::{ApiEndpoint, TemplateMeta};

/// Keeps a Metal3Cluster until its Machines are gone.
pub const METAL3_CLUSTER_FINALIZER: &str = "metal3cluster.infrastructure.cluster.x-k8s.io";
/// Annotation of a Metal3Cluster: prefixes, separated by commas, of labels that go from BareMetalHosts to Nodes.
pub const LABEL_SYNC_ANNOTATION: &str = "metal3.io/metal3-label-sync-prefixes";

/// What the servers of a Cluster have in common.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Metal3Cluster",
    namespaced,
    status = "Metal3ClusterStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "m3c",
    shortname = "m3cluster",
    shortname = "m3clusters",
    shortname = "metal3c",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-metal3"),
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "What the servers of a Cluster have in common.",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Provisioned","type":"string","jsonPath":".status.initialization.provisioned","description":"Whether the infrastructure is there"}"#,
    printcolumn = r#"{"name":"Error","type":"string","jsonPath":".status.deprecated.v1beta1.failureReason","description":"Last error"}"#,
    printcolumn = r#"{"name":"Cluster","type":"string","jsonPath":".metadata.labels.cluster\\.x-k8s\\.io/cluster-name","description":"Cluster that it belongs to"}"#,
    printcolumn = r#"{"name":"Endpoint","type":"string","jsonPath":".spec.controlPlaneEndpoint.host","description":"Where the API server answers"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {}))]
pub struct Metal3ClusterSpec {
    /// Where the API server of the Cluster answers. Filled in from a hosted control plane when empty, which upstream
    /// refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// A cloud provider in the Cluster sets the Nodes' providerIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_provider_enabled: Option<bool>,
    /// Groups of servers that fail together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub failure_domains: Vec<FailureDomain>,
}

/// What is seen of a Metal3Cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Metal3ClusterStatus {
    /// What it has once reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<Initialization>,
    /// Groups of servers that fail together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub failure_domains: Vec<FailureDomain>,
    /// Ready, BaremetalInfrastructureReady and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
    /// Status in the form of v1beta1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Metal3Deprecated>,
}

/// Metal3Clusters to be made by a ClusterClass.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Metal3ClusterTemplate",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    shortname = "m3ct",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-metal3"),
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "Metal3Clusters to be made by a ClusterClass."
)]
pub struct Metal3ClusterTemplateSpec {
    /// The Metal3Cluster.
    pub template: Metal3ClusterTemplateResource,
}

/// A Metal3Cluster to be made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct Metal3ClusterTemplateResource {
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMeta>,
    /// Spec.
    pub spec: Metal3ClusterSpec,
}
