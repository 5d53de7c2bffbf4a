//! IPAddressClaim and IPAddress of `ipam.cluster.x-k8s.io`: what pools of any provider are asked with.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::DeprecatedStatus;
use crate::meta::ContractRef;

/// Asks for an address of a pool.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "ipam.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "IPAddressClaim",
    plural = "ipaddressclaims",
    namespaced,
    status = "IPAddressClaimStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "cluster-api"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "Asks for an address of a pool.",
    printcolumn = r#"{"name":"Pool Name","type":"string","jsonPath":".spec.poolRef.name","description":"Name of the pool"}"#,
    printcolumn = r#"{"name":"Pool Kind","type":"string","jsonPath":".spec.poolRef.kind","description":"Kind of the pool"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressClaimSpec {
    /// Cluster that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: Option<String>,
    /// The pool.
    pub pool_ref: ContractRef,
}

/// What is seen of an IPAddressClaim.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressClaimStatus {
    /// The IPAddress that it got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_ref: Option<NameRef>,
    /// Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Status in the form of v1beta1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<DeprecatedStatus>,
}

/// An object of a known kind in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRef {
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An address that is given out.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "ipam.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "IPAddress",
    plural = "ipaddresses",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "cluster-api"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "An address that is given out.",
    printcolumn = r#"{"name":"Address","type":"string","jsonPath":".spec.address","description":"Address"}"#,
    printcolumn = r#"{"name":"Pool Name","type":"string","jsonPath":".spec.poolRef.name","description":"Name of the pool"}"#,
    printcolumn = r#"{"name":"Pool Kind","type":"string","jsonPath":".spec.poolRef.kind","description":"Kind of the pool"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressSpec {
    /// The claim that it is for.
    pub claim_ref: NameRef,
    /// The pool that it is of.
    pub pool_ref: ContractRef,
    /// The address.
    #[schemars(length(min = 1, max = 39))]
    pub address: String,
    /// Length of the network's prefix.
    #[schemars(range(min = 0, max = 128))]
    pub prefix: i32,
    /// Gateway of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 39))]
    pub gateway: Option<String>,
}
