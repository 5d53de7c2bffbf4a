//! What a site is to be: from the choices of a call, what exists, and what the machine has. In: [`UpOptions`].
//! Out: a configuration, or what stands against it. Only reads.

use super::{UpError, UpOptions, file};
use crate::{
    Layout, NetworkMode, SiteConfig, VERSION,
    addresses::{Addresses, Taken},
    config::{self, SCHEMA},
    host::network::{self, Place},
    layout::SiteName,
};
use scute_bundle::Bundle;
use std::{fs, path::PathBuf};

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
pub fn refreshed(
    existing: &SiteConfig,
    options: &UpOptions,
    bundle: Option<&Bundle>,
) -> Result<SiteConfig, UpError> {
    let mut config = existing.clone();
    if let Some(bundle) = bundle {
        config.bundle = real(bundle)?;
        config.bundle_digest.clone_from(&bundle.digest);
    }
    config.masquerade = options.masquerade.unwrap_or(config.masquerade);
    let pools = &options.addresses.pools;
    if !pools.is_empty() && *pools != config.addresses.pools {
        let mut taken = taken_by(&other_sites(&options.site)?);
        taken.extend(network::taken()?);
        if config.network == NetworkMode::Host {
            let link = config.addresses.link.into();
            taken.retain(|taken| taken.range != link);
            taken.extend(network::host_place()?.ok_or(UpError::NoHostAddress)?.there);
        }
        config.addresses = config.addresses.with_pools(pools, &taken)?;
    }
    Ok(config)
}

/// The other sites of this machine.
///
/// # Errors
/// One of them cannot be read: what it has is not known, and so not what is free.
fn other_sites(site: &SiteName) -> Result<Vec<(Layout, SiteConfig)>, UpError> {
    let others = config::all_sites().into_iter().filter(|(name, _)| name != site);
    others.map(|(site, found)| found.map_err(|source| UpError::Neighbour { site, source })).collect()
}

/// The bundle's folder, wherever the caller stands: the site's init stands elsewhere.
fn real(bundle: &Bundle) -> Result<PathBuf, UpError> {
    fs::canonicalize(&bundle.dir).map_err(file(&bundle.dir))
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
        masquerade: options.masquerade.unwrap_or(network == NetworkMode::Host),
        bundle: real(bundle)?,
        bundle_digest: bundle.digest.clone(),
        made_folders: Vec::new(),
        changed_settings: Vec::new(),
    })
}

fn choose_addresses(options: &UpOptions, network: NetworkMode) -> Result<Addresses, UpError> {
    let others = other_sites(&options.site)?;
    let mut taken = taken_by(&others);
    let used: Vec<u8> = others.iter().map(|(_, c)| c.addresses.index).collect();
    let mut wishes = options.addresses.clone();
    let host = match network {
        NetworkMode::Namespace => None,
        NetworkMode::Host => Some(network::host_place()?.ok_or(UpError::NoHostAddress)?),
    };
    if let Some((layout, _)) =
        others.iter().find(|(_, c)| c.network == network && network == NetworkMode::Host)
    {
        return Err(UpError::HostTaken(layout.name.clone()));
    }
    taken.extend(network::taken()?);
    if let Some(Place { address, network, there }) = host {
        wishes.link = Some(network);
        taken.retain(|taken| taken.range != network.into());
        return Ok(Addresses::choose_on_host(address, &wishes, &taken, &there, &used)?);
    }
    Ok(Addresses::choose(&wishes, &taken, &used)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> UpOptions {
        UpOptions {
            site: SiteName::new("unit-plan").unwrap(),
            dir: None,
            network: None,
            bundle: None,
            default_bundle: PathBuf::new(),
            masquerade: None,
            addresses: Default::default(),
        }
    }

    #[test]
    fn a_bundle_is_remembered_by_a_path_that_holds_everywhere() {
        let existing = SiteConfig::sample(Addresses::of(0, &Default::default()));
        let index = br#"{"schema": 1, "kubernetes": "v1", "scute": "0", "parts": []}"#;
        // The folder in which the test runs.
        let bundle = Bundle::read(std::path::Path::new("."), index).unwrap();
        let config = refreshed(&existing, &options(), Some(&bundle)).unwrap();
        assert_eq!(config.bundle, std::env::current_dir().unwrap());
        assert_eq!(config.bundle_digest, bundle.digest);
        let kept = refreshed(&existing, &options(), None).unwrap();
        assert_eq!((kept.bundle, kept.bundle_digest), (existing.bundle, existing.bundle_digest));
    }

    #[test]
    fn the_way_out_stays_as_it_is_until_a_call_names_it() {
        let mut existing = SiteConfig::sample(Addresses::of(0, &Default::default()));
        for (has, asked, gets) in
            [(false, None, false), (true, None, true), (true, Some(false), false), (false, Some(true), true)]
        {
            existing.masquerade = has;
            let options = UpOptions { masquerade: asked, ..options() };
            assert_eq!(refreshed(&existing, &options, None).unwrap().masquerade, gets);
        }
    }
}
