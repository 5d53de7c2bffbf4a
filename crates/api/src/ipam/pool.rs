//! IPPool, IPClaim and IPAddress of `ipam.metal3.io`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps an IPPool while addresses of it are in use.
pub const IP_POOL_FINALIZER: &str = "ippool.ipam.metal3.io";
/// Keeps an IPClaim until its address is given back.
pub const IP_CLAIM_FINALIZER: &str = "ipclaim.ipam.metal3.io";
/// Keeps an IPAddress while it is in use.
pub const IP_ADDRESS_FINALIZER: &str = "ipaddress.ipam.metal3.io";
/// Annotation of an IPClaim: the address that is wanted.
pub const REQUESTED_ADDRESS_ANNOTATION: &str = "ipAddress";

/// Addresses to be given out.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "ipam.metal3.io",
    version = "v1alpha1",
    kind = "IPPool",
    plural = "ippools",
    namespaced,
    status = "IPPoolStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "ipp",
    shortname = "m3ipp",
    shortname = "m3ippool",
    shortname = "m3ippools",
    shortname = "metal3ipp",
    shortname = "metal3ippool",
    shortname = "metal3ippools",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "ipam-metal3"),
    label("clusterctl.cluster.x-k8s.io", ""),
    label("clusterctl.cluster.x-k8s.io/move", ""),
    doc = "Addresses to be given out.",
    printcolumn = r#"{"name":"Cluster","type":"string","jsonPath":".metadata.labels.cluster\\.x-k8s\\.io/cluster-name","description":"Cluster that it belongs to"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct IPPoolSpec {
    /// Cluster that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Ranges of addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub pools: Vec<Pool>,
    /// Which address is given out next. Cannot be changed.
    #[serde(default)]
    pub allocation_strategy: AllocationStrategy,
    /// Addresses that are kept for claims, by the claim's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16384))]
    pub pre_allocations: BTreeMap<String, String>,
    /// Length of the network's prefix, where a range says none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub prefix: Option<i32>,
    /// Gateway of the network, where a range says none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 45))]
    pub gateway: Option<String>,
    /// DNS servers, where a range says none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 45)))]
    pub dns_servers: Vec<String>,
    /// What names of IPAddresses begin with. Cannot be changed.
    #[schemars(length(min = 1, max = 200))]
    pub name_prefix: String,
}

/// Which address is given out next.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AllocationStrategy {
    /// The first free one.
    #[default]
    Sequential,
    /// Any.
    Random,
}

/// A range of addresses: from start to end, a subnet, or the part of a subnet from start on.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// First address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 45))]
    pub start: Option<String>,
    /// Last address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 45))]
    pub end: Option<String>,
    /// A network, such as `10.0.0.0/24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 49))]
    pub subnet: Option<String>,
    /// Length of the network's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub prefix: Option<i32>,
    /// Gateway of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 45))]
    pub gateway: Option<String>,
    /// DNS servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 45)))]
    pub dns_servers: Vec<String>,
}

/// What is seen of an IPPool.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IPPoolStatus {
    /// Addresses that are given out, by the claim's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16384))]
    pub indexes: BTreeMap<String, String>,
    /// When this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
}

/// Asks for an address of an IPPool.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "ipam.metal3.io",
    version = "v1alpha1",
    kind = "IPClaim",
    plural = "ipclaims",
    namespaced,
    status = "IPClaimStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "ipc",
    shortname = "m3ipc",
    shortname = "m3ipclaim",
    shortname = "m3ipclaims",
    shortname = "metal3ipc",
    shortname = "metal3ipclaim",
    shortname = "metal3ipclaims",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "ipam-metal3"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "Asks for an address of an IPPool.",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct IPClaimSpec {
    /// The IPPool.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub pool: ObjectReference,
}

/// What is seen of an IPClaim.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IPClaimStatus {
    /// The IPAddress that it got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub address: Option<ObjectReference>,
    /// Why it got none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// An address that is given out.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "ipam.metal3.io",
    version = "v1alpha1",
    kind = "IPAddress",
    plural = "ipaddresses",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    shortname = "ipa",
    shortname = "m3ipa",
    shortname = "m3ipaddress",
    shortname = "m3ipaddresses",
    shortname = "metal3ipa",
    shortname = "metal3ipaddress",
    shortname = "metal3ipaddresses",
    category = "metal3",
    label("cluster.x-k8s.io/provider", "ipam-metal3"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "An address that is given out.",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressSpec {
    /// The address.
    #[schemars(length(max = 45))]
    pub address: String,
    /// The IPClaim that it is for.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub claim: ObjectReference,
    /// The IPPool that it is of.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub pool: ObjectReference,
    /// Length of the network's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub prefix: Option<i32>,
    /// Gateway of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 45))]
    pub gateway: Option<String>,
    /// DNS servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 45)))]
    pub dns_servers: Vec<String>,
}
