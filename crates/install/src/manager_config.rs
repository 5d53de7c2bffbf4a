//! What a manager is told, as a file: written into a ConfigMap at installation, read by `scute manager --config`.

use crate::etcd::EtcdConfig;
use crate::manager::{NODE_FOLDER, RAMDISK_FOLDER};
use ipnet::IpNet;
use scute_api::addresses::AddressRange;
use scute_api::engines::Engine;
use scute_qemu::Accelerator;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Configuration of `scute manager`. Every field has a default that suits a cluster that is not a site of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ManagerConfig {
    /// Name of the site; empty in a cluster that `scute up` did not make.
    pub site: String,
    /// Ranges of the management cluster, which tenants' VM Nodes must not use for their own Pods.
    pub networks: ManagementNetworks,
    /// Ranges from which tenants may choose an address for their Service's `externalIPs`, and so draw its traffic. None
    /// without any: whoever has an external IP has it for the whole management cluster.
    #[serde(rename = "externalIPs", skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<IpNet>,
    /// Engines that are off: upstream projects, which are installed beside this, do their work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Engine>,
    /// Built-in addresses for Services of type LoadBalancer; none without pools.
    pub load_balancer: LoadBalancerConfig,
    /// Bare-metal servers; none are managed without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metal: Option<MetalConfig>,
    /// The etcd that is installed for tenants' control planes, as the DataStore `default`; none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdConfig>,
    /// What guests run on; without it they are emulated, which works everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// Image of Scute itself, for Pods that run other commands of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scute_image: Option<String>,
    /// Image of VMs' Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launcher_image: Option<String>,
    /// Folder of the webhook server's `tls.crt` and `tls.key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_certificates: Option<PathBuf>,
    /// Secret with the webhook server's certificate, in the manager's namespace; the manager makes and renews it. One
    /// that has no `ca.key` is somebody else's to renew, cert-manager's for example. Not beside `webhookCertificates`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
}

/// Ranges of the management cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ManagementNetworks {
    /// Networks of its Nodes.
    pub nodes: Vec<IpNet>,
    /// Networks of its Pods.
    pub pods: Vec<IpNet>,
    /// Networks of its Services.
    pub services: Vec<IpNet>,
    /// Parts of the Pods' networks that no Pod gets: servers on the same network may have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<AddressRange>,
    /// Given to servers on that network by DHCP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<AddressRange>,
    /// Address of its DNS Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<IpAddr>,
}

/// The built-in LoadBalancer controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LoadBalancerConfig {
    /// Addresses to give out; the controller is off without any.
    pub pools: Vec<AddressRange>,
}

/// How bare-metal servers reach the manager, and what they start from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetalConfig {
    /// IP address or name under which servers and their BMCs reach the manager.
    pub service_address: String,
    /// Port of the agents, by TLS.
    #[serde(default = "service_port")]
    pub service_port: u16,
    /// Port from which BMCs read media, without TLS.
    #[serde(default = "media_port")]
    pub media_port: u16,
    /// The ISO of the provisioning ramdisk.
    pub ramdisk: PathBuf,
    /// Images for disks, which anyone may read at `/images/NAME` of the media's port: files by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, PathBuf>,
    /// Authorities (PEM) of BMCs' certificates, for hosts whose Secret has no `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_authorities: Option<PathBuf>,
}

impl MetalConfig {
    /// For a manager that is reached at an address of its Node.
    #[must_use]
    pub fn on(service_address: String) -> Self {
        Self {
            service_address,
            service_port: service_port(),
            media_port: media_port(),
            ramdisk: Path::new(RAMDISK_FOLDER).join("ramdisk.iso"),
            images: BTreeMap::new(),
            bmc_authorities: None,
        }
    }

    /// With the disk of Nodes, from the image of that name.
    #[must_use]
    pub fn with_node_image(mut self) -> Self {
        let name = format!("node-{}.qcow2", scute_kubeadm::KUBERNETES_VERSION);
        self.images.insert(name, Path::new(NODE_FOLDER).join("disk/node.qcow2"));
        self
    }

    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        match self
            .images
            .keys()
            .find(|name| name.is_empty() || name.ends_with(SUM) || !name.chars().all(plain))
        {
            Some(name) => Err(format!(
                "metal.images: {name:?} cannot stand in a URL: use letters, digits, '.', '_' and '-', and another end than {SUM}"
            )),
            None => Ok(()),
        }
    }
}

/// At the end of an image's name: its digest.
const SUM: &str = ".sha256sum";

/// Of the node ports that Kubernetes gives nobody by itself, below 30086.
pub(crate) fn service_port() -> u16 {
    30063
}

pub(crate) fn media_port() -> u16 {
    30061
}

/// Why the manager's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManagerConfigError {
    /// The file.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its text.
    #[error("{path} is not a manager's configuration: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl ManagerConfig {
    /// Reads a file of YAML or JSON. Unknown fields are refused.
    pub fn load(path: &Path) -> Result<Self, ManagerConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ManagerConfigError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text).map_err(|why| ManagerConfigError::Parse { path: path.to_path_buf(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        if config.webhook_certificates.is_some() && config.webhook_secret.is_some() {
            return Err("webhookCertificates and webhookSecret: give one of them".to_owned());
        }
        config.metal.as_ref().map_or(Ok(()), MetalConfig::check)?;
        config.etcd.as_ref().map_or(Ok(()), EtcdConfig::check)?;
        if config.etcd.is_some() && config.without.contains(&Engine::Kamaji) {
            return Err("etcd: without the engine kamaji there are no control planes to keep".to_owned());
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_site_writes_is_what_the_manager_reads() {
        let config = ManagerConfig {
            site: "scute".into(),
            networks: ManagementNetworks {
                nodes: vec!["172.30.0.0/24".parse().unwrap()],
                dns: Some("10.86.0.10".parse().unwrap()),
                ..Default::default()
            },
            external_ips: vec!["172.30.1.0/24".parse().unwrap()],
            load_balancer: LoadBalancerConfig { pools: vec!["172.30.0.128-172.30.0.254".parse().unwrap()] },
            accelerator: Some(Accelerator::Tcg),
            ..Default::default()
        };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(ManagerConfig::parse(&text), Ok(config));
    }

    #[test]
    fn of_metal_an_address_and_an_iso_are_enough() {
        let text = "metal: {serviceAddress: 10.0.0.5, ramdisk: /srv/ramdisk.iso}";
        let metal = ManagerConfig::parse(text).unwrap().metal.unwrap();
        assert_eq!((metal.service_port, metal.media_port), (30063, 30061));
        assert!(ManagerConfig::parse("metal: {}").unwrap_err().contains("serviceAddress"));
        for name in ["a/b", "..%2f", "x.sha256sum", ""] {
            let text = format!("metal: {{serviceAddress: a, ramdisk: /r, images: {{{name:?}: /i}}}}");
            assert!(ManagerConfig::parse(&text).unwrap_err().contains("metal.images"), "{name}");
        }
    }

    #[test]
    fn the_webhooks_certificate_is_in_one_place() {
        let error = ManagerConfig::parse("{webhookCertificates: /c, webhookSecret: s}").unwrap_err();
        assert!(error.contains("webhookSecret"), "{error}");
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let error = ManagerConfig::parse("loadBalancer: {pool: [10.0.0.1]}").unwrap_err();
        assert!(error.contains("pool"), "{error}");
    }
}
