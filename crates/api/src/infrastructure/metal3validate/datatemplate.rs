//! What the webhook says of a Metal3DataTemplate. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::infrastructure::{
    DynamicNetwork, GatewaySource, MacSource, Metal3DataTemplate, NetworkData, NetworkLinks, NetworkServices,
    Route, StaticNetwork,
};
use crate::invalid::Invalid;

/// Names of settings of a bond that have fields of their own.
const BOND_FIELDS: [&str; 3] = ["mode", "xmit_hash_policy", "links"];

/// Everything that is wrong with a template.
#[must_use]
pub fn validate_data_template(template: &Metal3DataTemplate) -> Vec<Invalid> {
    let mut bad = Vec::new();
    if let Some(metadata) = &template.spec.meta_data {
        for (index, entry) in metadata.from_host_interfaces.iter().enumerate() {
            let path = format!("spec.metaData.fromHostInterfaces[{index}].interface");
            let named = entry.interface.as_deref().filter(|name| !name.is_empty());
            match (entry.from_boot_mac.unwrap_or_default(), named) {
                (false, None) => bad.push(Invalid::new(path, "", "is needed, or fromBootMAC instead")),
                (true, Some(name)) => bad.push(Invalid::new(path, name, "must be empty beside fromBootMAC")),
                _ => {}
            }
        }
    }
    if let Some(network) = &template.spec.network_data {
        network_data(network, &mut bad);
    }
    bad
}

/// Everything that is wrong with a change of a template, and with the template as it becomes.
#[must_use]
pub fn validate_data_template_change(old: &Metal3DataTemplate, new: &Metal3DataTemplate) -> Vec<Invalid> {
    let mut bad = validate_data_template(new);
    let detail = "cannot be changed, as servers have been rendered from it: make another Metal3DataTemplate";
    if old.spec.meta_data != new.spec.meta_data {
        bad.push(Invalid::new("spec.metaData", "", detail));
    }
    if old.spec.network_data != new.spec.network_data {
        bad.push(Invalid::new("spec.networkData", "", detail));
    }
    bad
}

fn network_data(network: &NetworkData, bad: &mut Vec<Invalid>) {
    let links = network.links.clone().unwrap_or_default();
    check_links(&links, bad);
    let ids: BTreeSet<&str> = link_ids(&links).collect();
    let networks = network.networks.clone().unwrap_or_default();
    for (name, list, v4) in [("ipv4", &networks.ipv4, true), ("ipv6", &networks.ipv6, false)] {
        for (index, network) in list.iter().enumerate() {
            static_network(&format!("spec.networkData.networks.{name}[{index}]"), network, v4, &ids, bad);
        }
    }
    for (name, list, v4) in [
        ("ipv4DHCP", &networks.ipv4_dhcp, true),
        ("ipv6DHCP", &networks.ipv6_dhcp, false),
        ("ipv6SLAAC", &networks.ipv6_slaac, false),
    ] {
        for (index, network) in list.iter().enumerate() {
            dynamic_network(&format!("spec.networkData.networks.{name}[{index}]"), network, v4, &ids, bad);
        }
    }
    if let Some(services) = &network.services {
        dns("spec.networkData.services", services, None, bad);
    }
}

fn link_ids(links: &NetworkLinks) -> impl Iterator<Item = &str> {
    let ethernets = links.ethernets.iter().map(|link| link.id.as_str());
    let bonds = links.bonds.iter().map(|link| link.id.as_str());
    ethernets.chain(bonds).chain(links.vlans.iter().map(|link| link.id.as_str()))
}

fn check_links(links: &NetworkLinks, bad: &mut Vec<Invalid>) {
    let ids: BTreeSet<&str> = link_ids(links).collect();
    let path = |kind: &str, index: usize| format!("spec.networkData.links.{kind}[{index}]");
    for (index, link) in links.ethernets.iter().enumerate() {
        mac(&path("ethernets", index), &link.mac_address, bad);
    }
    for (index, link) in links.bonds.iter().enumerate() {
        mac(&path("bonds", index), &link.mac_address, bad);
        for (at, id) in link.bond_links.iter().enumerate() {
            known(format!("{}.bondLinks[{at}]", path("bonds", index)), id, &ids, bad);
        }
        for parameter in
            link.parameters.iter().filter(|parameter| BOND_FIELDS.contains(&parameter.name.as_str()))
        {
            let detail = "has a field of its own: bondMode, bondXmitHashPolicy or bondLinks";
            bad.push(Invalid::new(format!("{}.parameters", path("bonds", index)), &parameter.name, detail));
        }
    }
    for (index, link) in links.vlans.iter().enumerate() {
        mac(&path("vlans", index), &link.mac_address, bad);
        known(format!("{}.vlanLink", path("vlans", index)), &link.vlan_link, &ids, bad);
    }
}

