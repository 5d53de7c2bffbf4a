//! Which pools a server needs an address of.

use std::collections::BTreeMap;

use scute_api::infrastructure::{
    FromAnnotation, GatewaySource, Metal3DataTemplateSpec, NetworkData, PoolRef, Route, StaticNetwork,
};

use crate::{Facts, RenderError};

/// The pools that a template refers to, by name. A name alone is that of a pool that is referred to elsewhere in the
/// template, or of an IPPool of Metal3.
///
/// # Errors
/// When two pools have one name, or an annotation that names a pool is not there.
pub fn pools(
    template: &Metal3DataTemplateSpec,
    facts: &Facts,
) -> Result<BTreeMap<String, PoolRef>, RenderError> {
    let mut found = Found::default();
    if let Some(metadata) = &template.meta_data {
        let lists = [
            &metadata.ip_addresses_from_pool,
            &metadata.prefixes_from_pool,
            &metadata.gateways_from_pool,
            &metadata.dns_servers_from_pool,
        ];
        lists.into_iter().flatten().try_for_each(|entry| found.pool(&entry.pool()))?;
    }
    if let Some(network) = &template.network_data {
        found.network(network, facts)?;
    }
    for name in found.names {
        found.pools.entry(name.clone()).or_insert_with(|| PoolRef::metal3(&name));
    }
    Ok(found.pools)
}

#[derive(Default)]
struct Found {
    pools: BTreeMap<String, PoolRef>,
    names: Vec<String>,
}

impl Found {
    fn pool(&mut self, pool: &PoolRef) -> Result<(), RenderError> {
        let known = self.pools.entry(pool.name.clone()).or_insert_with(|| pool.clone());
        if known == pool {
            return Ok(());
        }
        let what = |pool: &PoolRef| format!("{} of {}", pool.kind, pool.api_group);
        Err(RenderError::TwoPools { name: pool.name.clone(), one: what(known), other: what(pool) })
    }

    fn name(&mut self, name: Option<&String>) {
        self.names.extend(name.filter(|name| !name.is_empty()).cloned());
    }

    fn annotated(
        &mut self,
        field: &'static str,
        from: &FromAnnotation,
        facts: &Facts,
    ) -> Result<(), RenderError> {
        self.names.push(facts.annotation(field, from)?.to_owned());
        Ok(())
    }

    fn network(&mut self, network: &NetworkData, facts: &Facts) -> Result<(), RenderError> {
        self.name(network.services.as_ref().and_then(|services| services.dns_from_ip_pool.as_ref()));
        let Some(networks) = &network.networks else { return Ok(()) };
        for network in networks.ipv4.iter().chain(&networks.ipv6) {
            self.static_network(network, facts)?;
        }
        let dynamic = networks.ipv4_dhcp.iter().chain(&networks.ipv6_dhcp).chain(&networks.ipv6_slaac);
        dynamic.flat_map(|network| &network.routes).try_for_each(|route| self.route(route, facts))
    }

    fn static_network(&mut self, network: &StaticNetwork, facts: &Facts) -> Result<(), RenderError> {
        if let Some(from) = &network.from_pool_annotation {
            self.annotated("fromPoolAnnotation", from, facts)?;
        } else if let Some(pool) = network.from_pool_ref.as_ref().filter(|pool| !pool.name.is_empty()) {
            self.pool(pool)?;
        } else {
            self.name(network.ip_address_from_ip_pool.as_ref());
        }
        network.routes.iter().try_for_each(|route| self.route(route, facts))
    }

    fn route(&mut self, route: &Route, facts: &Facts) -> Result<(), RenderError> {
        self.name(route.services.as_ref().and_then(|services| services.dns_from_ip_pool.as_ref()));
        let GatewaySource { string, from_pool_annotation, from_pool_ref, from_ip_pool } = &route.gateway;
        if string.as_ref().is_some_and(|text| !text.is_empty()) {
            return Ok(());
        }
        match (from_pool_annotation, from_pool_ref.as_ref().filter(|pool| !pool.name.is_empty())) {
            (Some(from), _) => self.annotated("gateway.fromPoolAnnotation", from, facts),
            (None, Some(pool)) => self.pool(pool),
            (None, None) => {
                self.name(from_ip_pool.as_ref());
                Ok(())
            }
        }
    }
}
