//! Metal3DataTemplate: what metadata and network data of servers are rendered from.

pub mod metadata;
pub mod networkdata;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use metadata::*;
pub use networkdata::*;

/// Keeps a Metal3DataTemplate while there are renderings of it.
pub const METAL3_DATA_TEMPLATE_FINALIZER: &str = "metal3datatemplate.infrastructure.cluster.x-k8s.io";

/// What metadata and network data of servers are rendered from. Neither can be changed.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Metal3DataTemplate",
    namespaced,
    status = "Metal3DataTemplateStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "m3dt",
    shortname = "m3datatemplate",
    shortname = "m3datatemplates",
    shortname = "metal3dt",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-metal3"),
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    label("clusterctl.cluster.x-k8s.io/move", ""),
    doc = "What metadata and network data of servers are rendered from.",
    validation = Rule::new("size(self.metadata.name) <= 242").message("the name must have at most 242 letters: with -INDEX behind it, it is that of a Metal3Data"),
    printcolumn = r#"{"name":"Cluster","type":"string","jsonPath":".metadata.labels.cluster\\.x-k8s\\.io/cluster-name","description":"Cluster that it belongs to"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {}))]
pub struct Metal3DataTemplateSpec {
    /// Deprecated: says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// What metadata is rendered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<MetaData>,
    /// What network data is rendered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data: Option<NetworkData>,
}

/// What is seen of a Metal3DataTemplate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Metal3DataTemplateStatus {
    /// Which rendering is whose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 65536), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["index"]))]
    pub indexes: Vec<DataIndex>,
    /// When this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
}

/// Whose rendering it is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct DataIndex {
    /// Name of the Metal3DataClaim.
    pub name: String,
    /// Index of the rendering.
    #[schemars(range(min = 0))]
    pub index: i32,
}

/// An object that something is read from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum FromObject {
    /// The Machine.
    Machine,
    /// The Metal3Machine.
    Metal3Machine,
    /// The BareMetalHost.
    BareMetalHost,
}

/// An annotation of an object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct FromAnnotation {
    /// The object.
    pub object: FromObject,
    /// The annotation.
    pub annotation: String,
}

/// A pool of addresses, of Metal3 or of any provider of Cluster API's IPAM contract.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// Name.
    pub name: String,
    /// API group.
    #[serde(default = "metal3_group")]
    #[schemars(length(max = 253))]
    pub api_group: String,
    /// Kind.
    #[serde(default = "metal3_kind")]
    #[schemars(length(max = 63))]
    pub kind: String,
}

impl PoolRef {
    /// A pool of Metal3.
    #[must_use]
    pub fn metal3(name: &str) -> Self {
        Self { name: name.to_owned(), api_group: metal3_group(), kind: metal3_kind() }
    }

    /// Whether it is a pool of Metal3, from which addresses are claimed with IPClaims; from others with IPAddressClaims.
    #[must_use]
    pub fn is_metal3(&self) -> bool {
        self.api_group == metal3_group() && self.kind == metal3_kind()
    }
}

pub(super) fn metal3_group() -> String {
    "ipam.metal3.io".to_owned()
}

pub(super) fn metal3_kind() -> String {
    "IPPool".to_owned()
}
