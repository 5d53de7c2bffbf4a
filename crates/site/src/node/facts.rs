//! What a site tells the installer. In: its configuration and its PKI. Out: [`Facts`]. Only reads.

use super::{etcd::TENANTS_ETCD_PORT, pki::API_PORT};
use crate::{Layout, SiteConfig};
use scute_bundle::Bundle;
use scute_install::{
    CERTIFICATE_FOLDER, Facts, LoadBalancerConfig, ManagementNetworks, ManagerConfig, MetalConfig, Pem,
    TenantsEtcd,
};
use scute_kubeadm::{ClusterFacts, Version};
use scute_qemu::Accelerator;
use std::{fs, io, path::PathBuf};

/// Why the facts cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A certificate of the site.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The version of the site's own cluster.
    #[error("{0} is not a Kubernetes version")]
    Version(String),
}

/// Reads all of them.
pub fn observe(
    layout: &Layout,
    config: &SiteConfig,
    accelerator: Accelerator,
    bundle: &Bundle,
) -> Result<Facts, FactsError> {
    let digest = |image: String| bundle.image(&image).map(|part| part.digest.clone()).ok();
    // Without a ramdisk there is nothing that servers could start from.
    let ramdisk = digest(scute_install::ramdisk_image());
    let node = digest(scute_install::node_image());
    let metal = ramdisk.is_some().then(|| {
        let metal = MetalConfig::on(config.addresses.node.to_string());
        if node.is_some() { metal.with_node_image() } else { metal }
    });
    let digests: Vec<_> =
        digest(scute_install::scute_image()).into_iter().chain(ramdisk).chain(node).collect();
    let root = pem(layout, "etcd-tenants-ca", "etcd-tenants-root-client")?;
    Ok(Facts {
        configuration: ManagerConfig { metal, ..manager_config(config, accelerator) },
        image_digest: digests.join(" "),
        webhook: webhook(layout)?,
        dns: cluster(config)?,
        tenants_etcd: TenantsEtcd {
            endpoint: format!("{}:{TENANTS_ETCD_PORT}", config.addresses.node),
            authority_key: file(layout, "etcd-tenants-ca.key")?,
            root,
        },
    })
}

/// The webhooks' authority and certificate.
pub fn webhook(layout: &Layout) -> Result<Pem, FactsError> {
    pem(layout, "webhook-ca", "scute-webhook")
}

/// What this site tells its manager.
fn manager_config(config: &SiteConfig, accelerator: Accelerator) -> ManagerConfig {
    let addresses = &config.addresses;
    ManagerConfig {
        site: config.name.clone(),
        networks: ManagementNetworks {
            nodes: vec![addresses.link.into()],
            pods: vec![addresses.pods.into()],
            services: vec![addresses.services.into()],
            servers: vec![addresses.given_servers()],
            leases: vec![addresses.leased_servers()],
            dns: Some(addresses.dns().into()),
        },
        load_balancer: LoadBalancerConfig { pools: addresses.pools.clone() },
        accelerator: Some(accelerator),
        scute_image: Some(scute_install::scute_image()),
        launcher_image: Some(scute_install::launcher_image()),
        webhook_certificates: Some(CERTIFICATE_FOLDER.into()),
        ..ManagerConfig::default()
    }
}

/// The site's own cluster, as far as its DNS has to know it.
fn cluster(config: &SiteConfig) -> Result<ClusterFacts, FactsError> {
    let version: Version =
        config.kubernetes.parse().map_err(|_| FactsError::Version(config.kubernetes.clone()))?;
    let host = config.addresses.node.to_string();
    let mut facts = ClusterFacts::new(config.node_name(), version, &host, API_PORT, "");
    facts.service_cidrs = vec![config.addresses.services.into()];
    facts.pod_cidrs = vec![config.addresses.pods.into()];
    Ok(facts)
}

fn pem(layout: &Layout, ca: &str, leaf: &str) -> Result<Pem, FactsError> {
    Ok(Pem {
        ca: file(layout, &format!("{ca}.crt"))?,
        certificate: file(layout, &format!("{leaf}.crt"))?,
        key: file(layout, &format!("{leaf}.key"))?,
    })
}

fn file(layout: &Layout, name: &str) -> Result<String, FactsError> {
    let path = layout.pki(name);
    fs::read_to_string(&path).map_err(|source| FactsError::Read { path, source })
}