fn known(path: String, id: &str, ids: &BTreeSet<&str>, bad: &mut Vec<Invalid>) {
    if !ids.contains(id) {
        let all = ids.iter().copied().collect::<Vec<_>>().join(", ");
        bad.push(Invalid::new(path, id, format!("is the id of no link: there are {all}")));
    }
}

fn mac(path: &str, source: &MacSource, bad: &mut Vec<Invalid>) {
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if let Some(text) = source.string.as_deref().filter(|text| !text.is_empty()) {
        if !is_mac(text) {
            bad.push(Invalid::new(format!("{path}.macAddress.string"), text, "must be a MAC address"));
        }
    } else if !given(&source.from_host_interface) && source.from_annotation.is_none() {
        let detail = "needs string, fromHostInterface or fromAnnotation";
        bad.push(Invalid::new(format!("{path}.macAddress"), "", detail));
    }
}

/// Six pairs of hexadecimal digits with `:` or `-` between them.
#[must_use]
pub fn is_mac(text: &str) -> bool {
    let pairs: Vec<_> = text.split([':', '-']).collect();
    pairs.len() == 6
        && pairs.iter().all(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn static_network(
    path: &str,
    network: &StaticNetwork,
    v4: bool,
    ids: &BTreeSet<&str>,
    bad: &mut Vec<Invalid>,
) {
    known(format!("{path}.link"), &network.link, ids, bad);
    let by_name = network.ip_address_from_ip_pool.as_deref().is_some_and(|name| !name.is_empty());
    let by_reference = network.from_pool_ref.as_ref().is_some_and(|pool| !pool.name.is_empty());
    if !by_name && !by_reference && network.from_pool_annotation.is_none() {
        let detail = "is needed, or ipAddressFromIPPool or fromPoolAnnotation: an address comes from a pool";
        bad.push(Invalid::new(format!("{path}.fromPoolRef.name"), "", detail));
    }
    routes(path, &network.routes, v4, bad);
}

fn dynamic_network(
    path: &str,
    network: &DynamicNetwork,
    v4: bool,
    ids: &BTreeSet<&str>,
    bad: &mut Vec<Invalid>,
) {
    known(format!("{path}.link"), &network.link, ids, bad);
    routes(path, &network.routes, v4, bad);
}

fn routes(path: &str, routes: &[Route], v4: bool, bad: &mut Vec<Invalid>) {
    for (index, route) in routes.iter().enumerate() {
        let path = format!("{path}.routes[{index}]");
        address(format!("{path}.network"), &route.network, Some(v4), bad);
        let (prefix, longest) = (route.prefix.unwrap_or_default(), if v4 { 32 } else { 128 });
        if !(0..=longest).contains(&prefix) {
            bad.push(Invalid::new(format!("{path}.prefix"), prefix, format!("must be from 0 to {longest}")));
        }
        gateway(&format!("{path}.gateway"), &route.gateway, v4, bad);
        if let Some(services) = &route.services {
            dns(&format!("{path}.services"), services, Some(v4), bad);
        }
    }
}

fn gateway(path: &str, source: &GatewaySource, v4: bool, bad: &mut Vec<Invalid>) {
    if let Some(text) = source.string.as_deref().filter(|text| !text.is_empty()) {
        address(format!("{path}.string"), text, Some(v4), bad);
    }
}

fn dns(path: &str, services: &NetworkServices, v4: Option<bool>, bad: &mut Vec<Invalid>) {
    for (index, server) in services.dns.iter().enumerate() {
        address(format!("{path}.dns[{index}]"), server, v4, bad);
    }
}

fn address(path: String, text: &str, v4: Option<bool>, bad: &mut Vec<Invalid>) {
    let fits = |address: IpAddr| v4.is_none_or(|v4| v4 == address.is_ipv4());
    if !text.parse::<IpAddr>().is_ok_and(fits) {
        let family = match v4 {
            Some(true) => "an IPv4 address",
            Some(false) => "an IPv6 address",
            None => "an IP address",
        };
        bad.push(Invalid::new(path, text, format!("must be {family}")));
    }
}
