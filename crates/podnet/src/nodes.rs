//! What the agent needs to know of a Node.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use std::net::IpAddr;

/// A Node, reduced to what routes depend on: everything else changes too often to plan on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// `spec.podCIDRs`: empty until the controller-manager has given them out.
    pub pod_cidrs: Vec<IpNet>,
    /// `status.addresses` of type InternalIP.
    pub internal_ips: Vec<IpAddr>,
}

/// Reads a Node. Text that is no range or address is left out: the API server has checked both.
pub fn facts(node: &Node) -> NodeFacts {
    let spec = node.spec.as_ref();
    let cidrs = spec.and_then(|spec| spec.pod_cidrs.as_deref()).unwrap_or_default();
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    NodeFacts {
        name: node.metadata.name.clone().unwrap_or_default(),
        pod_cidrs: cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect(),
        internal_ips: internal.filter_map(|address| address.address.parse().ok()).collect(),
    }
}
