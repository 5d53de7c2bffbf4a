//! The facts of a cluster from which its objects are rendered, and the addresses that follow from its ranges.

use crate::{IMAGE_REPOSITORY, Version};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What one cluster is, as far as kubeadm's objects need it. Everything is validated by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Name of the cluster.
    pub name: String,
    /// Version of the control plane.
    pub version: Version,
    /// Host (address or name) at which Nodes reach the API server.
    pub endpoint_host: String,
    /// Port at which Nodes reach the API server.
    pub endpoint_port: u16,
    /// The cluster's certificate authority, PEM.
    pub ca_pem: String,
    /// Ranges of Services: one, or one of each family.
    pub service_cidrs: Vec<IpNet>,
    /// Ranges of Pods: one, or one of each family.
    pub pod_cidrs: Vec<IpNet>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Addresses of the DNS Service. Empty: derived from the Service ranges.
    pub dns_ips: Vec<IpAddr>,
    /// Additional names of the API server's certificate.
    pub cert_sans: Vec<String>,
    /// Registry of the control plane's images.
    pub image_repository: String,
    /// Who manages the Nodes' cgroups.
    pub cgroup_driver: CgroupDriver,
}

/// The kubelet's `cgroupDriver`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// systemd, kubeadm's default.
    #[default]
    Systemd,
    /// The kubelet itself.
    Cgroupfs,
}

impl CgroupDriver {
    /// The word in the kubelet's configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Cgroupfs => "cgroupfs",
        }
    }
}

impl ClusterFacts {
    /// Facts with upstream's defaults for everything that has one.
    pub fn new(name: &str, version: Version, endpoint_host: &str, endpoint_port: u16, ca_pem: &str) -> Self {
        Self {
            name: name.to_owned(),
            version,
            endpoint_host: endpoint_host.to_owned(),
            endpoint_port,
            ca_pem: ca_pem.to_owned(),
            service_cidrs: vec![net(Ipv4Addr::new(10, 96, 0, 0), 16)],
            pod_cidrs: vec![net(Ipv4Addr::new(10, 244, 0, 0), 16)],
            cluster_domain: "cluster.local".to_owned(),
            dns_ips: Vec::new(),
            cert_sans: Vec::new(),
            image_repository: IMAGE_REPOSITORY.to_owned(),
            cgroup_driver: CgroupDriver::default(),
        }
    }

    /// `host:port`, IPv6 in brackets.
    pub fn endpoint(&self) -> String {
        join_host_port(&self.endpoint_host, self.endpoint_port)
    }

    /// `https://host:port`.
    pub fn server(&self) -> String {
        format!("https://{}", self.endpoint())
    }

    /// The DNS Service's addresses: the given ones, or one per Service range.
    pub fn dns_ips(&self) -> Vec<IpAddr> {
        match self.dns_ips.is_empty() {
            true => self.service_cidrs.iter().filter_map(dns_service_ip).collect(),
            false => self.dns_ips.clone(),
        }
    }
}

fn net(address: Ipv4Addr, prefix: u8) -> IpNet {
    // Both prefixes above are constants within 0..=32.
    IpNet::new_assert(address.into(), prefix)
}

/// `host:port` with brackets around an IPv6 address.
pub fn join_host_port(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{host}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

/// Address of the Service `kubernetes`: the first one of the range.
pub fn first_service_ip(cidr: &IpNet) -> Option<IpAddr> {
    nth(cidr, 1)
}

/// Address of the DNS Service unless told otherwise: the tenth of an IPv4 range, `::10` of an IPv6 one (Kamaji's rule).
pub fn dns_service_ip(cidr: &IpNet) -> Option<IpAddr> {
    match cidr {
        IpNet::V4(_) => nth(cidr, 10),
        IpNet::V6(_) => nth(cidr, 0x10),
    }
}

fn nth(cidr: &IpNet, n: u8) -> Option<IpAddr> {
    let address = match cidr.network() {
        IpAddr::V4(base) => IpAddr::V4(u32::from(base).checked_add(n.into())?.into()),
        IpAddr::V6(base) => IpAddr::V6(u128::from(base).checked_add(n.into())?.into()),
    };
    cidr.contains(&address).then_some(address)
}
