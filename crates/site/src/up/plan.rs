//! What a site is to be: from the choices of a call, what exists, and what the machine has. In: [`UpOptions`].
//! Out: a configuration, or what stands against it. Only reads.

use super::{UpError, UpOptions, file};
use crate::{
    Layout, NetworkMode, SiteConfig, VERSION,
    addresses::{Addresses, Taken},
    bundle::Bundle,
    config::{self, SCHEMA},
    host::network,
    layout::SiteName,
};
use std::fs;

/// An existing site is not turned into another one behind its owner's back.
pub fn check_same(options: &UpOptions, existing: &SiteConfig) -> Result<(), UpError> {
    let other = |what, found: String, wanted: String| {
        if found == wanted {
            return Ok(());
        }
        Err(UpError::Other { site: options.site.clone(), what, found, wanted })
    };
    other("version", existing.version.clone(), VERSION.to_owned())?;
    other("Kubernetes", existing.kubernetes.clone(), scute_kubeadm::KUBERNETES_VERSION.to_owned())?;
    let network = options.network.unwrap_or(existing.network);
    other("network mode", existing.network.as_str().to_owned(), network.as_str().to_owned())?;
    let (wishes, has) = (&options.addresses, &existing.addresses);
    for (what, wish, found) in [
        ("link network", wishes.link, has.link),
        ("Pod network", wishes.pods, has.pods),
        ("Service network", wishes.services, has.services),
    ] {
        other(what, found.to_string(), wish.unwrap_or(found).trunc().to_string())?;
    }
    Ok(())
}

/// What an existing site takes from this call: bundle and LoadBalancer pools may change under a running site.
pub fn refreshed(existing: &SiteConfig, options: &UpOptions, bundle: &Bundle) -> Result<SiteConfig, UpError> {
    let mut config = existing.clone();
    config.bundle.clone_from(&bundle.dir);
    config.bundle_digest.clone_from(&bundle.digest);
    let pools = &options.addresses.pools;
    if !pools.is_empty() && *pools != config.addresses.pools {
        let mut taken = taken_by(&other_sites(&options.site));
        if config.network == NetworkMode::Namespace {
            taken.extend(network::taken()?);
        }
        config.addresses = config.addresses.with_pools(pools, &taken)?;
    }
    Ok(config)
}

/// The other sites of this machine.
fn other_sites(site: &SiteName) -> Vec<(Layout, SiteConfig)> {
    config::all_sites().into_iter().filter(|(layout, _)| layout.name != *site).collect()
}

fn taken_by(sites: &[(Layout, SiteConfig)]) -> Vec<Taken> {
    let ranges = |(layout, config): &(Layout, SiteConfig)| {
        config.addresses.taken_by(&format!("site {:?}", layout.name.as_str()))
    };
    sites.iter().flat_map(ranges).collect()
}

/// A site that does not exist yet.
pub fn new_config(options: &UpOptions, bundle: &Bundle) -> Result<SiteConfig, UpError> {
    let network = options.network.unwrap_or_default();
    let addresses = choose_addresses(options, network)?;
    Ok(SiteConfig {
        schema: SCHEMA,
        name: options.site.to_string(),
        version: VERSION.to_owned(),
        kubernetes: scute_kubeadm::KUBERNETES_VERSION.to_owned(),
        network,
        addresses,
        bundle: fs::canonicalize(&bundle.dir).map_err(file(&bundle.dir))?,
        bundle_digest: bundle.digest.clone(),
        made_folders: Vec::new(),
        changed_settings: Vec::new(),
    })
}

fn choose_addresses(options: &UpOptions, network: NetworkMode) -> Result<Addresses, UpError> {
    let others = other_sites(&options.site);
    let mut taken = taken_by(&others);
    let used: Vec<u8> = others.iter().map(|(_, c)| c.addresses.index).collect();
    let mut wishes = options.addresses.clone();
    let host = match network {
        NetworkMode::Namespace => None,
        NetworkMode::Host => Some(network::host_address()?.ok_or(UpError::NoHostAddress)?),
    };
    if let Some((layout, _)) =
        others.iter().find(|(_, c)| c.network == network && network == NetworkMode::Host)
    {
        return Err(UpError::HostTaken(layout.name.clone()));
    }
    taken.extend(network::taken()?);
    if let Some((node, link)) = host {
        wishes.link = Some(link);
        taken.retain(|taken| taken.range != link.into());
        let mut plan = Addresses::choose_on_host(node, &wishes, &taken, &used)?;
        plan.pools.clone_from(&options.addresses.pools);
        return Ok(plan);
    }
    Ok(Addresses::choose(&wishes, &taken, &used)?)
}
