//! Network data of a server, from the `networkData` of a Metal3DataTemplate.

mod links;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scute_api::infrastructure::{
    DynamicNetwork, GatewaySource, NetworkData, NetworkServices, Networks, Route, StaticNetwork,
};
use serde_json::{Value, json};

use crate::{Facts, PoolAddress, RenderError, yaml};

/// YAML for the key `networkData` of the Secret, in the words of OpenStack's `network_data.json`.
///
/// # Errors
/// When something that the template names is not there.
pub fn render_networkdata(template: &NetworkData, facts: &Facts) -> Result<String, RenderError> {
    let links = template.links.as_ref().map(|links| links::render(links, facts)).transpose()?;
    let networks = template.networks.as_ref().map(|networks| render_networks(networks, facts)).transpose()?;
    let services = template.services.as_ref().map(|services| render_services(services, facts)).transpose()?;
    let list = Option::unwrap_or_default;
    yaml(&json!({"links": list(links), "networks": list(networks), "services": list(services)}))
}

/// IPv4 or IPv6, which differ in names and masks only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn word(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    /// A prefix as a mask.
    fn mask(self, prefix: u32) -> String {
        match self {
            Self::V4 => Ipv4Addr::from(u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0)).to_string(),
            Self::V6 => Ipv6Addr::from(u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0)).to_string(),
        }
    }
}

fn render_networks(networks: &Networks, facts: &Facts) -> Result<Vec<Value>, RenderError> {
    let mut rendered = Vec::new();
    for (family, list) in [(Family::V4, &networks.ipv4), (Family::V6, &networks.ipv6)] {
        for network in list {
            rendered.push(static_network(network, family, facts)?);
        }
    }
    let dynamic: [(&str, Family, &[DynamicNetwork]); 3] = [
        ("ipv4_dhcp", Family::V4, &networks.ipv4_dhcp),
        ("ipv6_dhcp", Family::V6, &networks.ipv6_dhcp),
        ("ipv6_slaac", Family::V6, &networks.ipv6_slaac),
    ];
    for (kind, family, list) in dynamic {
        for DynamicNetwork { id, link, routes } in list {
            let routes = render_routes(routes, family, facts)?;
            rendered.push(json!({"type": kind, "id": id, "link": link, "routes": routes}));
        }
    }
    Ok(rendered)
}

fn static_network(network: &StaticNetwork, family: Family, facts: &Facts) -> Result<Value, RenderError> {
    let field = match family {
        Family::V4 => "spec.networkData.networks.ipv4",
        Family::V6 => "spec.networkData.networks.ipv6",
    };
    let pool = match (&network.from_pool_annotation, &network.from_pool_ref) {
        (Some(from), _) => facts.annotation(field, from)?,
        (None, Some(pool)) if !pool.name.is_empty() => &pool.name,
        _ => network.ip_address_from_ip_pool.as_deref().unwrap_or_default(),
    };
    let found = facts.address(field, pool)?;
    let address = of_family(field, pool, found.address, family)?;
    // A mask that the pool does not say stays empty, as upstream has it.
    let mask = found.prefix.map(|prefix| family.mask(prefix.into())).unwrap_or_default();
    let routes = render_routes(&network.routes, family, facts)?;
    Ok(
        json!({"type": family.word(), "id": network.id, "link": network.link, "ip_address": address, "netmask": mask,
        "routes": routes}),
    )
}

fn of_family(
    field: &'static str,
    pool: &str,
    address: IpAddr,
    family: Family,
) -> Result<String, RenderError> {
    if family.has(address) {
        return Ok(address.to_string());
    }
    let (pool, address) = (pool.to_owned(), address.to_string());
    Err(RenderError::Family { field, pool, address, family: family.word() })
}

fn render_routes(routes: &[Route], family: Family, facts: &Facts) -> Result<Vec<Value>, RenderError> {
    let route = |route: &Route| {
        let services =
            route.services.as_ref().map(|services| render_services(services, facts)).transpose()?;
        let prefix = u32::try_from(route.prefix.unwrap_or_default()).unwrap_or(0);
        Ok(json!({"network": route.network, "netmask": family.mask(prefix),
            "gateway": gateway(&route.gateway, family, facts)?, "services": services.unwrap_or_default()}))
    };
    routes.iter().map(route).collect()
}

fn gateway(source: &GatewaySource, family: Family, facts: &Facts) -> Result<String, RenderError> {
    const FIELD: &str = "spec.networkData.networks.routes.gateway";
    if let Some(text) = source.string.as_ref().filter(|text| !text.is_empty()) {
        return Ok(text.clone());
    }
    let pool = match (&source.from_pool_annotation, &source.from_pool_ref, &source.from_ip_pool) {
        (Some(from), ..) => facts.annotation(FIELD, from)?,
        (None, Some(pool), _) if !pool.name.is_empty() => &pool.name,
        (.., Some(name)) if !name.is_empty() => name,
        _ => return Ok(String::new()),
    };
    let PoolAddress { gateway, .. } = facts.address(FIELD, pool)?;
    let lacks = || RenderError::Lacks { field: FIELD, pool: pool.to_owned(), what: "gateway" };
    of_family(FIELD, pool, gateway.ok_or_else(lacks)?, family)
}

fn render_services(services: &NetworkServices, facts: &Facts) -> Result<Vec<Value>, RenderError> {
    let dns = |address: &dyn std::fmt::Display| json!({"type": "dns", "address": address.to_string()});
    let mut rendered: Vec<Value> = services.dns.iter().map(|address| dns(address)).collect();
    if let Some(pool) = services.dns_from_ip_pool.as_ref().filter(|pool| !pool.is_empty()) {
        let found = facts.address("dnsFromIPPool", pool)?;
        rendered.extend(found.dns_servers.iter().map(|address| dns(address)));
    }
    Ok(rendered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        for (prefix, mask) in
            [(0, "0.0.0.0"), (24, "255.255.255.0"), (32, "255.255.255.255"), (99, "255.255.255.255")]
        {
            assert_eq!(Family::V4.mask(prefix), mask);
        }
        for (prefix, mask) in [(0, "::"), (64, "ffff:ffff:ffff:ffff::")] {
            assert_eq!(Family::V6.mask(prefix), mask);
        }
    }
}
