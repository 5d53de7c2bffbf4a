//! What network data is rendered from: links, networks on them, services.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FromAnnotation, PoolRef};

/// What network data is rendered from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct NetworkData {
    /// Interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<NetworkLinks>,
    /// Networks on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Networks>,
    /// DNS servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<NetworkServices>,
}

/// Interfaces.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct NetworkLinks {
    /// Ethernet interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub ethernets: Vec<EthernetLink>,
    /// Bonds of interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub bonds: Vec<BondLink>,
    /// VLANs on interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub vlans: Vec<VlanLink>,
}

/// An Ethernet interface.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct EthernetLink {
    /// By which networks and other links know it.
    pub id: String,
    /// What it is: `phy` for a server's own.
    #[serde(rename = "type")]
    pub type_: EthernetType,
    /// Largest packet.
    #[serde(default = "mtu")]
    #[schemars(range(min = 68, max = 9000))]
    pub mtu: i32,
    /// Its MAC address, by which it is found.
    #[serde(rename = "macAddress")]
    pub mac_address: MacSource,
    /// The name that it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), regex(pattern = "^[a-zA-Z][a-zA-Z0-9._-]*$"))]
    pub name: Option<String>,
}

fn mtu() -> i32 {
    1500
}

/// What an Ethernet interface is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // OpenStack's words
#[serde(rename_all = "lowercase")]
pub enum EthernetType {
    Bridge,
    Dvs,
    #[serde(rename = "hw_veb")]
    HwVeb,
    Hyperv,
    Ovs,
    Tap,
    Vhostuser,
    Vif,
    Phy,
}

/// A bond of interfaces.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BondLink {
    /// By which networks and other links know it.
    pub id: String,
    /// How it uses its interfaces.
    pub bond_mode: BondMode,
    /// How it chooses the interface for a packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond_xmit_hash_policy: Option<BondXmitHashPolicy>,
    /// Ids of its interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "set"))]
    pub bond_links: Vec<String>,
    /// Largest packet.
    #[serde(default = "mtu")]
    #[schemars(range(min = 68, max = 9000))]
    pub mtu: i32,
    /// Its MAC address.
    pub mac_address: MacSource,
    /// The name that it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), regex(pattern = "^[a-zA-Z][a-zA-Z0-9._-]*$"))]
    pub name: Option<String>,
    /// Other settings, each rendered as `bond_<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub parameters: Vec<BondParameter>,
}

/// A setting of a bond.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct BondParameter {
    /// Name, without `bond_`.
    pub name: String,
    /// Value: a number, a text or a flag.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schemars(schema_with = "anything")]
    pub value: serde_json::Value,
}

fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// How a bond uses its interfaces.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the kernel's words
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    BalanceRr,
    ActiveBackup,
    BalanceXor,
    Broadcast,
    BalanceTlb,
    BalanceAlb,
    #[serde(rename = "802.3ad")]
    Lacp,
}

/// How a bond chooses the interface for a packet.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the kernel's words
pub enum BondXmitHashPolicy {
    #[serde(rename = "layer2")]
    Layer2,
    #[serde(rename = "layer3+4")]
    Layer34,
    #[serde(rename = "layer2+3")]
    Layer23,
}

/// A VLAN on an interface.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VlanLink {
    /// By which networks know it.
    pub id: String,
    /// Number.
    #[serde(rename = "vlanID")]
    #[schemars(range(min = 0, max = 4096))]
    pub vlan_id: i32,
    /// Id of the interface that it is on.
    pub vlan_link: String,
    /// Largest packet.
    #[serde(default = "mtu")]
    #[schemars(range(min = 68, max = 9000))]
    pub mtu: i32,
    /// Its MAC address.
    pub mac_address: MacSource,
    /// The name that it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), regex(pattern = "^[a-zA-Z][a-zA-Z0-9._-]*$"))]
    pub name: Option<String>,
}

/// Where a MAC address comes from: the first of these that is given.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MacSource {
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string: Option<String>,
    /// That of an interface of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_host_interface: Option<String>,
    /// An annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_annotation: Option<FromAnnotation>,
}

/// Networks on links.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Networks {
    /// IPv4 with an address from a pool.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub ipv4: Vec<StaticNetwork>,
    /// IPv6 with an address from a pool.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub ipv6: Vec<StaticNetwork>,
    /// IPv4 by DHCP.
    #[serde(rename = "ipv4DHCP", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub ipv4_dhcp: Vec<DynamicNetwork>,
    /// IPv6 by DHCP.
    #[serde(rename = "ipv6DHCP", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub ipv6_dhcp: Vec<DynamicNetwork>,
    /// IPv6 by what routers say.
    #[serde(rename = "ipv6SLAAC", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub ipv6_slaac: Vec<DynamicNetwork>,
}

/// A network with an address from a pool.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StaticNetwork {
    /// Its id.
    pub id: String,
    /// Id of the link.
    pub link: String,
    /// Name of an IPPool.
    #[serde(default, rename = "ipAddressFromIPPool", skip_serializing_if = "Option::is_none")]
    pub ip_address_from_ip_pool: Option<String>,
    /// A pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_pool_ref: Option<PoolRef>,
    /// An annotation with the name of an IPPool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_pool_annotation: Option<FromAnnotation>,
    /// Routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub routes: Vec<Route>,
}

/// A network whose address somebody gives.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicNetwork {
    /// Its id.
    pub id: String,
    /// Id of the link.
    pub link: String,
    /// Routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Address of the network that it leads to.
    #[schemars(length(max = 45))]
    pub network: String,
    /// Length of that network's prefix; 0 when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub prefix: Option<i32>,
    /// Where it goes through.
    pub gateway: GatewaySource,
    /// DNS servers there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<NetworkServices>,
}

/// Where a gateway comes from: the first of these that is given.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySource {
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 45))]
    pub string: Option<String>,
    /// An annotation with the name of an IPPool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_pool_annotation: Option<FromAnnotation>,
    /// A pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_pool_ref: Option<PoolRef>,
    /// Name of an IPPool.
    #[serde(default, rename = "fromIPPool", skip_serializing_if = "Option::is_none")]
    pub from_ip_pool: Option<String>,
}

/// DNS servers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkServices {
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 45)), extend("x-kubernetes-list-type" = "set"))]
    pub dns: Vec<String>,
    /// Name of an IPPool that has more.
    #[serde(default, rename = "dnsFromIPPool", skip_serializing_if = "Option::is_none")]
    pub dns_from_ip_pool: Option<String>,
}
