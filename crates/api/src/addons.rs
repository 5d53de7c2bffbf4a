//! ClusterResourceSet: manifests that go into every Cluster with certain labels; and what has gone into which.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::DeprecatedStatus;
use crate::conversion::{Conversion, Rule};

/// Keeps a ClusterResourceSet until no binding names it.
pub const CLUSTER_RESOURCE_SET_FINALIZER: &str = "addons.cluster.x-k8s.io";
/// Type of Secrets whose content may go into Clusters.
pub const RESOURCE_SET_SECRET_TYPE: &str = "addons.cluster.x-k8s.io/resource-set";

/// The conversions of this module's kinds.
pub(crate) fn conversions() -> Vec<Conversion> {
    let age = &[("Age", "date", ".metadata.creationTimestamp")];
    let conversion = |kind, rules| Conversion {
        group: "addons.cluster.x-k8s.io",
        kind,
        old: "v1beta1",
        new: "v1beta2",
        rules,
        columns: age,
    };
    vec![conversion("ClusterResourceSet", RESOURCE_SET), conversion("ClusterResourceSetBinding", &[])]
}

const RESOURCE_SET: &[Rule] = &[Rule::Within("status", crate::cluster::versions::STATUS)];

/// The CustomResourceDefinitions of this module.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    vec![ClusterResourceSet::crd(), ClusterResourceSetBinding::crd()]
}

/// Manifests, and the Clusters that they go into.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "addons.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "ClusterResourceSet",
    plural = "clusterresourcesets",
    category = "cluster-api",
    namespaced,
    status = "ClusterResourceSetStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "ClusterResourceSet puts manifests into every Cluster that has certain labels.",
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    printcolumn = r#"{"name":"Applied","type":"string","jsonPath":".status.conditions[?(@.type==\"ResourcesApplied\")].status","description":"Whether all of it is in all of the Clusters"}"#,
    printcolumn = r#"{"name":"Paused","type":"string","jsonPath":".status.conditions[?(@.type==\"Paused\")].status","priority":10}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.strategy) || oldSelf.strategy == '' || (has(self.strategy) && self.strategy == oldSelf.strategy)").message("strategy cannot be changed: make another ClusterResourceSet").field_path(".strategy")
)]
pub struct ClusterResourceSetSpec {
    /// Labels of the Clusters, in the same namespace. Must not be empty, and not be changed.
    #[x_kube(
        validation = Rule::new("(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)").message("clusterSelector must not be empty"),
        validation = Rule::new("self == oldSelf").message("clusterSelector cannot be changed: make another ClusterResourceSet")
    )]
    pub cluster_selector: LabelSelector,
    /// ConfigMaps and Secrets of the same namespace, whose values are manifests: YAML, also of several documents, or JSON.
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub resources: Vec<ResourceRef>,
    /// ApplyOnce (the default): made once, what is there already is left as it is. Reconcile: applied again when it has
    /// changed. Not to be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<ClusterResourceSetStrategy>,
}

/// Whether manifests that have changed are applied again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterResourceSetStrategy {
    /// Made once.
    #[default]
    ApplyOnce,
    /// Applied again.
    Reconcile,
}

/// A ConfigMap or Secret with manifests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRef {
    /// Secret or ConfigMap.
    pub kind: ResourceKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What may hold manifests. A Secret has to be of the type `addons.cluster.x-k8s.io/resource-set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ResourceKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl std::fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

/// What is seen of a ClusterResourceSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResourceSetStatus {
    /// ResourcesApplied and Paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation that this status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Status in the form of v1beta1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<DeprecatedStatus>,
}

/// What has gone into a Cluster; named as the Cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "addons.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "ClusterResourceSetBinding",
    plural = "clusterresourcesetbindings",
    category = "cluster-api",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    doc = "ClusterResourceSetBinding says which ClusterResourceSets have gone into a Cluster.",
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    printcolumn = r#"{"name":"Cluster","type":"string","jsonPath":".spec.clusterName"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.clusterName == oldSelf.clusterName").message("clusterName cannot be changed").field_path(".clusterName")
)]
pub struct ClusterResourceSetBindingSpec {
    /// The ClusterResourceSets, and what they have put into the Cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub bindings: Vec<ResourceSetBinding>,
    /// The Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: String,
}

/// What a ClusterResourceSet has put into a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSetBinding {
    /// The ClusterResourceSet.
    #[schemars(length(min = 1, max = 253))]
    pub cluster_resource_set_name: String,
    /// Its resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub resources: Vec<ResourceBinding>,
}

/// How it stands with one ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceBinding {
    /// Secret or ConfigMap.
    pub kind: ResourceKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `sha256:<hex>` of what was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub hash: Option<String>,
    /// When it was applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_time: Option<Time>,
    /// Whether all of it is in the Cluster.
    pub applied: bool,
}

impl ResourceBinding {
    /// Whether it is about this resource.
    #[must_use]
    pub fn is_of(&self, resource: &ResourceRef) -> bool {
        (self.kind, &self.name) == (resource.kind, &resource.name)
    }
}
