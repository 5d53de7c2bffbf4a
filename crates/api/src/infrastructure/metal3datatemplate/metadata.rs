//! What metadata is rendered from: each entry gives one key. Where two give the same key, the later kind wins, in the order
//! of the fields here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FromObject, PoolRef, metal3_group, metal3_kind};

/// What metadata is rendered from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct MetaData {
    /// MAC addresses of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub from_host_interfaces: Vec<MetaDataInterface>,
    /// Addresses of pools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub ip_addresses_from_pool: Vec<MetaDataPool>,
    /// Lengths of prefixes of such addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub prefixes_from_pool: Vec<MetaDataPool>,
    /// Gateways of such addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub gateways_from_pool: Vec<MetaDataPool>,
    /// DNS servers of such addresses, separated by commas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub dns_servers_from_pool: Vec<MetaDataPool>,
    /// Numbers that differ from server to server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub indexes: Vec<MetaDataIndex>,
    /// The namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub namespaces: Vec<MetaDataNamespace>,
    /// Names of objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub object_names: Vec<MetaDataName>,
    /// Labels of objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub from_labels: Vec<MetaDataLabel>,
    /// Annotations of objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub from_annotations: Vec<MetaDataAnnotation>,
    /// Texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub strings: Vec<MetaDataString>,
}

/// A MAC address of the host.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MetaDataInterface {
    /// Key in the metadata.
    pub key: String,
    /// Interface, such as `eth0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The host's bootMACAddress instead.
    #[serde(default, rename = "fromBootMAC", skip_serializing_if = "Option::is_none")]
    pub from_boot_mac: Option<bool>,
}

/// Something of an address of a pool.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MetaDataPool {
    /// Key in the metadata.
    pub key: String,
    /// Name of the pool.
    pub name: String,
    /// API group of the pool.
    #[serde(default = "metal3_group")]
    #[schemars(length(max = 253))]
    pub api_group: String,
    /// Kind of the pool.
    #[serde(default = "metal3_kind")]
    #[schemars(length(max = 63))]
    pub kind: String,
}

impl MetaDataPool {
    /// The pool.
    #[must_use]
    pub fn pool(&self) -> PoolRef {
        PoolRef { name: self.name.clone(), api_group: self.api_group.clone(), kind: self.kind.clone() }
    }
}

/// A number that differs from server to server: `prefix (offset + index * step) suffix`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaDataIndex {
    /// Key in the metadata.
    pub key: String,
    /// The first number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i32>,
    /// From one to the next.
    #[serde(default = "one")]
    pub step: i32,
    /// Text before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Text behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
}

fn one() -> i32 {
    1
}

/// The namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaDataNamespace {
    /// Key in the metadata.
    pub key: String,
}

/// The name of an object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct MetaDataName {
    /// Key in the metadata.
    pub key: String,
    /// The object.
    pub object: FromObject,
}

/// A label of an object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct MetaDataLabel {
    /// Key in the metadata.
    pub key: String,
    /// The object.
    pub object: FromObject,
    /// The label.
    pub label: String,
}

/// An annotation of an object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct MetaDataAnnotation {
    /// Key in the metadata.
    pub key: String,
    /// The object.
    pub object: FromObject,
    /// The annotation.
    pub annotation: String,
}

/// A text.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaDataString {
    /// Key in the metadata.
    pub key: String,
    /// The text.
    pub value: String,
}
